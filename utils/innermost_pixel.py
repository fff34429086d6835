"""The pixel in the middle of a mask: where a click, a label or the start of a stroke belongs."""

from __future__ import annotations

import cv2
import numpy as np


def innermost_pixel(mask: np.ndarray) -> tuple[int, int, float]:
    """Returns row, column and distance of the pixel farthest from the background, the image's outside included.

    Args:
        mask: (H, W) bool with at least one pixel; the first of equally far ones counts.
    """
    x0, y0, width, height = cv2.boundingRect(mask.view(np.uint8))
    crop = np.pad(mask[y0 : y0 + height, x0 : x0 + width].view(np.uint8), 1)
    distance = cv2.distanceTransform(crop, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    row, column = np.unravel_index(int(distance.argmax()), distance.shape)
    return y0 + int(row) - 1, x0 + int(column) - 1, float(distance[row, column])
