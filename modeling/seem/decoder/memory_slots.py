"""Memory of interactive rounds: slots that read the image where an object's last mask was.

Letters in shapes: B images, N prompted objects, M memory slots, h and w rows and columns of a level.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from .image_levels import ImageLevel
from .pass_draws import PassDraws


@dataclass
class Memory:
    """The last round's masks and which slot remembers which.

    Attributes:
        previous: per level, (B, N, h * w) mask logits.
        owners: per layer, (B, M) or (1, M) int64 object of each slot, ascending.
    """

    previous: list[Tensor]
    owners: list[Tensor]

    @classmethod
    def build(cls, previous: Tensor, levels: Sequence[ImageLevel], owners: list[Tensor]) -> Memory:
        """Brings masks (B, N, rows, columns) to the resolution of each level (bilinear, half-pixel centres)."""
        previous = previous.detach().float()
        resized = [F.interpolate(previous, level.size, mode="bilinear", align_corners=False) for level in levels]
        return cls([masks.flatten(2) for masks in resized], owners)

    def slot_logits(self, layer: int) -> Tensor:
        """Returns the mask logits (B, M, h * w) that each slot goes by in a layer."""
        masks, owner = self.previous[layer % len(self.previous)], self.owners[layer]
        owner = owner.expand(len(masks), -1)
        return masks.gather(1, owner[..., None].expand(-1, -1, masks.shape[2]))


def draw_slot_owners(
    draws: PassDraws, num_layers: int, num_slots: int, num_objects: int, device: torch.device
) -> list[Tensor]:
    """Draws which object each slot belongs to, with replacement and anew in every layer (draw ``memory/{layer}``).

    Returns:
        Per layer, (1, M) int64 in 0..num_objects - 1, ascending; an object may have no slot.
    """
    drawn = (draws.integers(f"memory/{i}", num_objects, num_slots, device) for i in range(num_layers))
    return [owner.sort().values[None] for owner in drawn]


def deal_slot_owners(objects: Sequence[int], num_layers: int, num_slots: int, device: torch.device) -> list[Tensor]:
    """Deals the slots of each image out evenly, the same in every layer: for answers that must not depend on chance.

    Args:
        objects: prompted objects of each image.
        num_layers: decoder layers.
        num_slots: M; if there are more objects, some have no slot.
        device: where to.

    Returns:
        Per layer, (B, M) int64, ascending.
    """
    counts = torch.tensor(objects, device=device).clamp(min=1)[:, None]
    owner = torch.arange(num_slots, device=device) * counts // num_slots
    return [owner] * num_layers
