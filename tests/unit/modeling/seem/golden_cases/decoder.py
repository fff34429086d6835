"""The decoders: predictions with and without prompts, and who sees whom, on recorded draws."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from unittest.mock import patch

import torch
from torch import Tensor, nn

from segfoundry.modeling.seem.decoder import query_decoder
from segfoundry.modeling.seem.decoder.decoder_demo import SeemDecoderDemo
from segfoundry.modeling.seem.decoder.decoder_output import DecoderOutput, mask_logits
from segfoundry.modeling.seem.decoder.decoder_prompts import DecoderPrompts, SpatialPrompt, TextPrompt
from segfoundry.modeling.seem.decoder.decoder_v0 import SeemDecoderV0
from segfoundry.modeling.seem.decoder.decoder_v1 import SeemDecoder
from segfoundry.modeling.seem.decoder.image_levels import NUM_LEVELS
from segfoundry.modeling.seem.decoder.query_decoder import AdapterOptions, QueryDecoder
from segfoundry.modeling.seem.decoder.query_masks import stroke_masks
from segfoundry.modeling.seem.decoder.visibility import AttentionArch, Group, self_attention_mask
from segfoundry.modeling.seem.text.text_towers import LanguageEncoder

from .....support.goldens import Case, runner


class TextScale(nn.Module):
    """What the decoder needs of its text encoder."""

    similarity = LanguageEncoder.similarity

    def __init__(self) -> None:
        super().__init__()
        self.logit_scale = nn.Parameter(torch.ones([]))


class RecordedChoices:
    """Replays the rows, slots and pixels that a case recorded, in place of the step's draws.

    Pixels are chosen by the largest uniform numbers: recorded ones get a number just below 1, the others 0.
    """

    def __init__(self, inputs: dict[str, Tensor], prefix: str = "") -> None:
        self.rows = inputs.get(f"{prefix}object_query_index")
        self.slots = inputs.get(f"{prefix}memory_index_draws")
        draws = sorted(name for name in inputs if name.startswith("point_draw."))
        # Cases with few pixels recorded no choice.
        self.pixels = {key: inputs[name] for key, name in zip(_recorded_order(inputs), draws, strict=False)}

    def integers(self, purpose: str, high: int, shape: Sequence[int], **_: object) -> Tensor:
        drawn = self.rows if purpose == "spatial_queries" else self.slots[int(purpose.removeprefix("memory/"))]
        assert drawn.shape == tuple(shape) and drawn.max() < high
        return drawn

    def uniform(self, purpose: str, shape: Sequence[int], *, sample: int | None = None, **_: object) -> Tensor:
        return torch.zeros(tuple(shape)).index_fill(0, self.pixels[purpose, sample], 0.999)


def _recorded_order(inputs: dict[str, Tensor]) -> list[tuple[str, int]]:
    """Returns purpose and image of each recorded draw of pixels: means first, then levels; none of no pixels."""
    images = range(sum(name.startswith("pos_mask.") for name in inputs))
    signs = (("positive", "pos_mask"), ("negative", "neg_mask"))
    levels = [str(level) for level in range(len(feature_levels(inputs)))]
    return [
        (f"stroke/{sign}/{what}", image)
        for what in ("mean", *levels)
        for sign, name in signs
        for image in images
        if inputs[f"{name}.{image}"].any()
    ]


def feature_levels(inputs: dict[str, Tensor]) -> list[Tensor]:
    """Returns the recorded features, coarse to fine."""
    return [inputs[f"multi_scale_{i}"] for i in range(sum(name.startswith("multi_scale_") for name in inputs))]


def build_decoder(c: dict, kind: type[QueryDecoder] = SeemDecoder) -> QueryDecoder:
    """Builds the decoder that a case's configuration describes."""
    return kind(
        TextScale(),
        AttentionArch.from_config(c["ATTENTION_ARCH"]),
        in_channels=c["CONVS_DIM"],
        hidden_dim=c["HIDDEN_DIM"],
        mask_dim=c["MASK_DIM"],
        dim_proj=c["DIM_PROJ"],
        num_heads=c["NHEADS"],
        dim_feedforward=c["DIM_FEEDFORWARD"],
        num_layers=c["DEC_LAYERS"] - 1,
        num_queries=c["NUM_OBJECT_QUERIES"],
        pre_norm=c["PRE_NORM"],
        max_spatial_len=(c["MAX_SPATIAL_LEN"],) * (NUM_LEVELS + 1),
        adapters=AdapterOptions("dense", "reference") if c["FINE_TUNE"] else None,
    )


def spatial_prompt(inputs: dict[str, Tensor]) -> SpatialPrompt | None:
    """Returns the recorded strokes and last round's masks."""
    images = range(sum(name.startswith("pos_mask.") for name in inputs))
    if not images:
        return None
    positive, negative = ([inputs[f"{sign}_mask.{b}"] for b in images] for sign in ("pos", "neg"))
    return SpatialPrompt(positive, negative, max(len(masks) for masks in positive), inputs.get("prev_mask"))


def text_prompt(inputs: dict[str, Tensor]) -> TextPrompt | None:
    """Returns the recorded text tokens."""
    if "grounding_tokens" not in inputs:
        return None
    return TextPrompt(inputs["grounding_tokens"].transpose(0, 1), ~inputs["grounding_pad_mask"])


@runner("seem", "seem_v1_*", "*seem_v1*SEEMDecoder*")
def run(case: Case) -> dict[str, Tensor]:
    inputs = case.group("in")
    decoder = case.load_into(build_decoder(case.config))
    prompts = DecoderPrompts(spatial_prompt(inputs), text_prompt(inputs))
    with torch.no_grad(), watched_visibility() as masks:
        output = decode(decoder, inputs, prompts)
    seen = {f"self_attn_mask.{i}": mask for i, mask in enumerate(masks)}
    return object_outputs(output) | seen


def decode(decoder: QueryDecoder, inputs: dict[str, Tensor], prompts: DecoderPrompts) -> DecoderOutput:
    """Runs a decoder on the recorded features and draws."""
    texts = inputs["default_text_embeddings"]
    return decoder(feature_levels(inputs), inputs["mask_features"], texts, prompts, RecordedChoices(inputs))


@contextmanager
def watched_visibility() -> Iterator[list[Tensor]]:
    """Yields a list that a pass fills with each layer's self-attention mask, of all groups in the published order."""
    masks = []

    def keep(arch: AttentionArch, groups: dict[str, Group], *sides: list[str]) -> Tensor | None:
        names = [name for name in arch.self_groups if name in groups]
        mask = self_attention_mask(arch, groups, names, names)
        shape = (len(groups[names[0]].content), *[sum(groups[name].content.shape[1] for name in names)] * 2)
        masks.append(torch.zeros(shape, dtype=torch.bool) if mask is None else mask)
        return self_attention_mask(arch, groups, *sides)

    with patch.object(query_decoder, "self_attention_mask", keep):
        yield masks


def object_outputs(output: DecoderOutput) -> dict[str, Tensor]:
    """Names all predictions as the recorded cases do."""
    outputs = {}
    for i, layer in enumerate(output.layers):
        found = {"pred_logits": layer.logits, "pred_masks": output.masks(i), "pred_captions": layer.embed}
        found["pred_maskembs"] = layer.mask_embed
        if layer.grounding is not None:
            found["pred_gmasks"] = mask_logits(layer.grounding.mask_embed, output.mask_features)
            found["pred_gtexts"] = layer.grounding.embed
        if layer.spatial is not None:
            found["pred_smasks"] = mask_logits(layer.spatial.mask_embed, output.mask_features)
            found["pred_smaskembs"] = layer.spatial.mask_embed
            found["pred_stexts"] = layer.spatial.embed
        if output.positive_means is not None:
            found["pred_pspatials"], found["pred_nspatials"] = output.positive_means, output.negative_means
        prefix = "" if i == len(output.layers) - 1 else f"aux{i}."
        outputs |= {prefix + name: value for name, value in found.items()}
    if output.positive_means is not None:
        outputs["prev_mask"] = stroke_masks(output)
    return outputs


@runner("seem", "seem_v0_*", "*seem_v0*SEEMDecoder*")
def run_v0(case: Case) -> dict[str, Tensor]:
    inputs = case.group("in")
    decoder = case.load_into(build_decoder(case.config, SeemDecoderV0))
    with torch.no_grad():
        return object_outputs(decode(decoder, inputs, DecoderPrompts(spatial_prompt(inputs), text_prompt(inputs))))


@runner("seem", "seem_demo*", "*seem_demo*SEEMDecoder*")
def run_demo(case: Case) -> dict[str, Tensor]:
    inputs = case.group("in")
    decoder = case.load_into(build_decoder(case.config, SeemDecoderDemo))
    spatial, text = spatial_prompt(inputs), text_prompt(inputs)
    with torch.no_grad():
        image = decoder.prepare(feature_levels(inputs), inputs["mask_features"])
        shown = decoder.reference(image, spatial)
        answers = {
            "stroke_text": decode(decoder, inputs, DecoderPrompts(spatial, text)),
            "visual": decode(decoder, inputs, DecoderPrompts(reference=shown)),
        }
    outputs = {f"{task}.{name}": x for task, output in answers.items() for name, x in object_outputs(output).items()}
    outputs["visual.pred_pvisuals"] = answers["visual"].reference_means
    outputs["visual.pred_nvisuals"] = shown.negative_means
    outputs["refimg.visual_query_pos"] = shown.positive_means.transpose(0, 1)
    outputs["refimg.visual_query_neg"] = shown.negative_means.transpose(0, 1)
    for level, (tokens, valid) in enumerate(zip(shown.tokens, shown.valid, strict=True)):
        outputs[f"refimg.src_visual_queries.{level}"] = tokens.transpose(0, 1)
        outputs[f"refimg.src_visual_maskings.{level}"] = ~valid
    return outputs
