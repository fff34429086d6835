"""Where everything mode looks: crops of an image and grids of points in them.

Boxes are x0, y0, x1, y1 in pixels. Letters in shapes: G points of a grid, N masks.
"""

from __future__ import annotations

from itertools import product
from math import ceil

import numpy as np

Box = tuple[int, int, int, int]

_EDGE = 20.0  # pixels: a mask whose box comes this close to the edge of a crop is probably cut off by it


def point_grid(per_side: int) -> np.ndarray:
    """Returns the centres of ``per_side`` x ``per_side`` equal cells of the unit square, (G, 2) float64 x, y."""
    centers = (np.arange(per_side) + 0.5) / per_side
    x, y = np.meshgrid(centers, centers)
    return np.stack([x.ravel(), y.ravel()], axis=1)


def layer_grids(per_side: int, layers: int, downscale: int) -> tuple[np.ndarray, ...]:
    """Returns a grid for the image and for each layer of crops; layer i has per_side / downscale^i points a side."""
    return tuple(point_grid(max(1, per_side // downscale**layer)) for layer in range(layers + 1))


def crop_boxes(size: tuple[int, int], layers: int, overlap_ratio: float) -> list[tuple[Box, int]]:
    """Returns the crops of an image of (height, width) ``size`` and their layers, the whole image (layer 0) first.

    Layer i cuts each side into 2^i overlapping pieces. An image with fewer pixels than pieces has fewer crops.

    Args:
        size: (height, width).
        layers: layers of crops beside the whole image.
        overlap_ratio: overlap in layer 1, as a share of the short side; it halves from layer to layer.
    """
    height, width = size
    crops: list[tuple[Box, int]] = [((0, 0, width, height), 0)]
    for layer in range(1, layers + 1):
        pieces = 2**layer
        overlap = int(overlap_ratio * min(size) * (2 / pieces))
        columns, rows = (_pieces(side, pieces, overlap) for side in (width, height))
        crops += [((x0, y0, x1, y1), layer) for (x0, x1), (y0, y1) in product(columns, rows)]
    return crops


def _pieces(side: int, count: int, overlap: int) -> list[tuple[int, int]]:
    """Returns the starts and ends of overlapping pieces of a side; those beyond it are left out."""
    length = ceil((overlap * (count - 1) + side) / count)
    starts = [(length - overlap) * number for number in range(count)]
    return [(start, min(start + length, side)) for start in starts if start < side]


def cut_off(boxes: np.ndarray, crop: Box, size: tuple[int, int]) -> np.ndarray:
    """Tells which masks are probably cut off by their crop: close to an edge of it that is not the image's edge.

    Args:
        boxes: (N, 4), in pixels of the crop.
        crop: the crop, in pixels of the image.
        size: (height, width) of the image.

    Returns:
        (N,) bool.
    """
    edges = np.asarray(boxes, np.float64) + np.tile(crop[:2], 2)
    image = np.array([0, 0, size[1], size[0]])
    return ((np.abs(edges - crop) <= _EDGE) & (np.abs(edges - image) > _EDGE)).any(axis=1)


def place_masks(masks: np.ndarray, crop: Box, size: tuple[int, int]) -> np.ndarray:
    """Puts masks of a crop, (N, h, w) bool, into the frame of the image, (N, H, W)."""
    placed = np.zeros((len(masks), size[1], size[0]), bool).transpose(0, 2, 1)  # column by column, as RLE walks
    placed[:, crop[1] : crop[3], crop[0] : crop[2]] = masks
    return placed
