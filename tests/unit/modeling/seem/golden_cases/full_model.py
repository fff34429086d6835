"""The whole model: evaluation, texts and rounds of clicks on one image, and one training step with recorded draws."""

from __future__ import annotations

import functools

import numpy as np
import torch
from torch import Tensor, nn

from segfoundry.modeling.clicks import next_click
from segfoundry.modeling.finetune import apply_policy
from segfoundry.modeling.seem.image_normalizer import pad_masks
from segfoundry.modeling.seem.model import Seem
from segfoundry.modeling.seem.results.mask_resize import MaskResizer
from segfoundry.modeling.seem.results.postprocess import category_scores, class_probabilities
from segfoundry.utils.config.engine import load_mapping
from segfoundry.utils.structures.category import Category
from segfoundry.utils.structures.requests import Prompts, Request, Strokes
from segfoundry.utils.structures.samples import Batch, Sample, SpatialTargets, Targets, TextTargets

from .....support.goldens import Case, runner
from .....support.standin_tokenizer import StandInTokenizer
from .criterion import RecordedDraws
from .decoder import object_outputs
from .postprocess import instance_outputs, panoptic_outputs


class StepDraws:
    """Replays recorded draws.

    Args:
        integers: purpose -> recorded numbers, shared by the batch.
        points: draws of matching and of loss points.
    """

    def __init__(self, integers: dict[str, Tensor], points: RecordedDraws | None = None) -> None:
        self.recorded = integers
        self.points = points

    def integers(self, purpose: str, high: int, shape=(), *, device: torch.device | str = "cpu") -> Tensor:
        drawn = self.recorded[purpose]
        assert tuple(drawn.shape) == tuple(shape) and int(drawn.max()) < high, (purpose, drawn.shape, shape)
        return drawn.to(device)

    def uniform(self, purpose: str, shape, *, sample: int | None = None, device: torch.device | str = "cpu") -> Tensor:
        return self.points.uniform(purpose, shape, sample=sample, device=device)


@runner("seem", "full_model*", "GeneralizedSEEM (*")
def run(case: Case) -> dict[str, Tensor]:
    model = case.load_into(build_model(case))
    return {**evaluate(case, model), **interact(case, model), **train(case, model)}


def build_model(case: Case) -> Seem:
    """Builds the model that a case's configuration describes."""
    config = {name: value for name, value in case.config.items() if name != "vocab_size"}
    frozen = {name: True for name in case.info["frozen_by_substring"]}
    config["SOLVER"] = {"FIX_PARAM": {"backbone": False, "lang_encoder": False, "pixel_decoder": False} | frozen}
    things = case.info["thing_classes"]
    names = case.info["class_names"][:-1]  # without background
    categories = [Category(i, name, i in things, (0, 0, 0)) for i, name in enumerate(names)]
    tokenizer = StandInTokenizer(case.config["vocab_size"], case.config["MODEL"]["TEXT"]["CONTEXT_LENGTH"])
    return Seem.from_config(load_mapping(config).cfg, categories, tokenizer)


def sample(index: int, output_size: tuple[int, int]) -> Sample:
    return Sample(np.empty((0, 0, 3), np.uint8), index, index, "", output_size)


def image_batch(case: Case) -> Batch:
    image = case.group("in")["image"]
    return Batch(image[None], [tuple(image.shape[1:])], [sample(0, tuple(case.info["output_size"]))])


def evaluate(case: Case, model: Seem) -> dict[str, Tensor]:
    batch = image_batch(case)
    seen = {}

    def keep(name: str, module: nn.Module, inputs: tuple, output: object) -> None:
        seen[name] = (inputs, output)

    head = model.sem_seg_head
    parts = {"backbone": model.backbone, "pixel_decoder": head.pixel_decoder, "predictor": head.predictor}
    hooks = [part.register_forward_hook(functools.partial(keep, name)) for name, part in parts.items()]
    [prediction] = model.predict(batch, Request())
    for hook in hooks:
        hook.remove()
    (net_input,), features = seen["backbone"]
    mask_features, _, maps = seen["pixel_decoder"][1]
    output = seen["predictor"][1]
    masks = output.masks()[0]
    sizes = (tuple(net_input.shape[2:]), batch.image_sizes[0], batch.samples[0].output_size)
    resizer = MaskResizer(tuple(masks.shape[1:]), *sizes)
    [named] = model.prompted(model.encode(batch), [Prompts(texts=tuple(case.info["texts"]))])
    return {
        "net_input": net_input,
        **{f"backbone.{name}": feature for name, feature in features.items()},
        "mask_features": mask_features,
        **{f"multi_scale_{i}": feature for i, feature in enumerate(maps)},
        "text_embeddings": seen["predictor"][0][2],
        **object_outputs(output),
        "sem_seg": category_scores(class_probabilities(output.final.logits[0]), resizer(masks)),
        **panoptic_outputs(prediction.panoptic),
        **instance_outputs(prediction.instances, "instances"),
        "grounding_mask": resizer(named.logits),
    }


def interact(case: Case, model: Seem) -> dict[str, Tensor]:
    """Prompts, compares and clicks as often as recorded."""
    inputs, outputs, ious = case.group("in"), {}, []
    encoded = model.encode(image_batch(case))
    padded = encoded.groups[0].padded_size
    truth, original = pad_masks(inputs["gt_masks"], padded), inputs["gt_masks_orisize"]
    positive = pad_masks(inputs["stroke_masks"], padded)
    strokes, previous = Strokes(positive, torch.zeros_like(positive)), None
    for number in range(case.config["STROKE_SAMPLER"]["EVAL"]["MAX_ITER"]):
        name = f"interactive.round{number}"
        draws = {"spatial_queries": inputs[f"{name}.object_query_index"]}
        draws |= {f"memory/{i}": d for i, d in enumerate(inputs.get(f"{name}.memory_index_draws", ()))}
        outputs |= {f"{name}.pos_mask": strokes.positive[None], f"{name}.neg_mask": strokes.negative[None]}
        # A recorded click may lie in the padding.
        [answer] = model.prompted(encoded, [Prompts(strokes)], previous, StepDraws(draws))
        previous = [answer.logits]
        outputs[f"{name}.prev_mask"] = answer.logits[None]
        [full] = model.full_masks(encoded, [answer])
        ious.append((full & original).sum((1, 2)) / (full | original).sum((1, 2)))
        predicted = nn.functional.interpolate(answer.logits[None], padded, mode="bilinear")[0] > 0
        strokes = next_click(truth, predicted, strokes)
    return outputs | {"interactive.iou": torch.stack(ious, dim=1)}


def train(case: Case, model: Seem) -> dict[str, Tensor]:
    inputs = case.group("in")
    texts = case.info["train_grounding_texts"]
    images = torch.stack([inputs[f"train{b}.image"] for b in range(len(texts))])
    size = tuple(images.shape[2:])
    targets = [
        Targets(
            inputs[f"train{b}.masks"],
            inputs[f"train{b}.labels"],
            SpatialTargets(inputs[f"train{b}.spatial_gt_masks"], inputs[f"train{b}.stroke_masks"]),
            # Names of categories stand in for sentences where an image has none.
            TextTargets(
                texts[b],
                inputs[f"train{b}.grounding_masks"].bool(),
                "class" if set(texts[b]) <= set(case.info["class_names"]) else "text",
            ),
        )
        for b in range(len(texts))
    ]
    samples = [sample(b, size) for b in range(len(texts))]
    batch = Batch(images, [size] * len(texts), samples, targets, list(range(len(texts))))
    apply_policy(model, model.train_policy())
    losses = model.train().losses(batch, step_draws(case, targets))
    total = torch.stack(list(losses.values())).sum()
    names = [name.removeprefix("train.grad.") for name in case.outputs if name.startswith("train.grad.")]
    parameters = dict(model.sem_seg_head.predictor.named_parameters())
    gradients = torch.autograd.grad(total, [parameters[name] for name in names])
    outputs = {f"train.{name}": loss for name, loss in losses.items()} | {"train.total": total}
    return outputs | {f"train.grad.{name}": g for name, g in zip(names, gradients, strict=True)}


def step_draws(case: Case, targets: list[Targets]) -> StepDraws:
    """Sorts the recorded draws by who asked for them.

    Choices of stroke pixels are passed over: there were fewer than the limit, so that all are taken.
    """
    inputs = case.group("in")
    by_caller: dict[str, list[Tensor]] = {}
    for name, kind, caller in case.info["train_draws"]:
        caller = f"{kind} in rand_sample" if caller == "rand_sample" else "points" if kind == "rand" else caller
        by_caller.setdefault(caller, []).append(inputs[name])
    rounds = by_caller["forward_seg"][0]
    # The rounds of clicks, then the pass of the losses; all but the first have a memory.
    passes = [*(f"round{i}/" for i in range(int(rounds))), ""]
    queries, memory = by_caller["randint in rand_sample"], by_caller.get("cross_attn_mask", [])
    layers = case.config["MODEL"]["DECODER"]["DEC_LAYERS"] - 1
    slots = [f"{prefix}memory/{layer}" for prefix in passes[1:] for layer in range(layers)]
    integers = {
        "template": torch.stack(by_caller["prompt_engineering"]),
        "rounds": rounds,
        **{f"{prefix}spatial_queries": drawn for prefix, drawn in zip(passes, queries, strict=True)},
        **dict(zip(slots, memory, strict=True)),
    }
    rows = {
        "mask": [len(t.labels) for t in targets],
        "spatial": [int(t.spatial.masks.flatten(1).any(dim=1).sum()) for t in targets],
        "grounding": [len(t.texts.masks) for t in targets],
    }
    return StepDraws(integers, RecordedDraws(by_caller["points"], rows))
