"""The whole model: evaluation of one image, and the object losses of one training step with recorded draws."""

from __future__ import annotations

import functools

import numpy as np
import torch
from torch import Tensor, nn

from segfoundry.modeling.seem.mask_resize import MaskResizer
from segfoundry.modeling.seem.model import Seem
from segfoundry.modeling.seem.postprocess import class_probabilities, semantic_scores
from segfoundry.utils.config.engine import load_mapping
from segfoundry.utils.structures import Batch, Category, Request, Sample, Targets

from .....support.goldens import Case, runner
from .....support.standin_tokenizer import StandInTokenizer
from .criterion import RecordedDraws
from .decoder import object_outputs
from .language import RecordedTemplates
from .postprocess import instance_outputs, panoptic_outputs


class StepDraws:
    """Replays what the object path draws in the recorded training step."""

    def __init__(self, templates: Tensor, points: RecordedDraws) -> None:
        self.integers = RecordedTemplates(templates).integers
        self.uniform = points.uniform


@runner("seem", "full_model*", "GeneralizedSEEM (*")
def run(case: Case) -> dict[str, Tensor]:
    model = case.load_into(build_model(case))
    return {**evaluate(case, model), **train(case, model)}


def build_model(case: Case) -> Seem:
    """Builds the model that a case's configuration describes."""
    config = {name: value for name, value in case.config.items() if name != "vocab_size"}
    things = case.info["thing_classes"]
    names = case.info["class_names"][:-1]  # without background
    categories = [Category(i, name, i in things, (0, 0, 0)) for i, name in enumerate(names)]
    tokenizer = StandInTokenizer(case.config["vocab_size"], case.config["MODEL"]["TEXT"]["CONTEXT_LENGTH"])
    return Seem.from_config(load_mapping(config).cfg, categories, tokenizer)


def sample(index: int, output_size: tuple[int, int]) -> Sample:
    return Sample(np.empty((0, 0, 3), np.uint8), index, index, "", output_size)


def evaluate(case: Case, model: Seem) -> dict[str, Tensor]:
    image = case.group("in")["image"]
    size, output_size = tuple(image.shape[1:]), tuple(case.info["output_size"])
    seen = {}

    def keep(name: str, module: nn.Module, inputs: tuple, output: object) -> None:
        seen[name] = (inputs, output)

    head = model.sem_seg_head
    parts = {"backbone": model.backbone, "pixel_decoder": head.pixel_decoder, "predictor": head.predictor}
    hooks = [part.register_forward_hook(functools.partial(keep, name)) for name, part in parts.items()]
    [prediction] = model.predict(Batch(image[None], [size], [sample(0, output_size)]), Request())
    for hook in hooks:
        hook.remove()
    (net_input,), features = seen["backbone"]
    mask_features, _, maps = seen["pixel_decoder"][1]
    output = seen["predictor"][1]
    masks = output.masks()[0]
    resizer = MaskResizer(tuple(masks.shape[1:]), tuple(net_input.shape[2:]), size, output_size)
    return {
        "net_input": net_input,
        **{f"backbone.{name}": feature for name, feature in features.items()},
        "mask_features": mask_features,
        **{f"multi_scale_{i}": feature for i, feature in enumerate(maps)},
        "text_embeddings": seen["predictor"][0][2],
        **object_outputs(output),
        "sem_seg": semantic_scores(class_probabilities(output.final.logits[0]), resizer(masks)),
        **panoptic_outputs(prediction.panoptic),
        **instance_outputs(prediction.instances, "instances"),
    }


def train(case: Case, model: Seem) -> dict[str, Tensor]:
    inputs = case.group("in")
    count = sum(name.startswith("train") and name.endswith(".image") for name in inputs)
    images = torch.stack([inputs[f"train{b}.image"] for b in range(count)])
    size = tuple(images.shape[2:])
    targets = [Targets(inputs[f"train{b}.masks"], inputs[f"train{b}.labels"]) for b in range(count)]
    batch = Batch(images, [size] * count, [sample(b, size) for b in range(count)], targets, list(range(count)))
    losses = model.losses(batch, step_draws(case, [len(t.labels) for t in targets]))
    return {f"train.{name}": loss for name, loss in losses.items()}


def step_draws(case: Case, masks: list[int]) -> StepDraws:
    """Picks the draws of the object path: those of each output's matching, and of the loss points drawn right after."""
    inputs, points, templates, after = case.group("in"), [], [], ""
    for name, _, caller in case.info["train_draws"]:
        if caller == "prompt_engineering":
            templates.append(inputs[name])
        elif caller == "get_uncertain_point_coords_with_randomness":
            if after == "memory_efficient_forward":
                points.append(inputs[name])
        else:
            after = caller
            if caller == "memory_efficient_forward":
                points.append(inputs[name])
    return StepDraws(torch.stack(templates), RecordedDraws(points, {"mask": masks}))
