"""Simulated clicks: where a user would correct a predicted mask next (SEEM, arXiv 2304.06718, section 3.3).

The published rule takes the pixel of the error region that is farthest from its border, measured by a cascade of soft
3 x 3 minima (Pham et al., "Differentiable distance approximation for fairer image classification", 2022). In it a
pixel of an inner ring always lies farther than one of an outer ring (1.42 per ring against a spread below 1.0), and
within a ring the pixel with the least weight of neighbours outside the ring does. So the arg-max needs no cascade: it
is the pixel of the innermost ring, as counted by repeated 3 x 3 erosion, with most neighbours in that ring.

Everything stays on the device of the inputs and never waits for it. Letters in shapes: N objects, of one or of several
images, H and W rows and columns.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from ..utils.structures.requests import Strokes

GOOD_ENOUGH = 0.925
MODES = ("best", "best_random")

# Weights of direct and diagonal neighbours, in the published ratio exp((sqrt(2) - 1) / 0.35) = 3.27 as closely as
# needed to order all sums of up to four of each; integers, so that equal surroundings tie.
_DIRECT, _DIAGONAL = 13, 4


def next_click(
    truth: Tensor,
    predicted: Tensor,
    strokes: Strokes,
    *,
    ignored: Tensor | None = None,
    dilation: int = 3,
    mode: str = "best",
    chance: Tensor | None = None,
) -> Strokes:
    """Adds to each object's strokes the click that its predicted mask needs most.

    The click lies in the larger error region, missed pixels (positive click) or wrong ones (negative click; also when
    both are equally large). Pixels under an earlier stroke are no errors. An object gets no click when its overlap is
    at least 0.925 or no error is left.

    Args:
        truth: (N, H, W) bool.
        predicted: (N, H, W) bool.
        strokes: drawn so far; left as they are.
        ignored: (N, H, W) or (H, W) bool, pixels that count neither way; None: all count.
        dilation: side of the square that a click covers, in pixels; odd.
        mode: "best": the pixel farthest from the region's border, the first one in reading order of equals.
            "best_random": any pixel of the region.
        chance: (N,) numbers in [0, 1) that pick the pixel; needed by "best_random".

    Returns:
        The strokes with the clicks.
    """
    if mode not in MODES or dilation % 2 == 0:
        raise ValueError(f"mode must be one of {MODES} and dilation odd, not {mode!r} and {dilation}")
    counted = None if ignored is None else ~ignored
    missed, wrong = truth & ~predicted, predicted & ~truth
    if counted is not None:
        missed, wrong = missed & counted, wrong & counted
    errors = missed.sum(dim=(1, 2)) + wrong.sum(dim=(1, 2))
    shared = truth & predicted if counted is None else truth & predicted & counted
    shared_area = shared.sum(dim=(1, 2))
    iou = shared_area / (shared_area + errors).clamp(min=1)

    unstroked = ~(strokes.positive | strokes.negative)
    missed, wrong = missed & unstroked, wrong & unstroked
    positive = missed.sum(dim=(1, 2)) > wrong.sum(dim=(1, 2))
    region = torch.where(positive[:, None, None], missed, wrong)
    wanted = (iou < GOOD_ENOUGH) & region.flatten(1).any(dim=1)
    if mode == "best":
        place = farthest_inside(region)
    elif chance is None:
        raise ValueError("mode 'best_random' needs chance")
    else:
        place = random_pixel(region, chance)
    click = _square(place, region, dilation) & wanted[:, None, None]
    return Strokes(
        strokes.positive | click & positive[:, None, None], strokes.negative | click & ~positive[:, None, None]
    )


def farthest_inside(region: Tensor) -> Tensor:
    """Returns the pixel of each region (N, H, W) bool that is farthest from its border, (N,) int64 row * W + column.

    What lies beyond the image is outside the region. Of equals it is the first in reading order; 0 for an empty region.
    """
    ring = innermost_ring(region)
    inner = F.pad(ring, (1, 1, 1, 1)).byte()
    rows = inner[:, :-2] + inner[:, 2:]  # neighbours above and below, (N, H, W + 2)
    direct = rows[..., 1:-1] + inner[:, 1:-1, :-2] + inner[:, 1:-1, 2:]
    diagonal = rows[..., :-2] + rows[..., 2:]
    score = (direct * _DIRECT + diagonal * _DIAGONAL + 1) * ring
    return score.flatten(1).argmax(dim=1)


def innermost_ring(region: Tensor) -> Tensor:
    """Returns what the last 3 x 3 erosion leaves of each region (N, H, W) bool before nothing is left.

    Erosions add up, so the number of them is found from its binary digits, the largest first.
    """
    most = (min(region.shape[-2:]) - 1) // 2  # erosions that any region of this size can survive
    for digit in reversed(range(most.bit_length())):
        eroded = _erode(region, 2**digit)
        alive = eroded.flatten(1).any(dim=1)
        region = torch.where(alive[:, None, None], eroded, region)
    return region


def _erode(region: Tensor, radius: int) -> Tensor:
    """Keeps the pixels of (N, H, W) bool whose surroundings of 2 * radius + 1 rows and columns belong to the region."""
    side = 2 * radius + 1
    if min(region.shape[-2:]) < side:
        return torch.zeros_like(region)
    width = 1
    while width < side:
        step = min(width, side - width)
        region = region[:, :-step] & region[:, step:]
        region = region[:, :, :-step] & region[:, :, step:]
        width += step
    return F.pad(region, (radius, radius, radius, radius))


def random_pixel(region: Tensor, chance: Tensor) -> Tensor:
    """Picks a pixel of each region uniformly.

    Args:
        region: (N, H, W) bool; of an empty one any pixel is picked.
        chance: (N,) numbers in [0, 1).

    Returns:
        (N,) int64, row * W + column.
    """
    count = region.flatten(1).cumsum(dim=1)  # int64
    rank = (chance.to(count.device).double() * count[:, -1]).long() + 1
    return torch.searchsorted(count, rank[:, None])[:, 0].clamp(max=count.shape[1] - 1)


def _square(place: Tensor, like: Tensor, side: int) -> Tensor:
    """Returns squares of ``side`` pixels around places (N,), as masks (N, H, W) bool."""
    height, width = like.shape[-2:]
    rows = (torch.arange(height, device=like.device) - (place // width)[:, None]).abs() <= side // 2
    columns = (torch.arange(width, device=like.device) - (place % width)[:, None]).abs() <= side // 2
    return rows[:, :, None] & columns[:, None]
