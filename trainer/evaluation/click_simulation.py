"""Interactive evaluation of a batch: prompt, compare, click where the mask is wrong, again.

Letters in shapes: N objects of a record, H and W rows and columns of the original image, h and w those of the network's
input, R clicks.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ...datasets.evaluators.interactive import STOP_IOU
from ...modeling.boxes import tensor_mask_boxes
from ...modeling.clicks import next_click
from ...modeling.promptable import Promptable
from ...utils.draws import Draws
from ...utils.prompts import Box, Point, Prompt
from ...utils.structures.requests import ClickProtocol, PromptedMasks, Prompts, Strokes
from ...utils.structures.samples import ObjectTruth, Sample
from .prompt_groups import PromptGroup, answer_groups

OBJECTS_PER_RECORD = 5
"""Objects that are prompted together, as in the published evaluation; an image with more makes several records."""


class _Record:
    """Up to OBJECTS_PER_RECORD objects of one image, on the device.

    Attributes:
        place: of the image in the batch.
        first: number of its first object in the image, from 0.
        ious: (N, R) float64, filled round by round.
        shapes: the prompts so far of each object, for networks that take shapes; else None.
    """

    def __init__(
        self,
        place: int,
        sample: Sample,
        objects: ObjectTruth,
        first: int,
        protocol: ClickProtocol,
        device: Any,
        takes_shapes: bool = False,
    ) -> None:
        numbers = range(first, min(first + OBJECTS_PER_RECORD, len(objects)))
        self.place, self.first, self.index = place, first, sample.index
        self.truth, self.counted = _masks(objects.labels, numbers, device)
        self.input_truth, self.input_counted = _masks(objects.input_labels, numbers, device)
        positive = np.zeros((len(numbers), objects.input_labels.size), bool)
        if not protocol.boxes:
            for row, number in zip(positive, numbers, strict=True):
                row[objects.strokes[number]] = True
        drawn = torch.from_numpy(positive).view(self.input_truth.shape).to(device)
        self.strokes = Strokes(drawn, torch.zeros_like(drawn))
        self.shapes: list[tuple[Prompt, ...]] | None = None
        if takes_shapes:
            first_prompts = _boxes(self.input_truth) if protocol.boxes else _points(self.strokes)
            self.shapes = [tuple(prompts) for prompts in first_prompts]
        self.texts = tuple(objects.texts[n] for n in numbers) if protocol.texts else ()
        self.previous: Tensor | None = None
        self.ious = np.zeros((len(numbers), protocol.max_clicks))

    def __len__(self) -> int:
        return len(self.truth)

    @property
    def groups(self) -> list[PromptGroup]:
        """All strokes at once; with texts each object by itself, or it would look at the texts of the others."""
        if not self.texts:
            return [PromptGroup(self.place, Prompts(self.strokes, shapes=self.shapes or ()), self.previous)]
        groups = []
        for number, text in enumerate(self.texts):
            row = slice(number, number + 1)
            strokes = Strokes(self.strokes.positive[row], self.strokes.negative[row])
            previous = None if self.previous is None else self.previous[row]
            groups.append(PromptGroup(self.place, Prompts(strokes, (text,), texts_explain_strokes=True), previous))
        return groups

    def add(self, strokes: Strokes) -> None:
        """Replaces the strokes by ``strokes``, which hold the earlier ones and at most one new click per object."""
        if self.shapes is not None:
            new = Strokes(strokes.positive & ~self.strokes.positive, strokes.negative & ~self.strokes.negative)
            self.shapes = [(*old, *clicks) for old, clicks in zip(self.shapes, _points(new), strict=True)]
        self.strokes = strokes

    def overlap(self, predicted: Tensor) -> Tensor:
        """Returns the IoU (N,) float64 of masks (N, H, W); 1 where there is neither truth nor prediction."""
        predicted = predicted & self.counted
        both = (predicted & self.truth).sum(dim=(1, 2))
        union = predicted.sum(dim=(1, 2)) + self.truth.sum(dim=(1, 2)) - both
        return torch.where(union > 0, both.double() / union.clamp(min=1), 1.0)


def simulate_clicks(
    model: Promptable, encoded: Any, samples: Sequence[Sample], protocol: ClickProtocol, device: torch.device
) -> list[np.ndarray]:
    """Segments all objects of a batch by simulated clicks.

    Objects of one image are prompted in records; a record ends when all its objects exceed an overlap of 0.9, and the
    last overlap stands for the clicks it did without. Records run side by side, at most as many as the batch has
    images; what a record gives does not depend on the others.

    Args:
        model: takes strokes, and texts if the protocol gives them.
        encoded: B images, from ``model.encode``.
        samples: the B samples, all with objects and inputs of one size.
        protocol: how.
        device: of the model.

    Returns:
        Per image (N, R) float64 overlap 0..1 after each click.
    """
    places = [
        (place, first)
        for place, sample in enumerate(samples)
        for first in range(0, len(_objects(sample)), OBJECTS_PER_RECORD)
    ]
    found: list[list[np.ndarray]] = [[np.zeros((0, protocol.max_clicks))] for _ in samples]
    for start in range(0, len(places), len(samples)):
        records = [
            _Record(place, samples[place], _objects(samples[place]), first, protocol, device, model.takes_shapes)
            for place, first in places[start : start + len(samples)]
        ]
        _run(model, encoded, records, protocol)
        for record in records:
            found[record.place].append(record.ious)
    return [np.concatenate(rows) for rows in found]


def _run(model: Promptable, encoded: Any, records: Sequence[_Record], protocol: ClickProtocol) -> None:
    """Fills the overlaps of records that run side by side."""
    active = list(records)
    view = model.select(encoded, [record.place for record in active])
    for click in range(protocol.max_clicks):
        answers = _answers(model, encoded, view, active)
        masks = model.full_masks(view, answers)
        overlaps = torch.cat([r.overlap(m) for r, m in zip(active, masks, strict=True)]).cpu().numpy()
        finished = []
        for record, answer, ious in zip(active, answers, _split(overlaps, active), strict=True):
            record.previous = answer.logits
            record.ious[:, click:] = ious[:, None]
            finished.append(bool((ious > STOP_IOU).all()))
        if click + 1 == protocol.max_clicks or all(finished):
            return
        if any(finished):
            active = [record for record, done in zip(active, finished, strict=True) if not done]
            view = model.select(encoded, [record.place for record in active])
        _click(active, model.mask_stride, click, protocol)


def _answers(model: Promptable, encoded: Any, view: Any, records: Sequence[_Record]) -> list[PromptedMasks]:
    """Returns the masks of each record's objects; ``view`` holds the encoded images by record."""
    if not any(record.texts for record in records):
        groups = [one for record in records for one in record.groups]
        return model.prompted(view, [one.prompts for one in groups], [one.previous for one in groups])
    joined = []
    for record in records:
        answers = answer_groups(model, encoded, record.groups, OBJECTS_PER_RECORD)
        logits, scores = ([getattr(answer, name)[:1] for answer in answers] for name in ("logits", "scores"))
        joined.append(PromptedMasks(torch.cat(logits), torch.cat(scores)))
    return joined


def _click(records: Sequence[_Record], stride: int, click: int, protocol: ClickProtocol) -> None:
    """Adds the next click of every object, all at once."""
    size = records[0].input_truth.shape[-2:]
    logits = torch.cat([_previous(record) for record in records])
    padded = (logits.shape[-2] * stride, logits.shape[-1] * stride)
    predicted = F.interpolate(logits[None].float(), size=padded, mode="bilinear", align_corners=False)[0] > 0
    counted = torch.cat([record.input_counted.expand_as(record.input_truth) for record in records])
    chance = None
    if protocol.mode != "best":
        draws = Draws(seed=0, step=click)
        numbers = [draws.uniform(f"click/{r.first}", (len(r),), sample=r.index) for r in records]
        chance = torch.cat(numbers).to(logits.device)
    strokes = next_click(
        torch.cat([record.input_truth for record in records]),
        predicted[:, : size[0], : size[1]],
        Strokes(
            torch.cat([record.strokes.positive for record in records]),
            torch.cat([record.strokes.negative for record in records]),
        ),
        ignored=~counted,
        dilation=protocol.dilation,
        mode=protocol.mode,
        chance=chance,
    )
    counts = [len(record) for record in records]
    parts = zip(strokes.positive.split(counts), strokes.negative.split(counts), strict=True)
    for record, (positive, negative) in zip(records, parts, strict=True):
        record.add(Strokes(positive, negative))


def _masks(labels: np.ndarray, numbers: range, device: Any) -> tuple[Tensor, Tensor]:
    """Returns the objects of a map as masks (N, H, W) bool, and the pixels (H, W) bool that count."""
    on_device = torch.from_numpy(labels).to(device)
    wanted = torch.arange(numbers.start + 1, numbers.stop + 1, device=device, dtype=on_device.dtype)
    return on_device == wanted[:, None, None], on_device >= 0


def _points(strokes: Strokes) -> list[list[Prompt]]:
    """Returns, for each object, a point in the middle of its positive and of its negative pixels, where it has some.

    Positions are those of pixels' indices, as prompts of whole numbers are.
    """
    found: list[list[Prompt]] = [[] for _ in strokes.positive]
    for drawn, positive in ((strokes.positive, True), (strokes.negative, False)):
        for number, mask in enumerate(drawn.cpu().numpy()):
            rows, columns = np.nonzero(mask)
            if rows.size:
                found[number].append(Point(float(columns.mean()), float(rows.mean()), positive))
    return found


def _boxes(masks: Tensor) -> list[list[Prompt]]:
    """Returns the bounding box of each mask (N, h, w), corners at the borders of its pixels; none of an empty mask."""
    return [[Box(x0, y0, x1, y1)] if x1 > x0 else [] for x0, y0, x1, y1 in tensor_mask_boxes(masks).tolist()]


def _split(overlaps: np.ndarray, records: Sequence[_Record]) -> list[np.ndarray]:
    return np.split(overlaps, np.cumsum([len(record) for record in records])[:-1])


def _previous(record: _Record) -> Tensor:
    assert record.previous is not None
    return record.previous


def _objects(sample: Sample) -> ObjectTruth:
    if sample.objects is None:
        raise ValueError(f"image {sample.image_id}: the mapper made no objects")
    return sample.objects
