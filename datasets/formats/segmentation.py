"""Masks as annotation files hold them: polygons, or run-length codes of either kind; drawn by pycocotools' rule.

Everything is checked here, before native code sees it: pycocotools believes what it is given, and writes past the image
or never ends where runs do not cover it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from ...utils.mask_runs import rle_runs
from ...utils.masks import Rle
from .json_row import shown

MOST_PIXELS = 2**31 - 1
"""Of an image that a mask belongs to; codes count pixels in 32 bits."""

_FARTHEST = 1e8  # pycocotools draws on a grid of fifths of pixels in 32 bits
_LONGEST_OUTLINE = 5_000_000  # pixels; drawing takes some 100 bytes for each
_LONGEST_TEXT = 7  # characters of one run in a compressed code


def decode_mask(segmentation: Any, height: int, width: int) -> np.ndarray:
    """Draws an annotation's ``segmentation``: (height, width) bool.

    Takes the arguments of :func:`encode_segmentation` and raises as it does.
    """
    return coco_mask.decode(encode_segmentation(segmentation, height, width)).astype(bool)


def encode_segmentation(segmentation: Any, height: int, width: int) -> Rle:
    """Turns an annotation's ``segmentation`` into a compressed run-length code, without drawing it.

    Args:
        segmentation: list of polygons ``[x0, y0, x1, y1, ...]`` in pixels, which are united (none: an empty mask), or
            ``{"size": [height, width], "counts": ...}`` with a list of run lengths or their compressed text.
        height: rows of the image.
        width: columns of the image.

    Returns:
        The code as pycocotools would write it: no run but the first has the length 0.

    Raises:
        ValueError: neither polygons nor a run-length code; a polygon of fewer than 3 points, with an odd number of
            coordinates, or with one that is no finite number or lies far outside the image; a code of another size, or
            whose runs are no whole numbers from 0 that cover the image exactly.
    """
    if not 0 < height * width <= MOST_PIXELS:
        raise ValueError(f"an image of {width} x {height} pixels cannot have a mask")
    if isinstance(segmentation, list) and segmentation:
        polygons = _checked_polygons(segmentation, height, width)
        code = coco_mask.merge(coco_mask.frPyObjects(polygons, height, width))
    else:
        counts = [height * width] if segmentation == [] else _checked_runs(segmentation, height, width)
        code = coco_mask.frPyObjects({"size": [height, width], "counts": counts}, height, width)
    return {"size": [height, width], "counts": code["counts"].decode("ascii")}


def polygon_bounds(segmentation: Sequence[Sequence[float]]) -> tuple[float, float, float, float]:
    """Returns the smallest x and y and the largest x and y of polygons that :func:`encode_segmentation` accepts."""
    points = np.concatenate([np.array(polygon, np.float64).reshape(-1, 2) for polygon in segmentation])
    (x0, y0), (x1, y1) = points.min(axis=0).tolist(), points.max(axis=0).tolist()
    return x0, y0, x1, y1


def _checked_polygons(polygons: list[Any], height: int, width: int) -> list[list[float]]:
    outline = 0.0
    for polygon in polygons:
        # Four numbers would be taken for a box by pycocotools.
        if not isinstance(polygon, list) or len(polygon) < 6:
            raise ValueError(f"a polygon needs at least 3 points x, y, found {shown(polygon)}")
        if len(polygon) % 2:
            raise ValueError(f"a polygon has {len(polygon)} coordinates, expected pairs x, y")
        points = _points(polygon)
        farthest = float(np.abs(points).max())
        if farthest > _FARTHEST:
            raise ValueError(f"a polygon reaches {farthest:g}, far outside the image of {width} x {height} pixels")
        outline += float(np.abs(points - np.roll(points, 1, axis=0)).max(axis=1).sum())
    if outline > _LONGEST_OUTLINE:
        raise ValueError(
            f"its outline is {outline:.0f} pixels long (at most {_LONGEST_OUTLINE}), in an image of "
            f"{width} x {height} pixels"
        )
    return polygons


def _points(polygon: list[Any]) -> np.ndarray:
    """Returns the points (N, 2) float64 of a polygon."""
    if not set(map(type, polygon)) <= {int, float}:
        wrong = next(v for v in polygon if type(v) not in (int, float))
        raise ValueError(f"a polygon holds {shown(wrong)}, which is no finite number")
    try:
        points = np.array(polygon, np.float64).reshape(-1, 2)
    except OverflowError:
        points = np.array([[np.inf, np.inf]])
    if not np.isfinite(points).all():
        raise ValueError("a polygon holds something that is no finite number")
    return points


def _checked_runs(code: Any, height: int, width: int) -> list[int]:
    """Returns the runs of a code, pixels outside, inside, outside ... down the columns; only the first may be 0."""
    if not isinstance(code, Mapping) or not {"size", "counts"} <= code.keys():
        raise ValueError(f"it is neither a list of polygons nor a run-length mask {{size, counts}}: {shown(code)}")
    size, counts = code["size"], code["counts"]
    if not isinstance(size, (list, tuple)) or any(isinstance(v, bool) for v in size) or list(size) != [height, width]:
        raise ValueError(f"RLE of size {shown(size)}, the image has {[height, width]}")
    try:
        if isinstance(counts, list):
            _check_list(counts, height * width)
        elif not isinstance(counts, (str, bytes)):
            raise ValueError(f"`counts` is {shown(counts)}, expected run lengths or their compressed text")
        elif len(counts) > _LONGEST_TEXT * (height * width + 1):
            raise ValueError(f"its text of {len(counts)} characters is longer than any mask of this size")
        starts, lengths = rle_runs({"size": [height, width], "counts": counts})
    except ValueError as error:
        raise ValueError(f"broken run-length mask ({error})") from error
    edges = np.zeros(2 * len(starts) + 1, np.int64)
    edges[1::2], edges[2::2] = starts, starts + lengths
    double = np.flatnonzero(edges[2:-1] == edges[3:]) if len(starts) > 1 else edges[:0]
    if len(double):  # codecs lose their place at runs of no pixel: where one run ends at the next's start they are one
        edges = np.delete(edges, np.concatenate([double + 2, double + 3]))
    runs = (edges[1:] - edges[:-1]).tolist()
    rest = height * width - int(edges[-1])
    return [*runs, rest] if rest else runs


def _check_list(counts: list[Any], pixels: int) -> None:
    if not set(map(type, counts)) <= {int}:
        wrong = next(v for v in counts if type(v) is not int)
        raise ValueError(f"`counts` holds {shown(wrong)}, expected whole numbers")
    if min(counts, default=0) < 0:
        raise ValueError(f"one of its runs covers {shown(min(counts))} pixels")
    if sum(counts) != pixels:
        raise ValueError(f"its runs cover {shown(sum(counts))} of {pixels} pixels")
    if len(counts) > 2 * pixels + 2:
        raise ValueError(f"it has {len(counts)} runs, in an image of {pixels} pixels")
