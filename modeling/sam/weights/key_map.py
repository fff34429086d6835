"""Names of SAM's parameters in its published files and in the class ``SamModel`` of transformers, both ways.

No name tells its layout alone (``layers.0`` of a perceptron is its first layer there, its second one here), so whole
sets of names are translated. The tensors are the same.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

# In transformers the same matrix is there twice.
_MATRIX = "prompt_encoder.pe_layer.positional_encoding_gaussian_matrix"
_GAUSSIAN = "shared_image_embedding.positional_embedding"
_TIED = "prompt_encoder.shared_embedding.positional_embedding"

# Beginnings of names, published and in transformers; {} is a number. The first that fits counts.
_PERCEPTRON = (("layers.0.", "proj_in."), ("layers.1.", "layers.0."), ("layers.2.", "proj_out."))
_TABLE = (
    ("image_encoder.patch_embed.proj.", "vision_encoder.patch_embed.projection."),
    ("image_encoder.pos_embed", "vision_encoder.pos_embed"),
    ("image_encoder.blocks.{}.norm{}.", "vision_encoder.layers.{}.layer_norm{}."),
    ("image_encoder.blocks.{}.", "vision_encoder.layers.{}."),
    ("image_encoder.neck.0.", "vision_encoder.neck.conv1."),
    ("image_encoder.neck.1.", "vision_encoder.neck.layer_norm1."),
    ("image_encoder.neck.2.", "vision_encoder.neck.conv2."),
    ("image_encoder.neck.3.", "vision_encoder.neck.layer_norm2."),
    ("prompt_encoder.point_embeddings.{}.", "prompt_encoder.point_embed.{}."),
    ("prompt_encoder.mask_downscaling.0.", "prompt_encoder.mask_embed.conv1."),
    ("prompt_encoder.mask_downscaling.1.", "prompt_encoder.mask_embed.layer_norm1."),
    ("prompt_encoder.mask_downscaling.3.", "prompt_encoder.mask_embed.conv2."),
    ("prompt_encoder.mask_downscaling.4.", "prompt_encoder.mask_embed.layer_norm2."),
    ("prompt_encoder.mask_downscaling.6.", "prompt_encoder.mask_embed.conv3."),
    (_MATRIX, _GAUSSIAN),
    ("mask_decoder.transformer.layers.{}.norm{}.", "mask_decoder.transformer.layers.{}.layer_norm{}."),
    ("mask_decoder.transformer.norm_final_attn.", "mask_decoder.transformer.layer_norm_final_attn."),
    ("mask_decoder.output_upscaling.0.", "mask_decoder.upscale_conv1."),
    ("mask_decoder.output_upscaling.1.", "mask_decoder.upscale_layer_norm."),
    ("mask_decoder.output_upscaling.3.", "mask_decoder.upscale_conv2."),
    *((f"mask_decoder.iou_prediction_head.{a}", f"mask_decoder.iou_prediction_head.{b}") for a, b in _PERCEPTRON),
    *(
        (f"mask_decoder.output_hypernetworks_mlps.{{}}.{a}", f"mask_decoder.output_hypernetworks_mlps.{{}}.{b}")
        for a, b in _PERCEPTRON
    ),
)
# Words that occur in names of transformers' layout only.
_MARKS = re.compile(
    r"^vision_encoder\.|^shared_image_embedding\.|^prompt_encoder\.mask_embed\.|\.layer_norm|\.proj_in\."
)


def is_transformers(names: Iterable[str]) -> bool:
    """Whether names, of a whole network or of its decoder alone, are in the layout of transformers."""
    return any(_MARKS.search(name) for name in names)


def published_names(names: Iterable[str]) -> dict[str, str]:
    """Returns name in transformers -> published name; both copies of the tied matrix have the same one."""
    return _rename(names, {b: a for a, b in (*_TABLE, (_MATRIX, _TIED))})


def names_in_transformers(names: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Returns published name -> names in transformers: one, or both of the tied matrix."""
    renamed = _rename(names, dict(_TABLE))
    return {name: (own, _TIED) if own == _GAUSSIAN else (own,) for name, own in renamed.items()}


def _rename(names: Iterable[str], table: Mapping[str, str]) -> dict[str, str]:
    rules = [(re.compile(re.escape(old).replace(r"\{\}", r"(\d+)")), new) for old, new in table.items()]
    return {name: _renamed(name, rules) for name in names}


def _renamed(name: str, rules: Iterable[tuple[re.Pattern[str], str]]) -> str:
    for pattern, new in rules:
        if match := pattern.match(name):
            return new.format(*match.groups()) + name[match.end() :]
    return name
