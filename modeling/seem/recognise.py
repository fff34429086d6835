"""Which shipped configuration describes a published weight file: told by the names and shapes in it."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping

log = logging.getLogger(__name__)

Shapes = Mapping[str, tuple[int, ...]]

# First channels of a backbone -> start of the configuration's name.
_FOCAL = {(192, False): "focall", (96, True): "focalt"}  # (channels, depthwise blocks)
_DAVIT = {128: "davitd3", 256: "davitd5"}
_VIT = {768: "samvitb", 1024: "samvitl"}


def shipped_config(shapes: Shapes, file_name: str = "") -> str | None:
    """Returns the file below ``configs`` that describes a published weight file of SEEM, or None.

    Files of the variants v0 and v1 hold the same names and shapes: there the file's name decides, and without a hint in
    it v1 is taken, with a notice in the log. Files of the variant demo lack ``criterion.empty_weight``. X-Decoder's
    files lack the prompts' parameters and are not recognised: they are a start for training, not a SEEM.

    Args:
        shapes: parameter name -> shape.
        file_name: name of the file, without its folder.
    """
    if "sem_seg_head.predictor.spatial_featured.weight" not in shapes:
        return None
    backbone = _backbone(shapes)
    if backbone is None:
        return None
    if not backbone.startswith("focal"):
        return f"seem/{backbone}_unicl_lang_v1.yaml"
    return f"seem/{backbone}_unicl_lang_{_variant(shapes, file_name)}.yaml"


def _backbone(shapes: Shapes) -> str | None:
    """Returns the start of the configuration's name, if the pixel decoder is that configuration's, too."""
    fpn = "sem_seg_head.pixel_decoder.input_proj.weight" in shapes  # the deformable decoder has a list of them
    if positions := shapes.get("backbone.pos_embed"):
        return None if fpn else _VIT.get(positions[-1])
    if not fpn:
        return None
    if stem := shapes.get("backbone.patch_embed.proj.weight"):
        return _FOCAL.get((stem[0], "backbone.layers.0.blocks.0.dw1.weight" in shapes))
    if stem := shapes.get("backbone.convs.0.proj.weight"):
        return _DAVIT.get(stem[0])
    return None


def _variant(shapes: Shapes, file_name: str) -> str:
    """Returns "v0", "v1" or "demo"."""
    hint = re.search(r"(?<![a-z0-9])(v0|v1|demo)(?![a-z0-9])", file_name.lower())
    if hint:
        return hint[1]
    if "criterion.empty_weight" not in shapes:
        return "demo"
    log.warning(
        "files of SEEM v0 and v1 hold the same tensors, and the name %r does not say which it is: taken as v1; for v0 "
        "name its configuration (--conf_files), or rename the file",
        file_name,
    )
    return "v1"
