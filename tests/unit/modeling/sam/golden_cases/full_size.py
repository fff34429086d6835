"""Whole published pipelines at full size, with weights and images by formula."""

from __future__ import annotations

import re
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from torch import Tensor

from segfoundry.modeling.sam import SamPredictor, sam_model_registry

from .....support import goldens
from .....support.formula_weights import formula_image, formula_state


@goldens.runner("sam", "full_formula_*")
def run_full_size(case: goldens.Case) -> dict[str, Tensor]:
    """A file on the disk, strict loading, an image, prompts."""
    kind = case.name.removeprefix("full_formula_")
    with TemporaryDirectory() as folder:
        file = Path(folder) / f"{kind}.pth"
        torch.save(formula_state(sam_model_registry[kind](), case.info["weights"]), file)
        model = sam_model_registry[kind](checkpoint=file)
    predictor = SamPredictor(model)
    image = case.info["image"]
    predictor.set_image(formula_image(tuple(image["size_hw"]), image["formula"]))
    features = predictor.get_image_embedding()
    slices = noted_slices(case)
    found = {
        "embedding_slice": features[slices["embedding_slice"]],
        "embedding_channel_mean": features.mean((2, 3)),
        "embedding_channel_std": features.std((2, 3)),
    }
    for name, prompt in case.info["prompts"].items():
        arrays = {key: np.array(value) for key, value in prompt.items()}
        for kind, multimask in (("multi", True), ("single", False)):
            logits, iou, low_res = predictor.predict(**arrays, multimask_output=multimask, return_logits=True)
            found[f"{name}/{kind}/iou"] = torch.from_numpy(iou)
            found[f"{name}/{kind}/low_res_slice"] = torch.from_numpy(low_res[slices["low_res_slice"]])
            found[f"{name}/{kind}/logits_slice"] = torch.from_numpy(logits[slices["logits_slice"]])
            found[f"{name}/{kind}/positive_pixels"] = torch.from_numpy((logits > 0).sum((1, 2)))
    [corners] = case.noted(r"dlo_box = box \(([\d.,]+)\)")
    box = torch.tensor([[float(place) for place in corners.split(",")]])
    with torch.no_grad():
        low_res, found["dlo_box/iou"] = model.predict_masks(features, boxes=box, multimask=False)
    found["dlo_box/low_res_slice"] = low_res[(slice(None), *slices["low_res_slice"])]
    return found


def noted_slices(case: goldens.Case) -> dict[str, tuple[slice, ...]]:
    """Returns which part of a tensor an output is, where the notes say ``name = what[:, ::8]``."""
    stated = re.findall(r"(\w+) = [^\[;]*\[([\d:, ]+)\]", case.info["notes"])
    return {
        name: tuple(slice(None, None, int(part.strip(" :") or 1)) for part in parts.split(","))
        for name, parts in stated
    }
