"""Simulated clicks, and the published distance that they follow."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence

from segfoundry.modeling.clicks import next_click
from segfoundry.modeling.seem.image_normalizer import pad_masks
from segfoundry.utils.structures.requests import Strokes

from .....support.goldens import Case, only, runner
from .....support.soft_distance import soft_distance


@runner("seem", "next_click*", "*prepare_next_spaital_mask")
def run(case: Case) -> dict[str, Tensor]:
    inputs, config, outputs = case.group("in"), case.config, {}
    only(config, stop_iou=0.925)
    wrong = []
    for b, count in enumerate(config["objects"]):
        strokes = Strokes(inputs[f"pos_mask.{b}"], inputs[f"neg_mask.{b}"])
        size = tuple(strokes.positive.shape[1:])
        truth = pad_masks(inputs[f"gt_mask.{b}"], size)
        predicted = F.interpolate(inputs["prev_mask"][b, None, :count], size, mode="bilinear")[0] > 0
        clicked = next_click(truth, predicted, strokes, dilation=config["dilation"], mode=config["mode"])
        outputs |= {f"pos_mask.{b}": clicked.positive, f"neg_mask.{b}": clicked.negative}
        wrong.append(predicted & ~truth & ~(strokes.positive | strokes.negative))
    outputs["false_positive_mask"] = pad_sequence(wrong, batch_first=True)
    outputs["dt_region_distance"] = soft_distance(1 - inputs["dt_region"])
    return outputs
