"""SAM as the class ``SamModel`` of transformers: its tensors and its configuration."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ....utils.errors import UserError
from ...layers.image_encoder_vit import ImageEncoderViT
from ..network.sam import Sam
from .key_map import names_in_transformers

# Of the norms in the decoder's transformer; that class has another default.
DECODER_EPS = 1e-5


def to_transformers(model: Sam) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Returns the tensors under that class's names, and what its ``config.json`` says.

    Args:
        model: without LoRA updates and adapters.

    Raises:
        UserError: the network is a MobileSAM, which that class does not know.
    """
    encoder = model.image_encoder
    if not isinstance(encoder, ImageEncoderViT):
        raise UserError("transformers has no class for MobileSAM (vit_t); convert it --to published or segfoundry")
    state = model.state_dict()
    names = names_in_transformers(state)
    return {own: state[name] for name, copies in names.items() for own in copies}, {
        "model_type": "sam",
        "architectures": ["SamModel"],
        "vision_config": _encoder_config(encoder, model),
        "prompt_encoder_config": _prompt_config(encoder, model),
        "mask_decoder_config": _decoder_config(model),
    }


def _encoder_config(encoder: ImageEncoderViT, model: Sam) -> dict[str, Any]:
    blocks: list[Any] = list(encoder.blocks)
    width = encoder.pos_embed.shape[-1]
    windows = [block.attn.window_size for block in blocks]
    return {
        "hidden_size": width,
        "output_channels": _channels(model),
        "num_hidden_layers": len(blocks),
        "num_attention_heads": blocks[0].attn.num_heads,
        "image_size": model.image_size,
        "patch_size": encoder.patch_embed.proj.kernel_size[0],
        "mlp_dim": blocks[0].mlp.lin1.out_features,
        "mlp_ratio": blocks[0].mlp.lin1.out_features / width,
        "num_pos_feats": _channels(model) // 2,
        "window_size": max(windows) or 14,
        "global_attn_indexes": [number for number, window in enumerate(windows) if not window],
        "layer_norm_eps": blocks[0].norm1.eps,
    }


def _prompt_config(encoder: ImageEncoderViT, model: Sam) -> dict[str, Any]:
    return {
        "hidden_size": _channels(model),
        "image_size": model.image_size,
        "patch_size": encoder.patch_embed.proj.kernel_size[0],
        "mask_input_channels": model.prompt_encoder.mask_downscaling[-1].in_channels,
    }


def _decoder_config(model: Sam) -> dict[str, Any]:
    layers: list[Any] = list(model.mask_decoder.transformer.layers)
    head = model.mask_decoder.iou_prediction_head.layers
    attention = layers[0].cross_attn_token_to_image
    return {
        "hidden_size": _channels(model),
        "mlp_dim": layers[0].mlp.lin1.out_features,
        "num_hidden_layers": len(layers),
        "num_attention_heads": attention.num_heads,
        "attention_downsample_rate": _channels(model) // attention.internal_dim,
        "num_multimask_outputs": model.mask_decoder.num_mask_tokens - 1,
        "iou_head_depth": len(head),
        "iou_head_hidden_dim": head[0].out_features,
        "layer_norm_eps": DECODER_EPS,
    }


def _channels(model: Sam) -> int:
    return model.prompt_encoder.no_mask_embed.embedding_dim
