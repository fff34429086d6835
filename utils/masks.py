"""Binary masks as run-length codes (COCO RLE), boxes of masks, and label maps packed as runs.

RLE is pycocotools'; hotcoco replaces it when it is installed (the bytes are the same, about ten times faster).
"""

from __future__ import annotations

import importlib
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from types import ModuleType
from typing import Any

import numpy as np

Rle = dict[str, Any]
"""``{"size": [height, width], "counts": text}``: COCO's compressed RLE, as JSON holds it."""


@cache
def hotcoco() -> ModuleType | None:
    """Returns the optional accelerator package, or None when it is not installed."""
    try:
        return importlib.import_module("hotcoco")
    except ImportError:
        return None


@cache
def _codec() -> ModuleType:
    accelerator = hotcoco()
    return importlib.import_module("pycocotools.mask") if accelerator is None else accelerator.mask


def encode_masks(masks: np.ndarray) -> list[Rle]:
    """Encodes masks.

    Args:
        masks: (N, H, W) bool or uint8 (0 or 1).

    Returns:
        N codes.
    """
    if len(masks) == 0:
        return []
    # The codec walks down columns: swapping the axes once gives it the layout it would otherwise make mask by mask.
    columns = np.ascontiguousarray(np.asarray(masks).view(np.uint8).transpose(0, 2, 1))
    codes = _codec().encode(columns.transpose(2, 1, 0))
    return [{"size": [int(s) for s in c["size"]], "counts": c["counts"].decode("ascii")} for c in codes]


def decode_masks(codes: Sequence[Rle], size: tuple[int, int]) -> np.ndarray:
    """Decodes masks to (N, H, W) bool.

    Args:
        codes: N codes, compressed or not.
        size: (height, width); needed when N is 0.

    Raises:
        ValueError: a code has another size.
    """
    height, width = size
    masks = np.zeros((len(codes), height, width), bool)
    for mask, code in zip(masks, codes, strict=True):
        if tuple(code["size"]) != (height, width):
            raise ValueError(f"a mask of size {tuple(code['size'])}, expected {(height, width)}")
        mask[:] = _codec().decode(_as_codec(code))
    return masks


def _as_codec(code: Rle) -> Rle:
    """Returns a code in the form that every codec decodes (counts as bytes)."""
    counts = code["counts"]
    if isinstance(counts, list):
        from pycocotools import mask as codec

        return codec.frPyObjects({"size": list(code["size"]), "counts": counts}, *code["size"])
    return {"size": list(code["size"]), "counts": counts.encode("ascii") if isinstance(counts, str) else counts}


def rle_areas(codes: Sequence[Rle]) -> np.ndarray:
    """Returns the pixel counts (N,) int64."""
    if not codes:
        return np.zeros(0, np.int64)
    return np.asarray(_codec().area([_as_codec(c) for c in codes]), np.int64)


def rle_boxes(codes: Sequence[Rle]) -> np.ndarray:
    """Returns the tight boxes x, y, width, height, (N, 4) float64 pixels."""
    if not codes:
        return np.zeros((0, 4))
    return np.asarray(_codec().toBbox([_as_codec(c) for c in codes]), np.float64).reshape(-1, 4)


def rle_counts(code: Rle) -> list[int]:
    """Returns the uncompressed runs of a code: pixels outside, inside, outside ... down the columns."""
    columns = decode_masks([code], code["size"])[0].T
    _, lengths = label_runs(columns)
    return [0] * bool(columns.size and columns[0, 0]) + lengths.tolist()


def mask_boxes(masks: np.ndarray) -> np.ndarray:
    """Returns the tight boxes x0, y0, x1, y1 of masks; x1 and y1 lie one past the last pixel.

    Args:
        masks: (N, H, W) bool.

    Returns:
        (N, 4) float32 pixels; zeros for an empty mask.
    """
    boxes = np.zeros((len(masks), 4), np.float32)
    for box, mask in zip(boxes, masks, strict=True):
        rows = np.flatnonzero(mask.any(axis=1))
        if len(rows):
            columns = np.flatnonzero(mask[rows[0] : rows[-1] + 1].any(axis=0))
            box[:] = columns[0], rows[0], columns[-1] + 1, rows[-1] + 1
    return boxes


@dataclass(frozen=True)
class PackedLabels:
    """A label map as compressed runs: some thousandth of its size in memory.

    Attributes:
        shape: (height, width).
        dtype: of the map.
        data: compressed values and lengths of the horizontal runs.
    """

    shape: tuple[int, int]
    dtype: str
    data: bytes


def label_runs(*maps: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Cuts equally large maps into horizontal runs on which each of them is constant.

    Args:
        maps: (H, W) integers each.

    Returns:
        starts, lengths: (R,) int64 positions in the flattened maps, and pixels.
    """
    flat = [np.ascontiguousarray(m).ravel() for m in maps]
    if flat[0].size == 0:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    breaks = np.empty(flat[0].size, bool)
    breaks[0] = True
    np.not_equal(flat[0][1:], flat[0][:-1], out=breaks[1:])
    for other in flat[1:]:
        breaks[1:] |= other[1:] != other[:-1]
    starts = np.flatnonzero(breaks)
    return starts, np.diff(starts, append=breaks.size)


def pack_labels(labels: np.ndarray) -> PackedLabels:
    """Packs an (H, W) integer map without loss."""
    starts, lengths = label_runs(labels)
    values = np.ascontiguousarray(labels).ravel()[starts]
    data = zlib.compress(lengths.astype("<u4").tobytes() + values.tobytes(), 1)
    return PackedLabels((labels.shape[0], labels.shape[1]), labels.dtype.str, data)


def unpack_labels(packed: PackedLabels) -> np.ndarray:
    """Returns the map that was packed."""
    data = zlib.decompress(packed.data)
    dtype = np.dtype(packed.dtype)
    count = len(data) // (4 + dtype.itemsize)
    lengths = np.frombuffer(data, "<u4", count)
    return np.repeat(np.frombuffer(data, dtype, count, 4 * count), lengths).reshape(packed.shape)
