"""Matching and all training losses on recorded predictions, targets and draws.

The recorded case gives mask logits; the criterion takes mask embeddings and features. One-hot embeddings over the
recorded logits as features say the same.
"""

from __future__ import annotations

import torch
from torch import Tensor

from segfoundry.modeling.losses.matcher import HungarianMatcher
from segfoundry.modeling.losses.point_sampling import sample_points
from segfoundry.modeling.seem.decoder.decoder_output import DecoderOutput, LayerOutput, PromptedOutput
from segfoundry.modeling.seem.losses.criterion import SetCriterion
from segfoundry.modeling.seem.losses.loss_families import GroundingTargets
from segfoundry.utils.structures.samples import Targets

from .....support.goldens import Case, runner

MODES = {"mask": "default", "spatial": "spatial", "grounding": "grounding"}


class RecordedDraws:
    """Replays the recorded draws of matching and of loss points; each output drew for its tasks in order.

    Args:
        draws: recorded tensors in call order: per output and task one per image for matching, then the candidates and
            the extra points of the matched masks of all images together.
        rows: per task and image, the number of matched masks.
    """

    def __init__(self, draws: list[Tensor], rows: dict[str, list[int]]) -> None:
        self.rows = rows
        self.draws = {}
        source = iter(draws)
        images = len(next(iter(rows.values())))
        for output in range(len(draws) // (len(rows) * (images + 2))):
            for task in rows:
                for image in range(images):
                    self.draws[f"match/{task}/{output}", image] = next(source)[0]
                for suffix in ("", "/extra"):
                    for image, part in enumerate(next(source).split(rows[task])):
                        self.draws[f"points/{task}/{output}{suffix}", image] = part

    def uniform(self, purpose: str, shape, *, sample: int | None = None, device: torch.device | str = "cpu") -> Tensor:
        draw = self.draws[purpose, sample]
        assert tuple(draw.shape) == tuple(shape), (purpose, sample, draw.shape, shape)
        return draw.to(device)


class RecordingCriterion(SetCriterion):
    """Keeps the matches, and the chosen points by their purpose."""

    def match(self, *args):
        self.matches = super().match(*args)
        self.points = {}
        return self.matches

    def loss_points(self, purpose: str, logits: Tensor, rng, position: int) -> Tensor:
        points = super().loss_points(purpose, logits, rng, position)
        # The uncertain points were recorded in the order of their uncertainty; here they come in any order.
        uncertain, extra = points.split([self.num_uncertain, points.shape[1] - self.num_uncertain], dim=1)
        order = sample_points(logits[:, None], uncertain)[:, 0].abs().argsort(dim=1)
        uncertain = uncertain.gather(1, order[..., None].expand_as(uncertain))
        self.points.setdefault(purpose, []).append(torch.cat([uncertain, extra], dim=1))
        return points


def build_criterion(config: dict, weights: dict[str, float]) -> RecordingCriterion:
    """Builds the criterion that a case's configuration describes."""
    cost = config["matcher_cost"]
    return RecordingCriterion(
        config["num_classes"],
        weights,
        HungarianMatcher(cost["cls"], cost["mask"], cost["dice"], config["num_points"]),
        no_object_weight=config["eos_coef"],
        oversample_ratio=config["oversample_ratio"],
        importance_sample_ratio=config["importance_sample_ratio"],
        kind_weights=config["grounding_weight"],
    )


def decoder_output(inputs: dict[str, Tensor], prefixes: list[str]) -> DecoderOutput:
    """Expresses recorded predictions as embeddings over features; raw queries first, final output last.

    Channels: one per recorded mask (one-hot embeddings over the logits), then, per output, its spatial embeddings and
    stroke means, where the features are zero.
    """
    mask_keys = [f"{p}.{key}" for p in prefixes for key in ("pred_masks", "pred_smasks", "pred_gmasks")]
    means = [inputs[f"{p}.pred_pspatials"] for p in prefixes]
    batch, _, width = means[0].shape
    counts = [inputs[key].shape[1] for key in mask_keys]
    one_hot = dict(zip(mask_keys, torch.eye(sum(counts)).split(counts), strict=True))

    def embed(key: str, tail: Tensor | None = None, place: int = 0) -> Tensor:
        head = one_hot[key].expand(batch, -1, -1)
        blocks = [torch.zeros(batch, head.shape[1], width) for _ in prefixes]
        if tail is not None:
            blocks[place] = tail
        return torch.cat([head, *blocks], dim=-1)

    layers = [
        LayerOutput(
            logits=inputs[f"{p}.pred_logits"],
            mask_embed=embed(f"{p}.pred_masks"),
            grounding=PromptedOutput(embed(f"{p}.pred_gmasks"), inputs[f"{p}.pred_gtexts"]),
            spatial=PromptedOutput(embed(f"{p}.pred_smasks", inputs[f"{p}.pred_smaskembs"], i), torch.zeros(0)),
        )
        for i, p in enumerate(prefixes)
    ]
    masks = torch.cat([inputs[key] for key in mask_keys], dim=1)
    features = torch.cat([masks, torch.zeros(batch, width * len(prefixes), *masks.shape[2:])], dim=1)
    head = torch.zeros(batch, means[0].shape[1], sum(counts))
    return DecoderOutput(layers, features, torch.cat([head, *means], dim=-1))


@runner("seem", "criterion", "SetCriterion*")
def run(case: Case) -> dict[str, Tensor]:
    config, inputs = case.config, case.group("in")
    leaves = {name: t.requires_grad_() for name, t in inputs.items() if name.startswith("final.")}
    images = range(sum(name.endswith(".labels") for name in inputs))
    targets = [Targets(inputs[f"target{b}.masks"], inputs[f"target{b}.labels"]) for b in images]
    spatial_masks = [inputs[f"target{b}.gt_spatial_masks"] for b in images]
    grounding = [
        GroundingTargets(*(inputs[f"target{b}.grounding_{key}"] for key in ("masks", "class_embs", "hash")), kind)
        for b, kind in zip(images, config["grounding_task"], strict=True)
    ]
    rows = {
        "mask": [len(t.labels) for t in targets],
        "spatial": [int(m.flatten(1).any(dim=1).sum()) for m in spatial_masks],
        "grounding": [len(t.masks) for t in grounding],
    }
    draws = RecordedDraws([inputs[name] for name, _, _ in case.info["random_draws"]], rows)
    weights = {f"{task}_{term}": value for task, terms in config["weights"].items() for term, value in terms.items()}
    output = decoder_output(inputs, [*(f"aux{i}" for i in range(config["aux_layers"])), "final"])

    def losses(criterion: SetCriterion) -> dict[str, Tensor]:
        prompts = {"spatial_masks": spatial_masks, "grounding": grounding, "logit_scale": inputs["lang_logit"]}
        return criterion(output, targets, draws, images, **prompts)

    criterion = build_criterion(config, dict.fromkeys(weights, 1.0))
    outputs = losses(criterion)
    for i in range(config["aux_layers"] + 1):
        for t, (task, mode) in enumerate(MODES.items()):
            number = i * len(MODES) + t
            outputs[f"loss_points.{number:02}"] = torch.cat(criterion.points[f"points/{task}/{i}"])
            for b, assignment in enumerate(criterion.matches[task]):
                outputs[f"match.{number:02}.{mode}.{b}"] = torch.from_numpy(assignment.outputs[i])
    total = sum(losses(build_criterion(config, weights)).values())
    outputs["weighted_total"] = total
    names = [name for name in leaves if f"out/grad.{name.removeprefix('final.')}" in case.tensors]
    gradients = torch.autograd.grad(total, [leaves[name] for name in names])
    return outputs | {f"grad.{name.removeprefix('final.')}": g for name, g in zip(names, gradients, strict=True)}
