"""Published SAM networks by name, from their files: ``sam_model_registry["vit_b"](checkpoint="...")``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

from ..network.build_sam import build_sam
from ..network.sam import Sam
from ..weights.load_published import load_base

DEFAULT_TYPE = "vit_h"


def build_published(type: str, checkpoint: str | Path | None = None, **options: Any) -> Sam:
    """Builds a network for inference.

    Args:
        type: vit_b, vit_l, vit_h or vit_t.
        checkpoint: weight file, in the published or in transformers' layout; None: random weights.
        **options: further arguments of :func:`build_sam`, e.g. ``image_size``.

    Returns:
        The network in eval mode.

    Raises:
        CheckpointError: if the file cannot be read safely, or does not fit the network exactly; says of which type it
            is.
    """
    model = build_sam(type, **options)
    if checkpoint is not None:
        load_base(model, checkpoint, config_key="checkpoint")
    return model.eval()


sam_model_registry: Mapping[str, Callable[..., Sam]] = MappingProxyType(
    {
        "default": partial(build_published, DEFAULT_TYPE),
        **{type: partial(build_published, type) for type in ("vit_h", "vit_l", "vit_b", "vit_t")},
    }
)
"""Name -> function from ``checkpoint`` (file or None) to a network in eval mode; "default" is vit_h."""
