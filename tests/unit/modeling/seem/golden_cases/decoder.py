"""The v1 decoder: predictions of the object queries (which see no prompt), and who sees whom among all groups."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from segfoundry.modeling.seem.decoder import AdapterOptions, SeemDecoder
from segfoundry.modeling.seem.language import LanguageEncoder
from segfoundry.modeling.seem.outputs import DecoderOutput
from segfoundry.modeling.seem.visibility import AttentionArch, Group, self_attention_mask

from .....support.goldens import Case, runner


class TextScale(nn.Module):
    """What the decoder needs of its text encoder."""

    similarity = LanguageEncoder.similarity

    def __init__(self) -> None:
        super().__init__()
        self.logit_scale = nn.Parameter(torch.ones([]))


def build_decoder(c: dict) -> SeemDecoder:
    """Builds the decoder that a case's configuration describes."""
    return SeemDecoder(
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
        adapters=AdapterOptions("dense", "reference") if c["FINE_TUNE"] else None,
    )


@runner("seem", "seem_v1_*", "*seem_v1*SEEMDecoder*")
def run(case: Case) -> dict[str, Tensor]:
    inputs = case.group("in")
    decoder = case.load_into(build_decoder(case.config))
    features = [inputs[f"multi_scale_{i}"] for i in range(3)]
    with torch.no_grad():
        output = decoder(features, inputs["mask_features"], inputs["default_text_embeddings"])
    return object_outputs(output) | visibility_outputs(decoder.arch, inputs, case.config["NUM_OBJECT_QUERIES"])


def object_outputs(output: DecoderOutput) -> dict[str, Tensor]:
    """Names the object queries' predictions as the recorded cases do."""
    outputs = {}
    for i, layer in enumerate(output.layers):
        prefix = "" if i == len(output.layers) - 1 else f"aux{i}."
        outputs[f"{prefix}pred_logits"] = layer.logits
        outputs[f"{prefix}pred_masks"] = output.masks(i)
        outputs[f"{prefix}pred_captions"] = layer.embed
    return outputs


def visibility_outputs(arch: AttentionArch, inputs: dict[str, Tensor], num_queries: int) -> dict[str, Tensor]:
    """Returns the self-attention masks of the groups that the recorded prompts bring in."""
    batch = len(inputs["mask_features"])

    def group(count: int, owner: Tensor | None = None, valid: Tensor | None = None) -> Group:
        return Group(torch.zeros(batch, count, 1), torch.zeros(batch, count, 1), owner, valid)

    groups = {"queries_object": group(num_queries)}
    if "grounding_pad_mask" in inputs:
        valid = ~inputs["grounding_pad_mask"]
        groups["queries_grounding"] = group(num_queries)
        groups["tokens_grounding"] = group(valid.shape[1], valid=valid)
    if "pos_mask.0" in inputs:
        objects = max(len(inputs[f"pos_mask.{b}"]) for b in range(batch))
        owner = torch.arange(objects).repeat_interleave(arch.queries_per_object)
        groups["queries_spatial"] = group(len(owner), owner[None])
        owner = stroke_owners(inputs, batch)
        groups["tokens_spatial"] = group(owner.shape[1], owner)
    masks = {}
    draws = inputs.get("memory_index_draws", [None] * 4)
    for i, slots in enumerate(draws):
        if slots is not None:
            groups["memories_spatial"] = group(len(slots), slots.sort().values[None])
        mask = self_attention_mask(arch, groups)
        masks[f"self_attn_mask.{i}"] = torch.zeros(batch, num_queries, num_queries).bool() if mask is None else mask
    return masks


def stroke_owners(inputs: dict[str, Tensor], batch: int) -> Tensor:
    """Returns the object number of each stroke pixel, positive ones first, -1 at the padding."""
    owners = []
    for b in range(batch):
        strokes = [inputs[name] for name in (f"pos_mask.{b}", f"neg_mask.{b}") if name in inputs]
        owners.append(torch.cat([stroke.nonzero()[:, 0] for stroke in strokes]))
    return pad_sequence(owners, batch_first=True, padding_value=-1)
