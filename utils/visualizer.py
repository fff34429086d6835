"""Overlays of predictions and ground truth on images. numpy and OpenCV only.

Rules: a category always has its own colour (from the data set record); instances of a thing differ in lightness and
have a border; a segment's name stands at its innermost point; errors are coded by ``ERROR_COLORS``.

Letters in shapes: H and W pixels, N instances. Images are (H, W, 3) uint8 RGB.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from .innermost_pixel import innermost_pixel
from .mask_runs import measure_labels
from .palette import distinct_color
from .structures.category import Category
from .structures.results import InstanceResult, PanopticResult

ERROR_COLORS = {
    "wrong category": (220, 40, 40),
    "right category, wrong instance": (245, 160, 30),
    "nothing predicted": (50, 90, 230),
}
FOREGROUND_ERROR_COLORS = {"background taken for foreground": (220, 40, 40), "foreground missed": (50, 90, 230)}
FOREGROUND_COLOR = (30, 230, 90)
_WRONG_CATEGORY, _WRONG_INSTANCE, _MISSING = 1, 2, 3  # places in ERROR_COLORS, from 1
_UNJUDGED = -1
# Lightness of the 1st, 2nd, ... instance of a category: > 0 towards white, < 0 towards black.
_SHADES = (0.0, 0.35, -0.3, 0.18, -0.15, 0.5, -0.42)
_FONT = cv2.FONT_HERSHEY_SIMPLEX


@dataclass
class _Region:
    """One area to paint: ``mask`` (h, w) bool in its box, its colour, its text, whether it gets an instance border."""

    mask: np.ndarray
    x: int
    y: int
    color: tuple[int, int, int]
    text: str
    border: bool

    @property
    def box(self) -> tuple[slice, slice]:
        """Rows and columns of the image that ``mask`` lies on."""
        height, width = self.mask.shape
        return slice(self.y, self.y + height), slice(self.x, self.x + width)


def draw_panoptic(
    image: np.ndarray,
    result: PanopticResult,
    categories: Sequence[Category],
    *,
    alpha: float = 0.55,
    labels: bool = True,
) -> np.ndarray:
    """Returns ``image`` with the panoptic map painted over it; VOID pixels stay as they are.

    Args:
        image: (H, W, 3) uint8 RGB.
        result: panoptic map of the same size.
        categories: the vocabulary that ``Segment.category`` indexes.
        alpha: opacity of the colours, 0..1.
        labels: write category names.
    """
    _check_size(image, result.ids)
    measured = measure_labels(result.ids)
    count: dict[int, int] = {}
    regions = []
    for segment in result.segments:
        category = categories[segment.category]
        number = count.setdefault(segment.category, 0)
        count[segment.category] += 1
        color = shade(category.color, number) if segment.isthing else category.color
        if segment.id in measured:
            cut = _cut(result.ids, segment.id, measured[segment.id][1])
            regions.append(_Region(*cut, color, category.name, segment.isthing))
    return _paint(image, regions, alpha, labels)


def draw_semantic(
    image: np.ndarray,
    semantic: np.ndarray,
    categories: Sequence[Category],
    *,
    alpha: float = 0.55,
    labels: bool = True,
) -> np.ndarray:
    """Returns ``image`` with category indices ``semantic`` (H, W) painted over it; 255 and above K are left out."""
    _check_size(image, semantic)
    regions = [
        _Region(*_cut(semantic, c, box), categories[c].color, categories[c].name, False)
        for c, (_, box) in measure_labels(semantic).items()
        if 0 <= c < len(categories) and c != 255
    ]
    return _paint(image, regions, alpha, labels)


def draw_instances(
    image: np.ndarray,
    instances: InstanceResult,
    categories: Sequence[Category],
    *,
    min_score: float = 0.5,
    alpha: float = 0.55,
    labels: bool = True,
) -> np.ndarray:
    """Returns ``image`` with the instances scored ``min_score`` or more painted over it, the best on top."""
    count: dict[int, int] = {}
    regions = []
    for i in np.argsort(instances.scores, kind="stable"):
        if instances.scores[i] < min_score:
            continue
        _check_size(image, instances.masks[i])
        index = int(instances.categories[i])
        number = count.setdefault(index, 0)
        count[index] += 1
        text = f"{categories[index].name} {instances.scores[i]:.2f}"
        x, y, width, height = cv2.boundingRect(instances.masks[i].view(np.uint8))
        mask = instances.masks[i][y : y + height, x : x + width]
        regions.append(_Region(mask, x, y, shade(categories[index].color, number), text, True))
    return _paint(image, regions, alpha, labels)


def draw_masks(image: np.ndarray, masks: Iterable[np.ndarray], *, alpha: float = 0.55) -> np.ndarray:
    """Returns ``image`` with masks (H, W) bool painted over it, each in a colour of its own, later ones on top.

    The masks may come from a generator: one is held at a time.
    """
    out = image.copy()
    for number, mask in enumerate(masks):
        _check_size(image, mask)
        _fill(out, image, mask, distinct_color(number), alpha)
        _outline(out, mask, (255, 255, 255))
    return out


def draw_foreground(image: np.ndarray, mask: np.ndarray, *, alpha: float = 0.55) -> np.ndarray:
    """Returns ``image`` with the foreground ``mask`` (H, W) bool painted over it."""
    _check_size(image, mask)
    out = image.copy()
    _fill(out, image, mask, FOREGROUND_COLOR, alpha)
    _outline(out, mask, (255, 255, 255))
    return out


def draw_errors(image: np.ndarray, truth: PanopticResult, prediction: PanopticResult) -> np.ndarray:
    """Returns a dimmed grey ``image`` on which wrong pixels have ``ERROR_COLORS``; unjudged pixels are dark."""
    _check_size(image, truth.ids)
    verdict = _verdicts(truth, prediction)
    out = _dimmed(image)
    out[verdict == _UNJUDGED] //= 2
    for number, color in enumerate(ERROR_COLORS.values(), 1):
        out[verdict == number] = color
    return out


def error_share(truth: PanopticResult, prediction: PanopticResult) -> float:
    """Returns the share of judged pixels that ``draw_errors`` colours, 0..1; 0 when no pixel is judged."""
    verdict = _verdicts(truth, prediction)
    judged = verdict != _UNJUDGED
    return float((verdict[judged] > 0).mean()) if judged.any() else 0.0


def comparison(
    image: np.ndarray,
    truth: PanopticResult,
    prediction: PanopticResult,
    categories: Sequence[Category],
    *,
    panel_height: int = 0,
) -> np.ndarray:
    """Returns the panels *ground truth | prediction | error* side by side under their titles.

    Args:
        image: (H, W, 3) uint8 RGB.
        truth: ground truth of the same size.
        prediction: predicted map of the same size.
        categories: the vocabulary of both.
        panel_height: height of a panel in pixels; 0 keeps H, but at least 192 and at most 640.
    """
    size = _panel_size(image, panel_height)
    image, truth, prediction = _resize(image, size), _resize_map(truth, size), _resize_map(prediction, size)
    panels = {
        "ground truth": draw_panoptic(image, truth, categories),
        "prediction": draw_panoptic(image, prediction, categories),
        "error": draw_errors(image, truth, prediction),
    }
    return _side_by_side(panels)


def foreground_comparison(
    image: np.ndarray, truth: np.ndarray, prediction: np.ndarray, *, panel_height: int = 0
) -> np.ndarray:
    """Returns the panels *ground truth | prediction | error* of two foreground masks side by side under their titles.

    Args:
        image: (h, w, 3) uint8 RGB, at any size.
        truth: (H, W) bool.
        prediction: (H, W) bool.
        panel_height: as in :func:`comparison`, with H.
    """
    _check_size(truth, prediction)
    size = _panel_size(truth, panel_height)
    image = _resize(image, size)
    true, said = (
        cv2.resize(m.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST) > 0 for m in (truth, prediction)
    )
    error = _dimmed(image)
    error[said & ~true], error[true & ~said] = FOREGROUND_ERROR_COLORS.values()
    panels = {"ground truth": draw_foreground(image, true), "prediction": draw_foreground(image, said), "error": error}
    return _side_by_side(panels)


def shade(color: tuple[int, int, int], number: int) -> tuple[int, int, int]:
    """Returns the colour of instance ``number`` (from 0) of a category: lighter or darker, hue kept."""
    amount = _SHADES[number % len(_SHADES)]
    towards = 255 if amount > 0 else 0
    red, green, blue = (round(c + (towards - c) * abs(amount)) for c in color)
    return red, green, blue


def _verdicts(truth: PanopticResult, prediction: PanopticResult) -> np.ndarray:
    """Returns a verdict per pixel, (H, W) int8: 0 right, 1.. the kinds of ``ERROR_COLORS``, ``_UNJUDGED``.

    Pixels that the ground truth leaves VOID or marks as crowd are not judged. A predicted thing counts as the right
    instance when it overlaps its ground-truth segment with an IoU above 0.5, the rule of panoptic quality.
    """
    _check_size(truth.ids, prediction.ids)
    true_ids, true_at = np.unique(truth.ids, return_inverse=True)
    said_ids, said_at = np.unique(prediction.ids, return_inverse=True)
    pair = true_at.ravel() * len(said_ids) + said_at.ravel()
    shared = np.bincount(pair, minlength=len(true_ids) * len(said_ids)).reshape(len(true_ids), len(said_ids))
    true_of = {s.id: s for s in truth.segments if not s.iscrowd}
    said_of = {s.id: s for s in prediction.segments}
    judged = np.array([int(i) in true_of for i in true_ids])
    said_area = shared[judged].sum(axis=0)
    verdict = np.zeros(shared.shape, np.int8)
    for t, p in zip(*np.nonzero(shared), strict=True):
        true, said = true_of.get(int(true_ids[t])), said_of.get(int(said_ids[p]))
        if true is None:
            verdict[t, p] = _UNJUDGED
        elif said is None:
            verdict[t, p] = _MISSING
        elif said.category != true.category:
            verdict[t, p] = _WRONG_CATEGORY
        elif true.isthing and shared[t, p] <= 0.5 * (shared[t].sum() + said_area[p] - shared[t, p]):
            verdict[t, p] = _WRONG_INSTANCE
    return verdict.ravel()[pair].reshape(truth.ids.shape)


def _dimmed(image: np.ndarray) -> np.ndarray:
    """Returns a pale grey copy (H, W, 3)."""
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32) * 0.35 + 140
    return np.repeat(grey[..., None], 3, axis=2).astype(np.uint8)


def _panel_size(picture: np.ndarray, panel_height: int) -> tuple[int, int]:
    """Returns (width, height) of a panel that shows a picture (H, W, ...)."""
    height, width = picture.shape[:2]
    target = panel_height or min(max(height, 192), 640)
    return max(1, round(width * target / height)), target


def _resize(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Returns the image scaled to ``size`` (width, height)."""
    if image.shape[1::-1] == size:
        return image
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA if size[1] < image.shape[0] else cv2.INTER_CUBIC)


def _resize_map(result: PanopticResult, size: tuple[int, int]) -> PanopticResult:
    """Returns the map scaled to ``size`` (width, height), nearest neighbour."""
    ids = cv2.resize(result.ids.astype(np.int32), size, interpolation=cv2.INTER_NEAREST)
    return PanopticResult(ids, result.segments)


def _check_size(image: np.ndarray, labels: np.ndarray) -> None:
    if image.shape[:2] != labels.shape[:2]:
        raise ValueError(f"image {image.shape[:2]} and label map {labels.shape[:2]} differ in size")


def _paint(image: np.ndarray, regions: Sequence[_Region], alpha: float, labels: bool) -> np.ndarray:
    regions = [r for r in regions if r.mask.any()]
    out = image.copy()
    for region in regions:
        _fill(out[region.box], image[region.box], region.mask, region.color, alpha)
    for region in regions:
        red, green, blue = (int(c * 0.55) for c in region.color)
        color = (255, 255, 255) if region.border else (red, green, blue)
        _outline(out, region.mask, color, (region.x, region.y))
    if labels:
        _write_labels(out, regions)
    return out


def _cut(labels: np.ndarray, value: int, box: tuple[int, int, int, int]) -> tuple[np.ndarray, int, int]:
    """Returns the pixels of a value in its box x, y, width, height, and the box's corner x, y."""
    x, y, width, height = box
    return labels[y : y + height, x : x + width] == value, x, y


def _fill(out: np.ndarray, image: np.ndarray, mask: np.ndarray, color: tuple[int, int, int], alpha: float) -> None:
    """Paints the image's pixels under a mask into ``out``, coloured."""
    out[mask] = (image[mask] * (1 - alpha) + np.array(color, np.float32) * alpha + 0.5).astype(np.uint8)


def _outline(out: np.ndarray, mask: np.ndarray, color: tuple[int, int, int], corner: tuple[int, int] = (0, 0)) -> None:
    """Draws the border of a mask whose first pixel lies at ``corner`` (x, y) of ``out``."""
    contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE, offset=corner)
    cv2.drawContours(out, contours, -1, color, max(1, round(min(out.shape[:2]) / 400)), cv2.LINE_8)


def _write_labels(out: np.ndarray, regions: Sequence[_Region]) -> None:
    """Writes each region's text at its innermost point, large regions first; a text without room is left out."""
    scale = float(np.clip(min(out.shape[:2]) / 900, 0.32, 1.2))
    taken: list[tuple[int, int, int, int]] = []
    order = sorted(regions, key=lambda r: (not r.border, -int(r.mask.sum())))
    for region in order:
        (width, height), baseline = cv2.getTextSize(region.text, _FONT, scale, 1)
        width, height = width + 6, height + baseline + 4
        y, x, radius = innermost_pixel(np.ascontiguousarray(region.mask))
        y, x = y + region.y, x + region.x
        if radius < height * 0.35 or width > out.shape[1] or height > out.shape[0]:
            continue
        left = int(np.clip(x - width // 2, 0, out.shape[1] - width))
        for shift in (0, -height, height):
            top = int(np.clip(y - height // 2 + shift, 0, out.shape[0] - height))
            box = (left, top, left + width, top + height)
            if not any(_overlap(box, other) for other in taken):
                taken.append(box)
                _write_text(out, region.text, box, baseline, scale, region.color)
                break


def _write_text(
    out: np.ndarray, text: str, box: tuple[int, int, int, int], baseline: int, scale: float, color: tuple[int, int, int]
) -> None:
    left, top, right, bottom = box
    plate = np.array(color, np.float32) * 0.35
    out[top:bottom, left:right] = (out[top:bottom, left:right] * 0.2 + plate * 0.8).astype(np.uint8)
    cv2.putText(out, text, (left + 3, bottom - baseline - 1), _FONT, scale, (255, 255, 255), 1, cv2.LINE_AA)


def _overlap(a: tuple[int, int, int, int], b: tuple[int, int, int, int]) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def _side_by_side(panels: dict[str, np.ndarray]) -> np.ndarray:
    gap, title = 6, 22
    columns = []
    for name, panel in panels.items():
        head = np.full((title, panel.shape[1], 3), 255, np.uint8)
        scale = min(0.5, panel.shape[1] / 260)
        cv2.putText(head, name, (2, title - 7), _FONT, scale, (30, 30, 30), 1, cv2.LINE_AA)
        columns += [np.vstack([head, panel]), np.full((title + panel.shape[0], gap, 3), 255, np.uint8)]
    return np.hstack(columns[:-1])
