"""Which SAM a weight file holds, and which shipped configuration describes it: told by names and shapes alone."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from ...utils.errors import CheckpointError

Shapes = Mapping[str, tuple[int, ...]]

TYPES = {(768, 12): "vit_b", (1024, 24): "vit_l", (1280, 32): "vit_h"}
"""Channels and blocks of the published Vision Transformers -> type."""
TINY = "vit_t"

_ENCODERS = ("image_encoder.", "vision_encoder.")
_BLOCK = re.compile(
    r"^(?:image_encoder\.blocks|vision_encoder\.layers)\.(\d+)\.norm1|^vision_encoder\.layers\.(\d+)\.layer_norm1"
)


@dataclass(frozen=True)
class EncoderSize:
    """The image encoder of a weight file.

    Attributes:
        type: vit_b, vit_l, vit_h, vit_t, or "custom" for another size.
        width: channels.
        depth: blocks; 0 for vit_t.
    """

    type: str
    width: int
    depth: int

    def __str__(self) -> str:
        """Names the type, a custom one by its size."""
        if self.type != "custom":
            return self.type
        return f"custom (a Vision Transformer of {self.width} channels and {self.depth} blocks)"


def find_encoder(shapes: Shapes) -> EncoderSize | None:
    """Returns what image encoder tensors of these names and shapes make, in either layout; None: there is none."""
    if stem := shapes.get("image_encoder.patch_embed.seq.2.c.weight"):
        return EncoderSize(TINY, stem[0], 0)
    stems = ("image_encoder.patch_embed.proj.weight", "vision_encoder.patch_embed.projection.weight")
    stem = next((shapes[name] for name in stems if name in shapes), None)
    if stem is None:
        return None
    depth = len({match[1] or match[2] for name in shapes if (match := _BLOCK.match(name))})
    return EncoderSize(TYPES.get((stem[0], depth), "custom"), stem[0], depth)


def sam_type(shapes: Shapes) -> str | None:
    """Returns the value of SAM.TYPE that a weight file belongs to, or None when it holds no SAM with an image encoder.

    Args:
        shapes: parameter name -> shape, published names or those of transformers.
    """
    if not any(name.startswith("mask_decoder.") for name in shapes):
        return None
    encoder = find_encoder(shapes)
    return None if encoder is None else encoder.type


def decoder_only(shapes: Mapping[str, object]) -> bool:
    """Whether names are those of a SAM without its image encoder."""
    return any(name.startswith("mask_decoder.transformer.") for name in shapes) and not any(
        name.startswith(_ENCODERS) for name in shapes
    )


def lacks_parts(names: Collection[str]) -> bool:
    """Whether names are not those of a whole SAM: image encoder or mask decoder is missing, say, after tuning."""
    return not all(any(name.startswith(part) for name in names) for part in (_ENCODERS, "mask_decoder."))


def shipped_config(shapes: Shapes, file_name: str = "") -> str | None:
    """Returns the file below ``configs`` that describes a published weight file of SAM or MobileSAM, or None.

    Args:
        shapes: parameter name -> shape.
        file_name: name of the file, for messages.

    Raises:
        CheckpointError: the file lacks the image encoder, so that it does not tell what it belongs to.
    """
    if decoder_only(shapes):
        raise CheckpointError(
            f"{file_name or 'the file'} holds a mask decoder without its image encoder. Name its "
            "configuration and base file: --conf_files configs/sam/vit_b.yaml --overrides SAM.CHECKPOINT "
            "sam_vit_b_01ec64.pth (or vit_l, vit_h, vit_t)"
        )
    found = sam_type(shapes)
    return None if found in (None, "custom") else f"sam/{found}.yaml"
