"""Builds SAM networks of the published sizes, and of one's own."""

from __future__ import annotations

from dataclasses import dataclass, fields

from torch import nn

from ...layers.image_encoder_vit import SIZES as VIT_SIZES
from ...layers.image_encoder_vit import ConvNeck, ImageEncoderViT
from ..config import Custom
from .mask_decoder import MaskDecoder
from .prompt_encoder import PromptEncoder
from .sam import Sam
from .tiny_vit import TinyViT
from .two_way_transformer import TwoWayTransformer


@dataclass(frozen=True)
class CustomSize:
    """Size of a network with a plain Vision Transformer.

    Attributes:
        patch_size: side of a patch in pixels.
        embed_dim: channels of the image encoder.
        depth: its blocks.
        heads: its attention heads.
        global_blocks: blocks that attend over the whole image.
        window: side of the other blocks' windows in patches.
        prompt_dim: channels of image embedding, prompt encoder and mask decoder; a multiple of 16.
    """

    patch_size: int
    embed_dim: int
    depth: int
    heads: int
    global_blocks: tuple[int, ...]
    window: int
    prompt_dim: int

    @classmethod
    def from_config(cls, custom: Custom) -> CustomSize:
        """Returns the size that SAM.CUSTOM holds under the same names in capitals."""
        values = {field.name.lower(): getattr(custom, field.name) for field in fields(Custom)}
        return cls(**values | {"global_blocks": tuple(custom.GLOBAL_BLOCKS)})


PATCH_SIZE, WINDOW, PROMPT_DIM = 16, 14, 256

# The published networks with a plain Vision Transformer.
SIZES = {
    name: CustomSize(PATCH_SIZE, vit.embed_dim, vit.depth, vit.num_heads, vit.global_attn_indexes, WINDOW, PROMPT_DIM)
    for name, vit in (("vit_b", VIT_SIZES["base"]), ("vit_l", VIT_SIZES["large"]), ("vit_h", VIT_SIZES["huge"]))
}


def build_sam(
    type: str,
    image_size: int = 1024,
    attention: str = "auto",
    use_checkpoint: bool = False,
    custom: CustomSize | None = None,
) -> Sam:
    """Builds a network with random weights.

    Args:
        type: vit_b, vit_l, vit_h, vit_t (MobileSAM) or custom.
        image_size: side S of the padded input in pixels, a multiple of the patch size.
        attention: how the image encoder adds relative positions; see :class:`ImageEncoderViT` and :class:`TinyViT`.
        use_checkpoint: recompute the image encoder's activations in the backward pass.
        custom: the size, for type custom.

    Returns:
        The network, in training mode as every new module.

    Raises:
        ValueError: if the type is unknown, or custom without a size.
    """
    size = custom if type == "custom" else SIZES.get(type)
    if size is None and type != "vit_t":
        raise ValueError(f"unknown type {type!r}; there are {', '.join(SIZES)}, vit_t, and custom with a size")
    patch_size, prompt_dim = (size.patch_size, size.prompt_dim) if size else (PATCH_SIZE, PROMPT_DIM)
    if image_size % patch_size:
        raise ValueError(f"image_size {image_size} is not a multiple of {patch_size}, the side of a patch")
    encoder: nn.Module
    if size is None:
        encoder = TinyViT(image_size, attention=attention, use_checkpoint=use_checkpoint)
    else:
        encoder = vision_transformer(size, image_size, attention, use_checkpoint)
    return Sam(
        encoder,
        PromptEncoder(prompt_dim, image_size // patch_size, image_size),
        MaskDecoder(
            prompt_dim,
            TwoWayTransformer(depth=2, embedding_dim=prompt_dim, num_heads=8, mlp_dim=8 * prompt_dim),
            iou_head_hidden_dim=prompt_dim,
        ),
    )


def vision_transformer(size: CustomSize, image_size: int, attention: str, use_checkpoint: bool) -> nn.Module:
    """Builds a plain Vision Transformer with SAM's neck."""
    return ImageEncoderViT(
        embed_dim=size.embed_dim,
        depth=size.depth,
        num_heads=size.heads,
        global_attn_indexes=size.global_blocks,
        neck=ConvNeck(size.embed_dim, size.prompt_dim),
        img_size=image_size,
        patch_size=size.patch_size,
        window_size=size.window,
        attention=attention,
        use_checkpoint=use_checkpoint,
    )
