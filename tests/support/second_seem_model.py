"""The second set of SEEM's cases, continued: decoders and criterion, with the draws that they make."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from segfoundry.modeling.losses.matcher import HungarianMatcher
from segfoundry.modeling.seem.decoder.decoder_demo import SeemDecoderDemo
from segfoundry.modeling.seem.decoder.decoder_output import DecoderOutput, LayerOutput, PromptedOutput, mask_logits
from segfoundry.modeling.seem.decoder.decoder_prompts import DecoderPrompts, SpatialPrompt, TextPrompt
from segfoundry.modeling.seem.decoder.decoder_v0 import SeemDecoderV0
from segfoundry.modeling.seem.decoder.decoder_v1 import SeemDecoder
from segfoundry.modeling.seem.decoder.query_decoder import AdapterOptions, QueryDecoder
from segfoundry.modeling.seem.decoder.query_masks import stroke_masks
from segfoundry.modeling.seem.decoder.visibility import AttentionArch
from segfoundry.modeling.seem.losses.criterion import SetCriterion
from segfoundry.modeling.seem.losses.loss_families import GroundingTargets
from segfoundry.modeling.seem.text.text_towers import LanguageEncoder
from segfoundry.utils.draws import Draws
from segfoundry.utils.structures.samples import Targets

from . import goldens
from .golden_writer import named, params, randomize, write_case

LIMIT, MEMORIES, EACH, LAYERS = 9, 4, 3, 2
SIZES = [(2, 3), (4, 6), (8, 12)]


class KeptDraws(Draws):
    """Draws that are kept in the recorded form; of stroke pixels it chooses ``LIMIT`` and gives only these a chance."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed, 0)
        self.kept: dict[tuple[str, int | None], Tensor] = {}

    def integers(self, purpose, high, shape=(), *, sample=None, device="cpu"):
        """Keeps the numbers."""
        self.kept[purpose, sample] = super().integers(purpose, high, shape, sample=sample, device=device)
        return self.kept[purpose, sample]

    def uniform(self, purpose, shape, *, sample=None, device="cpu"):
        """Keeps the numbers, or the chosen pixels."""
        if "stroke/" not in purpose:
            self.kept[purpose, sample] = super().uniform(purpose, shape, sample=sample, device=device)
            return self.kept[purpose, sample]
        chosen = torch.from_numpy(self.generator(purpose, sample).permutation(shape[0])[:LIMIT])
        self.kept[purpose, sample] = chosen
        return torch.zeros(tuple(shape)).index_fill(0, chosen, 0.5)

    def losses(self, outputs: int, tasks: Sequence[str], images: int) -> list[tuple[str, Tensor]]:
        """Returns the draws of matching and loss points in the recorded order, with the names of their callers."""
        found = []
        for output in range(outputs):
            for task in tasks:
                name = f"match/{task}/{output}"
                found += [("matcher", self.kept[name, image][None]) for image in range(images)]
                for suffix in ("", "/extra"):
                    parts = [self.kept[f"points/{task}/{output}{suffix}", image] for image in range(images)]
                    found.append(("get_uncertain_point_coords_with_randomness", torch.cat(parts)))
        return found


# ---- decoders --------------------------------------------------------------------------------------------------------


class Scale(nn.Module):
    """The part of a text encoder that a recorded decoder holds."""

    similarity = LanguageEncoder.similarity

    def __init__(self) -> None:
        super().__init__()
        self.logit_scale = nn.Parameter(torch.tensor(0.7))


def published(name: str) -> dict:
    """Returns a copy of the config of a recorded case, for what is no size."""
    return copy.deepcopy(goldens.find("seem", name, goldens.DEFAULT_FOLDER).config)


def _decoder(kind: type[QueryDecoder], arch: Mapping, adapters: AdapterOptions | None = None) -> QueryDecoder:
    decoder = kind(
        Scale(),
        AttentionArch.from_config(arch),
        in_channels=24,
        hidden_dim=16,
        mask_dim=16,
        dim_proj=16,
        num_heads=2,
        dim_feedforward=20,
        num_layers=LAYERS,
        num_queries=7,
        pre_norm=True,
        max_spatial_len=(LIMIT,) * 4,
        adapters=adapters,
    )
    return randomize(decoder, 0.1).eval()


def _decoder_config(arch: Mapping, fine_tune: bool) -> dict:
    return {
        "HIDDEN_DIM": 16,
        "CONVS_DIM": 24,
        "MASK_DIM": 16,
        "DIM_PROJ": 16,
        "NHEADS": 2,
        "DIM_FEEDFORWARD": 20,
        "DEC_LAYERS": LAYERS + 1,
        "NUM_OBJECT_QUERIES": 7,
        "SPATIAL_MEMORIES": MEMORIES,
        "QUERY_NUMBER": EACH,
        "MAX_SPATIAL_LEN": LIMIT,
        "PRE_NORM": True,
        "FINE_TUNE": fine_tune,
        "ATTENTION_ARCH": arch,
    }


def _arch(name: str) -> dict:
    sizes = {"SPATIAL_MEMORIES": MEMORIES, "QUERY_NUMBER": EACH, "NUM_LAYERS": LAYERS}
    return published(name)["ATTENTION_ARCH"] | sizes


def _features() -> dict[str, Tensor]:
    given = {f"multi_scale_{i}": torch.randn(2, 24, *size) for i, size in enumerate(SIZES)}
    return given | {"mask_features": torch.randn(2, 16, 16, 24), "default_text_embeddings": torch.randn(4, 16)}


def _strokes(counts: Sequence[int], side: int) -> dict[str, Tensor]:
    """Returns square strokes of each object, of other places for the negative ones."""
    given = {}
    for b, count in enumerate(counts):
        for sign, row in (("pos", 4), ("neg", 40)):
            given[f"{sign}_mask.{b}"] = torch.zeros(count, 64, 96, dtype=torch.bool)
            for n in range(count):
                given[f"{sign}_mask.{b}"][n, row : row + side, 20 * n + 5 : 20 * n + 5 + side] = True
    return given


def _prompt(given: Mapping[str, Tensor], counts: Sequence[int]) -> SpatialPrompt:
    positive, negative = ([given[f"{sign}_mask.{b}"] for b in range(len(counts))] for sign in ("pos", "neg"))
    return SpatialPrompt(positive, negative, max(counts), given.get("prev_mask"))


def _texts() -> dict[str, Tensor]:
    padding = torch.tensor([[False, False, False], [False, True, True]])
    return {"grounding_tokens": torch.randn(3, 2, 16), "grounding_pad_mask": padding}


def _names(output: DecoderOutput) -> dict[str, Tensor]:
    found = {}
    for i, layer in enumerate(output.layers):
        prefix = "" if i == len(output.layers) - 1 else f"aux{i}."
        found[f"{prefix}pred_logits"], found[f"{prefix}pred_masks"] = layer.logits, output.masks(i)
        for letter, prompted in (("g", layer.grounding), ("s", layer.spatial)):
            if prompted is not None:
                found[f"{prefix}pred_{letter}masks"] = mask_logits(prompted.mask_embed, output.mask_features)
                found[f"{prefix}pred_{letter}texts"] = prompted.embed
    if output.positive_means is not None:
        found |= {"pred_pspatials": output.positive_means, "pred_nspatials": output.negative_means}
        found["prev_mask"] = stroke_masks(output)
    return found


def _run(decoder: QueryDecoder, given: Mapping[str, Tensor], prompts: DecoderPrompts, draws: Draws) -> DecoderOutput:
    levels = [given[f"multi_scale_{i}"] for i in range(len(SIZES))]
    return decoder(levels, given["mask_features"], given["default_text_embeddings"], prompts, draws)


@torch.no_grad()
def record_objects(folder: Path) -> None:
    """Writes ``seem_v1_objects``: no prompts, adapters."""
    torch.manual_seed(41)
    arch = _arch("seem_v1_joint")
    decoder, given = _decoder(SeemDecoder, arch, AdapterOptions("dense", "reference")), _features()
    out = _names(_run(decoder, given, DecoderPrompts(), KeptDraws(1)))
    tensors = params(decoder) | named("in", given) | named("out", out)
    write_case(folder, "seem", "seem_v1_objects", {"config": _decoder_config(arch, True)}, tensors)


@torch.no_grad()
def record_all_prompts(folder: Path) -> None:
    """Writes ``seem_v1_all``: more stroke pixels than are taken, texts, a memory."""
    torch.manual_seed(42)
    arch, counts, draws = _arch("seem_v1_joint"), [1, 3], KeptDraws(2)
    decoder, given = _decoder(SeemDecoder, arch), _features() | _strokes(counts, 5) | _texts()
    given["prev_mask"] = torch.randn(2, 3, 16, 24)
    text = TextPrompt(given["grounding_tokens"].transpose(0, 1), ~given["grounding_pad_mask"])
    out = _names(_run(decoder, given, DecoderPrompts(_prompt(given, counts), text), draws))
    given["object_query_index"] = draws.kept["spatial_queries", None]
    given["memory_index_draws"] = torch.stack([draws.kept[f"memory/{i}", None] for i in range(LAYERS)])
    purposes = [f"stroke/{sign}/{what}" for what in ("mean", "0", "1", "2") for sign in ("positive", "negative")]
    chosen = [draws.kept[purpose, image] for purpose in purposes for image in range(2)]
    given |= {f"point_draw.{i:03}": pixels for i, pixels in enumerate(chosen)}
    tensors = params(decoder) | named("in", given) | named("out", out)
    write_case(folder, "seem", "seem_v1_all", {"config": _decoder_config(arch, False)}, tensors)


@torch.no_grad()
def record_v0(folder: Path) -> None:
    """Writes ``seem_v0_other``."""
    torch.manual_seed(43)
    arch, counts = _arch("seem_v0_spatial"), [1, 1]
    decoder, given = _decoder(SeemDecoderV0, arch), _features() | _strokes(counts, 2)
    given["prev_mask"] = torch.randn(2, 1, 16, 24)
    output = _run(decoder, given, DecoderPrompts(_prompt(given, counts)), KeptDraws(3))
    tensors = params(decoder) | named("in", given) | named("out", _names(output))
    write_case(folder, "seem", "seem_v0_other", {"config": _decoder_config(arch, False)}, tensors)


@torch.no_grad()
def record_demo(folder: Path) -> None:
    """Writes ``seem_demo_other``."""
    torch.manual_seed(44)
    arch, counts = _arch("seem_demo"), [1, 1]
    decoder, given = _decoder(SeemDecoderDemo, arch), _features() | _strokes(counts, 2) | _texts()
    text = TextPrompt(given["grounding_tokens"].transpose(0, 1), ~given["grounding_pad_mask"])
    strokes = _prompt(given, counts)
    levels = [given[f"multi_scale_{i}"] for i in range(len(SIZES))]
    shown = decoder.reference(decoder.prepare(levels, given["mask_features"]), strokes)
    first = _run(decoder, given, DecoderPrompts(strokes, text), KeptDraws(4))
    second = _run(decoder, given, DecoderPrompts(reference=shown), KeptDraws(5))
    out = {f"stroke_text.{name}": x for name, x in _names(first).items()}
    out |= {f"visual.{name}": x for name, x in _names(second).items()}
    out |= {"refimg.visual_query_pos": shown.positive_means.transpose(0, 1)}
    out |= {f"refimg.src_visual_queries.{i}": tokens.transpose(0, 1) for i, tokens in enumerate(shown.tokens)}
    tensors = params(decoder) | named("in", given) | named("out", out)
    write_case(folder, "seem", "seem_demo_other", {"config": _decoder_config(arch, False)}, tensors)


# ---- criterion -------------------------------------------------------------------------------------------------------


class MatchingCriterion(SetCriterion):
    """Keeps its matches."""

    def match(self, *args):
        """Matches, as ever."""
        self.matches = super().match(*args)
        return self.matches


WEIGHTS = {
    "mask": {"ce": 1.5, "dice": 2.0, "bce": 3.0},
    "spatial": {"ce": 0.5, "dice": 1.0, "bce": 0.3},
    "grounding": {"ce": 0.7, "dice": 0.2, "bce": 1.0},
}


def _criterion(weights: dict[str, float]) -> MatchingCriterion:
    matcher = HungarianMatcher(1.0, 3.0, 4.0, 20)
    return MatchingCriterion(
        3,
        weights,
        matcher,
        no_object_weight=0.2,
        oversample_ratio=2.0,
        importance_sample_ratio=0.5,
        kind_weights={"text": 1.5, "class": 0.4},
    )


def record_criterion(folder: Path) -> None:
    """Writes ``criterion``: three images, two outputs."""
    torch.manual_seed(45)
    features, means = torch.randn(3, 5, 8, 10), torch.randn(3, 2, 5)

    def layer() -> LayerOutput:
        grounding = PromptedOutput(torch.randn(3, 6, 5), torch.randn(3, 6, 4).requires_grad_())
        spatial = PromptedOutput(torch.randn(3, 4, 5), torch.zeros(0))
        return LayerOutput(torch.randn(3, 6, 4).requires_grad_(), torch.randn(3, 6, 5), None, grounding, spatial)

    output = DecoderOutput([layer(), layer()], features, means)
    names = ["aux0", "final"]
    given = {"lang_logit": torch.tensor(0.8)}
    for prefix, one in zip(names, output.layers, strict=True):
        found = {"pred_logits": one.logits, "pred_gtexts": one.grounding.embed, "pred_pspatials": means}
        found |= {"pred_smaskembs": one.spatial.mask_embed, "pred_masks": mask_logits(one.mask_embed, features)}
        found["pred_gmasks"] = mask_logits(one.grounding.mask_embed, features)
        found["pred_smasks"] = mask_logits(one.spatial.mask_embed, features)
        given |= {f"{prefix}.{name}": x for name, x in found.items()}
    targets, strokes, grounding = [], [], []
    kinds = ["class", "text", "text"]
    for b, count in enumerate((2, 1, 3)):
        targets.append(Targets(torch.rand(count, 32, 40) < 0.3, torch.arange(count)))
        strokes.append(torch.rand(2, 32, 40) < 0.3)
        text = GroundingTargets(torch.rand(2, 32, 40) < 0.3, torch.randn(2, 4), torch.tensor([5, 5 + b]), kinds[b])
        grounding.append(text)
        kept = {"masks": targets[b].masks, "labels": targets[b].labels, "gt_spatial_masks": strokes[b]}
        kept |= {"grounding_masks": text.masks.byte(), "grounding_class_embs": text.text_embed}
        given |= {f"target{b}.{name}": x for name, x in (kept | {"grounding_hash": text.groups}).items()}
    prompts = {"spatial_masks": strokes, "grounding": grounding, "logit_scale": given["lang_logit"]}
    draws = KeptDraws(6)
    weights = {f"{task}_{term}": value for task, terms in WEIGHTS.items() for term, value in terms.items()}
    criterion = _criterion(dict.fromkeys(weights, 1.0))
    out = criterion(output, targets, draws, range(3), **prompts)
    for i in range(2):
        for t, (task, mode) in enumerate((("mask", "default"), ("spatial", "spatial"), ("grounding", "grounding"))):
            for b, assignment in enumerate(criterion.matches[task]):
                out[f"match.{3 * i + t:02}.{mode}.{b}"] = torch.from_numpy(assignment.outputs[i])
    total = sum(_criterion(weights)(output, targets, draws, range(3), **prompts).values())
    leaves = [output.final.logits, output.final.grounding.embed]
    grads = torch.autograd.grad(total, leaves)
    out |= {"weighted_total": total, "grad.pred_logits": grads[0], "grad.pred_gtexts": grads[1]}
    drawn = draws.losses(2, list(WEIGHTS), 3)
    given |= {f"rand.{i:03}": x for i, (_, x) in enumerate(drawn)}
    config = {
        "num_classes": 3,
        "num_points": 20,
        "oversample_ratio": 2.0,
        "importance_sample_ratio": 0.5,
        "eos_coef": 0.2,
        "matcher_cost": {"cls": 1.0, "mask": 3.0, "dice": 4.0},
        "weights": WEIGHTS,
        "grounding_weight": {"text": 1.5, "class": 0.4},
        "grounding_task": kinds,
        "aux_layers": 1,
    }
    listed = [[f"rand.{i:03}", caller, list(x.shape)] for i, (caller, x) in enumerate(drawn)]
    tensors = named("in", given) | named("out", out)
    write_case(folder, "seem", "criterion", {"config": config, "random_draws": listed}, tensors)
