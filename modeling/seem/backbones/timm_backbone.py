"""Backbone ``timm``: any model of timm that offers feature maps at strides 4, 8, 16 and 32.

Letters in shapes: B images, H and W rows and columns of the image, C channels.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import timm
import torch
from torch import Tensor, nn

from ....utils.errors import ConfigError, did_you_mean
from ..config import SeemConfig
from ..config_backbone import LEVELS

STRIDES = (4, 8, 16, 32)
KEY = "MODEL.BACKBONE.TIMM"

# Options with which window transformers take images of any size; the first set that a model accepts is used.
_ANY_SIZE: tuple[dict[str, Any], ...] = (
    {"strict_img_size": False, "always_partition": True},
    {"strict_img_size": False},
    {},
)
_PROBE_SIZE = (96, 160)  # neither square nor any model's own size


class TimmBackbone(nn.Module):
    """Wraps a timm model built with ``features_only``.

    Args:
        name: timm's name of the model, e.g. "swin_tiny_patch4_window7_224", "convnext_tiny", "resnet50".
        out_indices: which of timm's feature maps become res2..res5; empty: those at strides 4, 8, 16 and 32.
        drop_path_rate: stochastic depth; 0: none.
        use_checkpoint: recompute activations in the backward pass.
        download: load the weights that timm publishes for the name, from its hub.

    Attributes:
        output_channels: name of each map -> its channels.

    Raises:
        ConfigError: if the name is unknown, the model has no four such maps, takes no images of other sizes, or does
            not know an option; or the weights cannot be downloaded.
    """

    def __init__(
        self,
        name: str,
        *,
        out_indices: Sequence[int] = (),
        drop_path_rate: float = 0.0,
        use_checkpoint: bool = False,
        download: bool = False,
    ) -> None:
        super().__init__()
        if not timm.is_model(name):
            hint = did_you_mean(name, timm.list_models()) or "."
            raise ConfigError(f"{KEY}.NAME {name!r} is no model of timm {timm.__version__}{hint}")
        options, draft = _draft(name, {"drop_path_rate": drop_path_rate} if drop_path_rate else {})
        indices = _choose_levels(name, draft.feature_info.reduction(), out_indices)
        _check_any_size(name, draft)
        body: Any = _create(name, {**options, "out_indices": indices}, download)
        self.channels_last = str(getattr(body, "output_fmt", "NCHW")).endswith("NHWC")
        self.body = body
        channels = draft.feature_info.channels()
        self.output_channels: dict[str, int] = {level: channels[i] for level, i in zip(LEVELS, indices, strict=True)}
        self._names = frozenset(self.state_dict())
        if use_checkpoint:
            if not hasattr(body, "set_grad_checkpointing"):
                raise ConfigError(f"{KEY}.USE_CHECKPOINT: {name!r} cannot recompute its activations; set it to False")
            body.set_grad_checkpointing(True)

    @classmethod
    def from_config(cls, cfg: SeemConfig) -> TimmBackbone:
        """Builds the backbone from ``MODEL.BACKBONE.TIMM``."""
        c = cfg.MODEL.BACKBONE.TIMM
        return cls(
            c.NAME,
            out_indices=c.OUT_INDICES,
            drop_path_rate=c.DROP_PATH_RATE,
            use_checkpoint=c.USE_CHECKPOINT,
            download=c.DOWNLOAD,
        )

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Maps normalised images (B, 3, H, W), sides multiples of 32, to "res2".."res5" (B, C, H / s, W / s)."""
        maps = self.body(images)
        if self.channels_last:
            maps = [x.permute(0, 3, 1, 2) for x in maps]
        return dict(zip(self.output_channels, maps, strict=True))

    def key_map(self, name: str) -> str:
        """Translates a name of timm's classification model; ``features_only`` flattens or wraps its modules."""
        bare = name.removeprefix("body.")
        flat = re.sub(r"^(\w+)\.(\d+)\.", r"\1_\2.", bare)
        candidates = (f"body.{own}" for own in (bare, flat, f"model.{bare}"))
        return next((own for own in candidates if own in self._names), name)


def _draft(name: str, options: dict[str, Any]) -> tuple[dict[str, Any], Any]:
    """Builds the model without memory; returns the options that it takes, and the model."""
    for any_size in _ANY_SIZE:
        try:
            with torch.device("meta"):
                model = timm.create_model(name, features_only=True, **any_size, **options)
            return {**any_size, **options}, model.eval()
        except TypeError as error:  # the model does not know an option
            problem: Exception = error
        except (RuntimeError, AttributeError) as error:
            raise ConfigError(f"{KEY}.NAME {name!r} offers no feature maps: {error}") from error
    raise ConfigError(f"{KEY}: {name!r} does not take {', '.join(options) or 'these options'}: {problem}")


def _check_any_size(name: str, draft: nn.Module) -> None:
    try:
        draft(torch.empty(1, 3, *_PROBE_SIZE, device="meta"))
    except (AssertionError, RuntimeError, IndexError) as error:
        raise ConfigError(
            f"{KEY}.NAME {name!r} does not take images of other sizes than its own ({error}); choose a model that "
            "does, e.g. a convolutional network or a Swin transformer"
        ) from error


def _choose_levels(name: str, strides: Sequence[int], indices: Sequence[int]) -> tuple[int, ...]:
    """Returns the places of the four maps among those that a model offers.

    Args:
        name: timm's name, for messages.
        strides: stride of every map that the model offers.
        indices: what the user chose; empty: nothing.

    Raises:
        ConfigError: if the maps at these places, or all maps, do not have the strides 4, 8, 16 and 32.
    """
    listed = ", ".join(map(str, strides))
    if not indices:
        if not set(STRIDES) <= set(strides):
            raise ConfigError(
                f"{KEY}.NAME {name!r} offers maps at strides {listed}; needed are 4, 8, 16 and 32. Choose a "
                "hierarchical model, e.g. convnext_tiny, resnet50 or swin_tiny_patch4_window7_224"
            )
        last = {stride: place for place, stride in enumerate(strides)}
        return tuple(last[stride] for stride in STRIDES)
    found = [strides[i] if 0 <= i < len(strides) else None for i in indices]
    if found != list(STRIDES):
        raise ConfigError(
            f"{KEY}.OUT_INDICES {list(indices)} of {name!r} have strides {found}, not {list(STRIDES)}; it offers the "
            f"strides {listed} (places 0 to {len(strides) - 1}). An empty list chooses them"
        )
    return tuple(indices)


def _create(name: str, options: dict[str, Any], download: bool) -> nn.Module:
    try:
        return timm.create_model(name, features_only=True, pretrained=download, **options)
    except (RuntimeError, OSError, ValueError) as error:
        if not download:
            raise
        raise ConfigError(
            f"{KEY}.DOWNLOAD: the weights of {name!r} cannot be downloaded ({error}). Set it to False, and "
            "MODEL.BACKBONE.PRETRAINED to a file, if you have one"
        ) from error
