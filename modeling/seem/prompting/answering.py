"""Answers to prompts on encoded images: which prompts share a pass of the decoder, and what becomes of its output.

Letters in shapes: B images of a pass, N objects and T texts asked for, H and W rows and columns of an original image, h
and w those at the network's stride.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence

from ....utils.draws import Draws
from ....utils.errors import UserError
from ....utils.structures.requests import PromptedMasks, Prompts, Strokes
from ..decoder.decoder_demo import SeemDecoderDemo
from ..decoder.decoder_output import DecoderOutput
from ..decoder.decoder_prompts import DecoderPrompts, ReferencePrompt, SpatialPrompt
from ..decoder.query_decoder import QueryDecoder
from ..decoder.query_masks import reference_masks, stroke_masks, text_masks
from ..image_normalizer import pad_masks
from ..results.mask_resize import MaskResizer
from ..text.class_embeddings import ClassEmbeddings
from ..text.phrases import encode_phrases
from .encoded import Encoded, EncodedGroup

# Mask logit everywhere of an object that no stroke points at.
NOTHING = -10.0


@dataclass
class PassRequest:
    """What one image is asked for in one pass.

    Attributes:
        place: of the image.
        objects: which of its stroked objects.
        texts: which of its texts are shown.
        answers: places of this pass's masks among the image's answers, objects, texts and reference in this order; a
            text that is shown only to explain a stroke has none.
        reference: what an object looks like.
    """

    place: int
    objects: range = range(0)
    texts: tuple[str, ...] = ()
    answers: list[int] = field(default_factory=list)
    reference: ReferencePrompt | None = None


class PassKind(NamedTuple):
    """What requests must have in common to share a pass.

    Attributes:
        number: of the pass among those of an image.
        group: of images.
        remembers: there are masks of the last round.
        texts_explain_strokes: see ``Prompts``.
        strokes_explain_texts: see ``Prompts``.
        by_reference: an object of another image is looked for.
    """

    number: int
    group: int
    remembers: bool
    texts_explain_strokes: bool
    strokes_explain_texts: bool
    by_reference: bool


@dataclass
class PromptAnswerer:
    """Answers prompts.

    Attributes:
        decoder: any variant.
        encoder: runs the text tower.
    """

    decoder: QueryDecoder
    encoder: ClassEmbeddings

    @property
    def kinds(self) -> frozenset[str]:
        """What can be asked for: "stroke", "text", "reference"."""
        fits = self.encoder.encoder.lang_proj.shape[1] == self.decoder.hidden_dim
        kinds = {"stroke"} | ({"text"} if fits else set())
        return frozenset(kinds | ({"reference"} if isinstance(self.decoder, SeemDecoderDemo) else set()))

    @property
    def most_objects(self) -> int:
        """Stroked objects of an image that share a pass: each has at least one memory slot, and memory is bounded."""
        return self.decoder.objects_at_once or self.decoder.arch.num_memories

    def __call__(
        self,
        encoded: Encoded,
        prompts: Sequence[Prompts],
        previous: Sequence[Tensor | None] | None = None,
        rng: Draws | None = None,
    ) -> list[PromptedMasks]:
        """Answers the prompts of each encoded image; arguments as in ``Promptable.prompted``."""
        if len(prompts) != len(encoded):
            raise ValueError(f"{len(prompts)} prompts for {len(encoded)} encoded images")
        self._check(prompts)
        where = encoded.locate()
        passes: dict[PassKind, list[PassRequest]] = {}
        for place, prompt in enumerate(prompts):
            remembers = previous is not None and previous[place] is not None
            explains = (prompt.texts_explain_strokes, prompt.strokes_explain_texts)
            for number, request in enumerate(self._requests(place, prompt)):
                kind = PassKind(number, where[place][0], remembers, *explains, request.reference is not None)
                passes.setdefault(kind, []).append(request)
        answers: list[dict[int, tuple[Tensor, Tensor]]] = [{} for _ in prompts]
        for kind, requests in passes.items():
            images = encoded.groups[kind.group].select(
                [where[r.place][1] for r in requests], [r.place for r in requests]
            )
            memory = [previous[r.place] for r in requests] if previous is not None and kind.remembers else None
            for request, masks, scores in zip(
                requests, *self._pass(images, requests, prompts, memory, kind, rng), strict=True
            ):
                answers[request.place] |= dict(zip(request.answers, zip(masks, scores, strict=True), strict=True))
        return [self._join(encoded.groups[where[place][0]], found) for place, found in enumerate(answers)]

    def _check(self, prompts: Sequence[Prompts]) -> None:
        """Raises UserError for prompts that the variant does not take."""
        if "reference" not in self.kinds and any(p.reference is not None for p in prompts):
            raise UserError(_NO_REFERENCE)
        if "text" not in self.kinds and any(p.texts for p in prompts):
            raise UserError(
                "this model cannot be asked by text: its text embeddings (MODEL.DIM_PROJ) and its queries "
                "(MODEL.DECODER.HIDDEN_DIM) have different widths"
            )

    def _requests(self, place: int, prompt: Prompts) -> list[PassRequest]:
        """Spreads the prompts of an image over passes."""
        count, texts = 0 if prompt.strokes is None else len(prompt.strokes.positive), prompt.texts
        of_texts = list(range(count, count + len(texts)))
        parts = [range(start, min(start + self.most_objects, count)) for start in range(0, count, self.most_objects)]
        if isinstance(self.decoder, SeemDecoderDemo):
            # Its object queries answer everything they see, so they see one thing at a time.
            shown = texts if prompt.texts_explain_strokes else ()
            requests = [PassRequest(place, part, shown, list(part)) for part in parts]
            requests += [
                PassRequest(place, texts=(text,), answers=[n]) for n, text in zip(of_texts, texts, strict=True)
            ]
            if prompt.reference is not None:
                requests.append(PassRequest(place, answers=[count + len(texts)], reference=prompt.reference))
            return requests
        requests = [
            PassRequest(place, part, texts if prompt.texts_explain_strokes else (), list(part)) for part in parts
        ]
        if texts and not requests:
            requests = [PassRequest(place)]
        if texts:
            requests[0].texts, requests[0].answers = texts, requests[0].answers + of_texts
        return requests

    def _pass(
        self,
        images: EncodedGroup,
        requests: Sequence[PassRequest],
        prompts: Sequence[Prompts],
        previous: Sequence[Tensor | None] | None,
        kind: PassKind,
        rng: Draws | None,
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Returns, per request, its masks (answers, h, w) and their scores (answers,)."""
        decoder_prompts = DecoderPrompts(
            texts_explain_strokes=kind.texts_explain_strokes,
            strokes_explain_texts=kind.strokes_explain_texts,
            objects=False,
            # Fixed draws are the same in every part.
            draws=f"part{kind.number}/" if kind.number and rng is not None else "",
        )
        strokes = [_strokes(prompts[request.place].strokes, request.objects, images) for request in requests]
        most = max(len(request.objects) for request in requests)
        if most:
            positive, negative = [s.positive for s in strokes], [s.negative for s in strokes]
            memory = None if previous is None else _stack_memory(previous, requests, most)
            decoder_prompts.spatial = SpatialPrompt(positive, negative, most, memory)
        phrases = None
        if any(request.texts for request in requests):
            phrases = encode_phrases(self.encoder, [request.texts for request in requests], once=False)
            decoder_prompts.text = phrases.prompt
        if kind.by_reference:
            decoder_prompts.reference = ReferencePrompt.stack(
                [r.reference for r in requests if r.reference is not None]
            )
        # Nothing here is classified: no category but "background".
        no_classes = self.encoder.encoder.lang_proj.new_zeros(1, self.encoder.encoder.lang_proj.shape[1])
        output = self.decoder(images.features, None, no_classes, decoder_prompts, rng)
        embeds = None if phrases is None else pad_sequence(phrases.embeds, batch_first=True)
        return self._answers(images, requests, strokes, output, embeds)

    def _answers(
        self,
        images: EncodedGroup,
        requests: Sequence[PassRequest],
        strokes: Sequence[Strokes],
        output: DecoderOutput,
        embeds: Tensor | None,
    ) -> tuple[list[Tensor], list[Tensor]]:
        by_stroke = None if output.positive_means is None else stroke_masks(output)
        by_text = None if embeds is None else text_masks(output, embeds)
        by_reference = None if output.reference_means is None else reference_masks(output)
        masks, scores = [], []
        for row, (request, drawn) in enumerate(zip(requests, strokes, strict=True)):
            parts = []
            if by_stroke is not None and request.objects:
                pointed_at = (drawn.positive | drawn.negative).flatten(1).any(dim=1)[:, None, None]
                parts.append(torch.where(pointed_at, by_stroke[row, : len(request.objects)], NOTHING))
            if by_text is not None and len(request.answers) > len(request.objects) and request.texts:
                parts.append(by_text[row, : len(request.texts)])
            if by_reference is not None:
                parts.append(by_reference[row])
            masks.append(torch.cat(parts))
            scores.append(mask_scores(masks[-1], images.padded_size, images.image_sizes[row]))
        return masks, scores

    def _join(self, group: EncodedGroup, found: dict[int, tuple[Tensor, Tensor]]) -> PromptedMasks:
        """Puts the answers of all passes of an image in order."""
        features = group.features.mask_features
        if not found:
            none = features.new_zeros(0, *features.shape[-2:], dtype=torch.float32)
            return PromptedMasks(none, none[:, 0, 0])
        ordered = [found[number] for number in sorted(found)]
        return PromptedMasks(torch.stack([mask for mask, _ in ordered]), torch.stack([score for _, score in ordered]))

    def phrases(self, encoded: Encoded, texts: Sequence[Sequence[str]] | None) -> list[np.ndarray]:
        """Returns, per encoded image, the masks (T, H, W) bool of its texts, resized as panoptic results are."""
        if texts is None or len(texts) != len(encoded):
            raise ValueError(
                f"the task 'phrases' needs Request.texts: a list of texts for each of {len(encoded)} images"
            )
        answers = self(encoded, [Prompts(texts=tuple(image)) for image in texts])
        return [masks.cpu().numpy() for masks in full_masks(encoded, answers, antialias=True)]

    def reference(self, encoded: Encoded, strokes: Strokes) -> ReferencePrompt:
        """Returns what strokes of one object (1, H, W) on one encoded image show.

        Raises:
            UserError: the variant has no such prompt.
        """
        if not isinstance(self.decoder, SeemDecoderDemo):
            raise UserError(_NO_REFERENCE)
        if len(encoded) != 1 or len(strokes.positive) != 1:
            raise ValueError("a reference is one object on one image")
        [images] = encoded.groups
        drawn = _strokes(strokes, range(1), images)
        return self.decoder.reference(images.features, SpatialPrompt([drawn.positive], [drawn.negative], 1))


_NO_REFERENCE = (
    "an object of another image can be looked for with MODEL.NAME seem_model_demo only (configs/seem/*_demo.yaml)"
)


def mask_scores(logits: Tensor, padded_size: tuple[int, int], image_size: tuple[int, int]) -> Tensor:
    """Returns the mean probability inside each mask, (N,) 0..1; 0 for an empty one.

    Args:
        logits: (N, h, w).
        padded_size: (height, width) of the network's input.
        image_size: (height, width) of the image without padding, which counts alone.
    """
    ends = (
        -(-image * length // padded)
        for image, length, padded in zip(image_size, logits.shape[1:], padded_size, strict=True)
    )
    rows, columns = ends
    image = logits[:, :rows, :columns].flatten(1)
    inside = image > 0
    return (image.sigmoid() * inside).sum(dim=1) / inside.sum(dim=1).clamp(min=1)


def full_masks(encoded: Encoded, answers: Sequence[PromptedMasks], *, antialias: bool = False) -> list[Tensor]:
    """Returns the masks (N + T, H, W) bool at each image's original size: above 0 is inside.

    Logits are resized bilinearly to the padded input, cut to the image, and resized to its original size.

    Args:
        encoded: the images.
        answers: one per image.
        antialias: last step bicubic with antialias, as for panoptic results; False: bilinear, as for clicks.
    """
    found = []
    for (number, row), answer in zip(encoded.locate(), answers, strict=True):
        group, logits = encoded.groups[number], answer.logits.float()
        sizes = ((logits.shape[1], logits.shape[2]), group.padded_size, group.image_sizes[row], group.output_sizes[row])
        resizer = MaskResizer(*sizes, logits.device, antialias=antialias)
        masks = torch.empty((len(logits), *resizer.output_size), dtype=torch.bool, device=logits.device)
        for mask, logit in zip(masks, logits, strict=True):  # floats of hundreds of full masks are not kept
            for rows in resizer.bands(1):
                torch.gt(resizer(logit[None], rows)[0], 0, out=mask[rows])
        found.append(masks)
    return found


def _strokes(strokes: Strokes | None, objects: range, images: EncodedGroup) -> Strokes:
    """Returns the strokes (n, height, width) of some objects on the device, padded to the network's input."""
    height, width = images.padded_size
    device = images.features.mask_features.device
    if strokes is None:
        none = torch.zeros(0, height, width, dtype=torch.bool, device=device)
        return Strokes(none, none)
    positive, negative = (
        pad_masks(torch.as_tensor(drawn[objects.start : objects.stop], device=device), (height, width))
        for drawn in (strokes.positive, strokes.negative)
    )
    return Strokes(positive, negative)


def _stack_memory(previous: Sequence[Tensor | None], requests: Sequence[PassRequest], most: int) -> Tensor:
    """Returns the masks (B, N, h, w) of the objects of each request, zeros where an image has fewer."""
    chosen = []
    for masks, request in zip(previous, requests, strict=True):
        assert masks is not None
        part = masks[request.objects.start : request.objects.stop]
        chosen.append(F.pad(part, (0, 0, 0, 0, 0, most - len(part))))
    return torch.stack(chosen)
