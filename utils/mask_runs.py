"""Masks as runs of pixels: a small object in a large image costs what it covers, not what the image holds.

Runs go down the columns, as in COCO's run-length codes (https://cocodataset.org/#format-data): a pixel's position is
``x * height + y``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from .masks import Rle, label_runs

_LONGEST = 7  # characters of a number of a compressed code: 35 bits, more than any picture has pixels


def rle_runs(code: Rle) -> tuple[np.ndarray, np.ndarray]:
    """Returns where the runs of a mask start and how long they are, two arrays (R,) int64.

    Args:
        code: compressed or not.

    Raises:
        ValueError: its counts are no run lengths, or do not cover exactly ``size``.
    """
    counts = _run_lengths(code["counts"])
    height, width = code["size"]
    if counts.sum() != height * width or counts.min(initial=0) < 0:
        negative = ", some of negative length" if counts.min(initial=0) < 0 else ""
        raise ValueError(f"its runs cover {counts.sum()} of {height * width} pixels{negative}")
    starts, lengths = (np.cumsum(counts) - counts)[1::2], counts[1::2]
    return starts[lengths > 0], lengths[lengths > 0]


def rle_pixels(code: Rle) -> np.ndarray:
    """Returns the positions (P,) int32 of a mask's pixels in the image that is flattened column by column."""
    starts, lengths = rle_runs(code)
    before = np.cumsum(lengths) - lengths
    pixels = np.repeat((starts - before).astype(np.int32), lengths)
    pixels += np.arange(len(pixels), dtype=np.int32)
    return pixels


def overlapping_pixels(codes: Iterable[Rle]) -> int:
    """Counts the pixels that two or more masks of one image cover."""
    runs = [rle_runs(code) for code in codes]
    if not runs:
        return 0
    starts = np.concatenate([run[0] for run in runs])
    stops = starts + np.concatenate([run[1] for run in runs])
    events = np.concatenate([starts, stops])
    order = np.argsort(events, kind="stable")
    covered = np.cumsum(np.repeat([1, -1], len(starts))[order])
    return int(np.diff(events[order])[covered[:-1] > 1].sum())


def measure_labels(labels: np.ndarray) -> dict[int, tuple[int, tuple[int, int, int, int]]]:
    """Measures every value of a map, in ascending order.

    Works on horizontal runs of equal values, of which there are some hundred times fewer than pixels.

    Args:
        labels: (H, W) integers.

    Returns:
        Value -> area in pixels, and tight box x, y, width, height in pixels.
    """
    height, width = labels.shape
    if labels.size == 0:
        return {}
    flat = np.ascontiguousarray(labels).ravel()
    breaks = np.empty(flat.size, bool)
    np.not_equal(flat[1:], flat[:-1], out=breaks[1:])
    breaks[::width] = True  # also sets the first one
    starts = np.flatnonzero(breaks)
    lengths = np.diff(starts, append=flat.size)
    values, inverse = np.unique(flat[starts], return_inverse=True)
    order = np.argsort(inverse, kind="stable")
    first = np.searchsorted(inverse[order], np.arange(len(values)))
    y, x = np.divmod(starts[order], width)
    area = np.add.reduceat(lengths[order], first)
    x0, y0 = np.minimum.reduceat(x, first), np.minimum.reduceat(y, first)
    x1, y1 = np.maximum.reduceat(x + lengths[order], first), np.maximum.reduceat(y, first) + 1
    columns = (values, area, x0, y0, x1 - x0, y1 - y0)
    return {v: (a, (bx, by, bw, bh)) for v, a, bx, by, bw, bh in zip(*(c.tolist() for c in columns), strict=True)}


def encode_labels(labels: np.ndarray, values: Sequence[int]) -> list[Rle]:
    """Encodes ``labels == value`` for each value, all in one pass over the map.

    Args:
        labels: (H, W) integers.
        values: one code each; a value that does not occur gives an empty mask.

    Returns:
        What :func:`~segfoundry.utils.masks.encode_masks` gives for the masks.
    """
    from pycocotools import mask as codec

    height, width = labels.shape
    if not values:
        return []
    columns = np.ascontiguousarray(labels.T)
    starts, lengths = label_runs(columns)
    found = columns.ravel()[starts]
    order = np.argsort(found, kind="stable")
    present, first = np.unique(found[order], return_index=True)
    rows_of = dict(zip(present.tolist(), np.split(order, first[1:]), strict=True)) if len(present) else {}
    codes = []
    for value in values:
        rows = rows_of.get(value, order[:0])
        edges = np.zeros(2 * len(rows) + 2, np.int64)
        edges[1:-1:2], edges[2:-1:2], edges[-1] = starts[rows], starts[rows] + lengths[rows], labels.size
        counts = np.diff(edges).tolist()
        codes.append({"size": [height, width], "counts": counts[:-1] if len(rows) and not counts[-1] else counts})
    packed = codec.frPyObjects(codes, height, width)
    return [{"size": [height, width], "counts": code["counts"].decode("ascii")} for code in packed]


def _run_lengths(counts: Any) -> np.ndarray:
    """Returns the run lengths (M,) int64 that a list holds, or the text of a compressed code."""
    if isinstance(counts, list):
        return np.array(counts, np.int64)
    data = np.frombuffer(counts if isinstance(counts, bytes) else counts.encode("ascii"), np.uint8)
    # Six bits per character: five of the number, lowest first, and one that says that more follow.
    codes = data.astype(np.int64) - 48
    if codes.size and (codes.min() < 0 or codes.max() > 63 or codes[-1] & 32):
        raise ValueError("its text is no compressed run-length code")
    last = np.flatnonzero(codes & 32 == 0)
    first = np.append(0, last[:-1] + 1)[: len(last)]
    length = last - first + 1
    if length.max(initial=0) > _LONGEST:
        raise ValueError("its text holds a number that is too large")
    place = np.arange(len(codes)) - np.repeat(first, length)
    numbers = np.add.reduceat((codes & 31) << 5 * place, first) if len(first) else first
    numbers = numbers - np.where(codes[last] & 16, 1 << 5 * length, 0)
    # From the fourth on, a number is the difference to the one two places before.
    for start in (1, 2):
        numbers[start::2] = np.cumsum(numbers[start::2])
    return numbers
