"""The second set of SEEM's cases, concluded: the whole model in evaluation, with clicks, and in a training step."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from segfoundry.modeling.clicks import next_click
from segfoundry.modeling.finetune import apply_policy
from segfoundry.modeling.seem.model import Seem
from segfoundry.modeling.seem.results.mask_resize import MaskResizer
from segfoundry.utils.config.engine import load_mapping
from segfoundry.utils.structures.category import Category
from segfoundry.utils.structures.requests import Prompts, Request, Strokes
from segfoundry.utils.structures.samples import Batch, Sample, SpatialTargets, Targets, TextTargets

from .golden_writer import named, params, randomize, write_case
from .second_seem_model import EACH, LAYERS, MEMORIES, KeptDraws, published
from .standin_tokenizer import StandInTokenizer

VOCABULARY, NAMES, THINGS = 53, ["sea", "boat", "grass-merged"], [1]
IMAGE, PADDED, OUTPUT, ROUNDS = (60, 40), (64, 64), (71, 49), 2
TEXTS, SPOKEN = ["a blue thing"], [["boat"], ["the left one", "a big one"]]
GRADIENTS = ["class_embed", "query_feat.weight", "spatial_featured.weight"]


def _config() -> dict:
    """Returns the published configuration with other sizes."""
    config = published("full_model")
    model = config["MODEL"]
    model["TEXT"] |= {"CONTEXT_LENGTH": 8, "WIDTH": 16, "HEADS": 2, "LAYERS": 2}
    model["BACKBONE"]["FOCAL"] |= {"EMBED_DIM": 6, "DEPTHS": [1, 1, 2, 1], "FOCAL_WINDOWS": [5, 3, 3, 3]}
    model["ENCODER"] |= {"NUM_CLASSES": len(NAMES), "CONVS_DIM": 64}
    decoder = model["DECODER"]
    decoder |= {"DEC_LAYERS": LAYERS + 1, "NHEADS": 2, "DIM_FEEDFORWARD": 24, "NUM_OBJECT_QUERIES": 9}
    decoder |= {"TRAIN_NUM_POINTS": 24, "MAX_SPATIAL_LEN": [5000] * 4}
    decoder["SPATIAL"]["MAX_ITER"] = ROUNDS
    decoder["TEST"] |= {"OBJECT_MASK_THRESHOLD": 0.2, "OVERLAP_THRESHOLD": 0.05}
    config["STROKE_SAMPLER"]["EVAL"]["MAX_ITER"] = 2
    config["ATTENTION_ARCH"] |= {"SPATIAL_MEMORIES": MEMORIES, "QUERY_NUMBER": EACH, "NUM_LAYERS": LAYERS}
    return config | {"TEST.DETECTIONS_PER_IMAGE": 6, "vocab_size": VOCABULARY}


def record_model(folder: Path) -> None:
    """Writes ``full_model``: three classes, two rounds of clicks, a training step with two rounds before the losses."""
    torch.manual_seed(51)
    config = _config()
    fixed = {"FIX_PARAM": {"backbone": True, "lang_encoder": True, "pixel_decoder": True}}
    cfg = load_mapping({k: v for k, v in config.items() if k != "vocab_size"} | {"SOLVER": fixed}).cfg
    categories = [Category(i, name, i in THINGS, (0, 0, 0)) for i, name in enumerate(NAMES)]
    model = Seem.from_config(cfg, categories, StandInTokenizer(VOCABULARY, 8))
    randomize(model, 0.05).eval()
    state = params(model)
    given, answers = _evaluate(model)
    clicks_given, clicks = _interact(model, given["image"])
    train_given, losses, drawn = _train(model)
    given |= clicks_given | train_given | {f"train_draw.{i:03}": x for i, (_, _, x) in enumerate(drawn)}
    info = {
        "class": "GeneralizedSEEM (seem_model_v1)",
        "config": config,
        "class_names": [*NAMES, "background"],
        "thing_classes": THINGS,
        "texts": TEXTS,
        "train_grounding_texts": SPOKEN,
        "output_size": list(OUTPUT),
        "train_draws": [[f"train_draw.{i:03}", kind, caller] for i, (kind, caller, _) in enumerate(drawn)],
        "frozen_by_substring": ["backbone", "lang_encoder", "pixel_decoder"],
    }
    out = answers | clicks | losses
    write_case(folder, "seem", "full_model", info, state | named("in", given) | named("out", out))


def _sample(index: int, size: tuple[int, int]) -> Sample:
    return Sample(np.empty((0, 0, 3), np.uint8), index, index, "", size)


def _batch(image: Tensor) -> Batch:
    return Batch(image[None], [IMAGE], [_sample(0, OUTPUT)])


def _evaluate(model: Seem) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Returns the image, and what is found in it."""
    batch = _batch(255 * torch.rand(3, *IMAGE))
    [found] = model.predict(batch, Request())
    encoded = model.encode(batch)
    [named_things] = model.prompted(encoded, [Prompts(texts=tuple(TEXTS))])
    masks = MaskResizer(tuple(named_things.logits.shape[1:]), PADDED, IMAGE, OUTPUT)(named_things.logits)
    segments = [[s.id, int(s.isthing), s.category] for s in found.panoptic.segments]
    out = {
        "panoptic_seg": torch.from_numpy(found.panoptic.ids),
        "segments": torch.tensor(segments, dtype=torch.int64).reshape(-1, 3),
        "instances.scores": torch.from_numpy(found.instances.scores),
        "instances.classes": torch.from_numpy(found.instances.categories),
        "instances.masks": torch.from_numpy(found.instances.masks),
        "text_embeddings": model.class_embeddings.evaluation([*NAMES, "background"]),
        "grounding_mask": masks,
    }
    return {"image": batch.images[0]}, out


def _square(size: tuple[int, int], count: int, side: int) -> Tensor:
    """Returns squares (count, h, w) bool beside each other."""
    masks = torch.zeros(count, *size, dtype=torch.bool)
    for n in range(count):
        masks[n, 8 : 8 + side, 18 * n + 4 : 18 * n + 4 + side] = True
    return masks


def _interact(model: Seem, image: Tensor) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Returns the objects and their first strokes, and two rounds of clicks."""
    encoded, truth, strokes = model.encode(_batch(image)), _square(IMAGE, 2, 14), _square(IMAGE, 2, 3)
    given = {"gt_masks": truth, "gt_masks_orisize": _square(OUTPUT, 2, 14), "stroke_masks": strokes}
    padded = [F.pad(masks, (0, PADDED[1] - IMAGE[1], 0, PADDED[0] - IMAGE[0])) for masks in (truth, strokes)]
    drawn, previous, out, ious = Strokes(padded[1], torch.zeros_like(padded[1])), None, {}, []
    for number in range(2):
        name, draws = f"interactive.round{number}", KeptDraws(60 + number)
        [answer] = model.prompted(encoded, [Prompts(drawn)], previous, draws)
        given[f"{name}.object_query_index"] = draws.kept["spatial_queries", None]
        if number:
            given[f"{name}.memory_index_draws"] = torch.stack([draws.kept[f"memory/{i}", None] for i in range(LAYERS)])
        out |= {f"{name}.pos_mask": drawn.positive[None], f"{name}.neg_mask": drawn.negative[None]}
        previous = [answer.logits]
        out[f"{name}.prev_mask"] = answer.logits[None]
        [full] = model.full_masks(encoded, [answer])
        original = given["gt_masks_orisize"]
        ious.append((full & original).sum((1, 2)) / (full | original).sum((1, 2)))
        predicted = F.interpolate(answer.logits[None], PADDED, mode="bilinear")[0] > 0
        drawn = next_click(padded[0], predicted, drawn)
    return given, out | {"interactive.iou": torch.stack(ious, dim=1)}


def _train(model: Seem) -> tuple[dict[str, Tensor], dict[str, Tensor], list[tuple[str, str, Tensor]]]:
    """Returns two images with targets, the losses with some gradients, and what was drawn for whom."""
    size, targets, given = (64, 96), [], {}
    images = 255 * torch.rand(2, 3, *size)
    for b, (masks, texts) in enumerate(zip((3, 2), SPOKEN, strict=True)):
        spatial = SpatialTargets(_square(size, 2, 12), _square(size, 2, 3 + b))
        named_ones = _square(size, len(texts), 16)
        kind = "text" if b else "class"
        text = TextTargets(texts, named_ones, kind)
        targets.append(Targets(_square(size, masks, 15), torch.arange(masks), spatial, text))
        kept = {"image": images[b], "masks": targets[b].masks, "labels": targets[b].labels}
        kept |= {"spatial_gt_masks": spatial.masks, "stroke_masks": spatial.strokes}
        given |= {f"train{b}.{name}": x for name, x in (kept | {"grounding_masks": named_ones.byte()}).items()}
    draws = _draws_with_rounds()
    apply_policy(model, model.train_policy())
    batch = Batch(images, [size] * 2, [_sample(b, size) for b in range(2)], targets, [0, 1])
    losses = model.train().losses(batch, draws)
    total = torch.stack(list(losses.values())).sum()
    parameters = dict(model.sem_seg_head.predictor.named_parameters())
    grads = torch.autograd.grad(total, [parameters[name] for name in GRADIENTS])
    out = {f"train.{name}": loss for name, loss in losses.items()} | {"train.total": total}
    out |= {f"train.grad.{name}": grad for name, grad in zip(GRADIENTS, grads, strict=True)}
    return given, out, _in_order(draws)


def _draws_with_rounds() -> KeptDraws:
    """Returns the first draws that ask for all rounds."""
    seeds = (seed for seed in range(99) if int(KeptDraws(seed).integers("rounds", ROUNDS + 1)) == ROUNDS)
    return KeptDraws(next(seeds))


def _in_order(draws: KeptDraws) -> list[tuple[str, str, Tensor]]:
    """Returns the draws of a step as the published program makes them: kind, caller, numbers."""
    kept = draws.kept
    found = [("np.randint", "prompt_engineering", template) for template in kept["template", None]]
    found.append(("py.randint", "forward_seg", kept["rounds", None]))
    for number, prefix in enumerate([*(f"round{i}/" for i in range(ROUNDS)), ""]):
        found.append(("randint", "rand_sample", kept[f"{prefix}spatial_queries", None]))
        if number:
            memory = (kept[f"{prefix}memory/{layer}", None] for layer in range(LAYERS))
            found += [("multinomial", "cross_attn_mask", slots) for slots in memory]
    points = draws.losses(LAYERS + 1, ("mask", "spatial", "grounding"), 2)
    return found + [("rand", caller, numbers) for caller, numbers in points]
