"""A second set of SEEM's cases, of the recorded form with other sizes, seeds and names.

The reference is our own code, called here with the numbers below and not with a json. The decoders and the whole model
are in ``second_seem_model.py`` and ``second_seem_whole.py``.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from segfoundry.modeling.clicks import next_click
from segfoundry.modeling.layers.ms_deform_attn import multi_scale_deformable_attention
from segfoundry.modeling.seem.backbones.davit import DaViTBackbone
from segfoundry.modeling.seem.backbones.focalnet import FocalNet
from segfoundry.modeling.seem.backbones.vit import SimpleFeaturePyramid
from segfoundry.modeling.seem.pixel_decoders.build_pixel_decoder import PIXEL_DECODERS
from segfoundry.modeling.seem.pixel_decoders.deformable import DeformableEncoderLayer
from segfoundry.modeling.seem.results.mask_resize import MaskResizer
from segfoundry.modeling.seem.results.postprocess import (
    boxes_to_output,
    category_scores,
    class_probabilities,
    instances,
    late_category_scores,
    panoptic_map,
)
from segfoundry.modeling.seem.text.text_towers import LanguageEncoder, normalize
from segfoundry.utils.class_names.text_templates import evaluation_prompts, training_prompt
from segfoundry.utils.structures.requests import Strokes

from .golden_writer import named, params, randomize, write_case
from .soft_distance import soft_distance
from .standin_tokenizer import StandInTokenizer


@torch.no_grad()
def record_focalnet(folder: Path) -> None:
    """Writes ``focalnet_other``: three stages, of which two are returned, depthwise, with adapters."""
    torch.manual_seed(31)
    model = FocalNet(
        embed_dim=8,
        depths=(1, 2, 1),
        focal_levels=(1, 2, 3),
        focal_windows=(5, 3, 7),
        patch_size=4,
        mlp_ratio=2.0,
        use_conv_embed=False,
        scaling_modulator=False,
        use_postln_in_modulation=True,
        use_layerscale=False,
        out_indices=(0, 2),
        depthwise=True,
        adapter="dense",
        adapter_init="reference",
    )
    randomize(model).eval()
    images = {"image": torch.randn(1, 3, 40, 48), "image_wide": torch.randn(2, 3, 33, 70)}
    out = {f"{key}{name[5:]}": x for name, image in images.items() for key, x in model(image).items()}
    config = {
        "PATCH_SIZE": 4,
        "EMBED_DIM": 8,
        "DEPTHS": [1, 2, 1],
        "FOCAL_LEVELS": [1, 2, 3],
        "FOCAL_WINDOWS": [5, 3, 7],
        "DROP_PATH_RATE": 0.1,
        "MLP_RATIO": 2.0,
        "DROP_RATE": 0.0,
        "PATCH_NORM": True,
        "USE_CONV_EMBED": False,
        "SCALING_MODULATOR": False,
        "USE_CHECKPOINT": False,
        "USE_POSTLN": True,
        "USE_POSTLN_IN_MODULATION": True,
        "USE_LAYERSCALE": False,
        "OUT_INDICES": [0, 2],
        "FINE_TUNE": True,
    }
    info = {"class": "D2FocalNet in modeling/vision/backbone/focal_dw.py", "config": config}
    write_case(folder, "seem", "focalnet_other", info, params(model) | named("in", images) | named("out", out))


@torch.no_grad()
def record_davit(folder: Path) -> None:
    """Writes ``davit_other``: three of four stages are returned."""
    torch.manual_seed(32)
    model = DaViTBackbone(
        embed_dims=(6, 8, 12, 16),
        depths=(1, 2, 1, 1),
        num_heads=(1, 2, 3, 4),
        down_kernel_size=3,
        out_indices=(1, 2, 3),
    )
    randomize(model, 0.05).eval()
    image = torch.randn(1, 3, 64, 40)
    config = {
        "DEPTHS": [1, 2, 1, 1],
        "DIM_EMBED": [6, 8, 12, 16],
        "NUM_HEADS": [1, 2, 3, 4],
        "NUM_GROUPS": [1, 2, 3, 4],
        "PATCH_SIZE": [7, 3, 3, 3],
        "PATCH_STRIDE": [4, 2, 2, 2],
        "PATCH_PADDING": [3, 1, 1, 1],
        "PATCH_PRENORM": [False, True, True, True],
        "DROP_PATH_RATE": 0.2,
        "OUT_INDICES": [1, 2, 3],
    }
    tensors = params(model) | {"in/image": image} | named("out", model(image))
    write_case(folder, "seem", "davit_other", {"class": "DaViT", "config": config}, tensors)


@torch.no_grad()
def record_pyramid(folder: Path) -> None:
    """Writes ``vit_pyramid``."""
    torch.manual_seed(33)
    model, x = randomize(SimpleFeaturePyramid(12, [4, 6, 8, 10])).eval(), torch.randn(1, 12, 5, 8)
    info = {"class": "SimpleFPN", "config": {"in_dim": 12, "out_dims": [4, 6, 8, 10]}}
    write_case(folder, "seem", "vit_pyramid", info, params(model) | {"in/x": x} | named("out", model(x)))


def record_deformable_core(folder: Path) -> None:
    """Writes ``msdeform_core``: two levels."""
    torch.manual_seed(34)
    sizes = [(5, 3), (9, 6)]
    given = {
        "value": torch.randn(1, 69, 2, 6),
        "sampling_locations": 1.2 * torch.rand(1, 7, 2, 2, 3, 2) - 0.1,
        "attention_weights": torch.rand(1, 7, 2, 2, 3),
    }
    leaves = [tensor.clone().requires_grad_() for tensor in given.values()]
    output = multi_scale_deformable_attention(leaves[0], sizes, *leaves[1:])
    grad = torch.randn(output.shape)
    out = dict(zip((f"grad_{name}" for name in given), torch.autograd.grad(output, leaves, grad), strict=True))
    given |= {"spatial_shapes": torch.tensor(sizes), "grad_output": grad}
    info = {"config": {"N": 1, "heads": 2, "head_dim": 6, "levels": 2, "queries": 7, "points": 3}}
    write_case(folder, "seem", "msdeform_core", info, named("in", given) | named("out", {"output": output, **out}))


@torch.no_grad()
def record_deformable_layer(folder: Path) -> None:
    """Writes ``msdeform_layer``: two levels, two heads, three points."""
    torch.manual_seed(35)
    layer = DeformableEncoderLayer(dim=12, num_heads=2, num_levels=2, num_points=3, feedforward_dim=20)
    randomize(layer).eval()
    sizes, tokens = [(4, 6), (2, 3)], 30
    given = {name: torch.randn(2, tokens, 12) for name in ("src", "pos")}
    given |= {"reference_points": torch.rand(2, tokens, 2, 2), "padding_mask": torch.rand(2, tokens) < 0.2}
    args = (given["src"], given["pos"], given["reference_points"], sizes)
    out = {
        "output": layer(*args),
        "output_with_padding_mask": layer(*args, padding_mask=given["padding_mask"]),
        "self_attn_only": layer.self_attn(given["src"] + given["pos"], given["reference_points"], given["src"], sizes),
    }
    given["spatial_shapes"] = torch.tensor(sizes)
    config = {"d_model": 12, "n_heads": 2, "n_points": 3, "n_levels": 2, "d_ffn": 20, "dropout": 0.0}
    info = {"config": config | {"activation": "relu"}}
    write_case(folder, "seem", "msdeform_layer", info, params(layer) | named("in", given) | named("out", out))


@torch.no_grad()
def record_pixel_decoder(folder: Path, kind: str) -> None:
    """Writes ``pixel_decoder_{kind}``, fpn or deform: another width of masks, one layer."""
    torch.manual_seed(36)
    channels = {"res2": 6, "res3": 10, "res4": 12, "res5": 16}
    model = PIXEL_DECODERS.get(f"transformer_encoder_{kind}")(
        input_channels=channels,
        conv_dim=64,
        mask_dim=20,
        num_layers=1,
        num_heads=8,
        feedforward_dim=24,
        pre_norm=True,
        transformer_features=("res3", "res4", "res5"),
    )
    randomize(model, 0.05).eval()
    sizes = [(24, 16), (12, 8), (6, 4), (3, 2)]
    features = {name: torch.randn(1, width, *size) for (name, width), size in zip(channels.items(), sizes, strict=True)}
    masks, encoded, levels = model(features)
    out = {"mask_features": masks, "transformer_encoder_features": encoded}
    out |= {f"multi_scale_{i}": level for i, level in enumerate(levels)}
    config = {
        "ENCODER": {
            "NAME": f"transformer_encoder_{kind}",
            "CONVS_DIM": 64,
            "MASK_DIM": 20,
            "NORM": "GN",
            "TRANSFORMER_ENC_LAYERS": 1,
            "IN_FEATURES": list(channels),
            "DEFORMABLE_TRANSFORMER_ENCODER_IN_FEATURES": ["res3", "res4", "res5"],
            "COMMON_STRIDE": 4,
        },
        "DECODER": {"NHEADS": 8, "DIM_FEEDFORWARD": 24, "DROPOUT": 0.0, "PRE_NORM": True},
        "input_channels": list(channels.values()),
    }
    tensors = params(model) | named("in", features) | named("out", out)
    write_case(folder, "seem", f"pixel_decoder_{kind}", {"config": config}, tensors)


@torch.no_grad()
def record_language(folder: Path) -> None:
    """Writes ``lang_encoder``: three layers, tokens that see all others."""
    torch.manual_seed(37)
    encoder = randomize(LanguageEncoder(61, 9, 20, 3, 2, 14, causal=False), 0.1).eval()
    tokenizer = StandInTokenizer(61, 9)
    texts, names, templates = ["a boat", "the very small red boat on a lake"], ["boat", "lake-other"], [5, 2]
    ids = tokenizer(texts)
    tokens, sentences = encoder(ids)

    def embed(phrases: list[str]) -> Tensor:
        return normalize(encoder(tokenizer(phrases))[1])

    prompted = torch.stack([normalize(embed(evaluation_prompts(name)).mean(0)) for name in names])
    drawn = [training_prompt(name, template) for name, template in zip(names, templates, strict=True)]
    visual = torch.randn(1, 3, 14)
    out = {
        "token_emb": tokens,
        "class_emb": sentences,
        "token_emb_normed": normalize(tokens),
        "class_emb_normed": normalize(sentences),
        "sentence_emb_normed": embed(texts),
        "text_embeddings_eval_prompted": prompted,
        "text_embeddings_eval_plain": embed(names),
        "text_embeddings_train": embed(drawn),
        "similarity": encoder.logit_scale.exp() * normalize(visual) @ prompted.T,
    }
    config = {"WIDTH": 20, "DIM_PROJ": 14, "LAYERS": 3, "HEADS": 2, "CONTEXT_LENGTH": 9, "vocab_size": 61}
    info = {"config": config | {"AUTOGRESSIVE": False}, "texts": texts, "class_names": names, "train_prompts": drawn}
    info["token_table"] = {text: tokenizer.ids(text) for text in texts}
    given = {"input_ids": ids, "visual_embeddings": visual, "train_template_index": torch.tensor(templates)}
    write_case(folder, "seem", "lang_encoder", info, params(encoder) | named("in", given) | named("out", out))


def record_clicks(folder: Path) -> None:
    """Writes ``next_click``: three images, wider clicks."""
    torch.manual_seed(38)
    objects, size = [1, 3, 2], (32, 64)
    given, out, wrong = {"prev_mask": torch.randn(3, 3, 8, 16)}, {}, torch.zeros(3, 3, *size, dtype=torch.bool)
    for b, count in enumerate(objects):
        truth = torch.zeros(count, *size, dtype=torch.bool)
        truth[:, 4:20, 10 * b + 3 : 10 * b + 30] = True
        strokes = Strokes(torch.rand(count, *size) < 0.01, torch.rand(count, *size) < 0.01)
        predicted = F.interpolate(given["prev_mask"][b, None, :count], size, mode="bilinear")[0] > 0
        clicked = next_click(truth, predicted, strokes, dilation=5)
        wrong[b, :count] = predicted & ~truth & ~strokes.positive & ~strokes.negative
        given |= {f"pos_mask.{b}": strokes.positive, f"neg_mask.{b}": strokes.negative}
        given[f"gt_mask.{b}"] = truth[:, :30, :50]
        out |= {f"pos_mask.{b}": clicked.positive, f"neg_mask.{b}": clicked.negative}
        assert not truth[:, 30:].any() and not truth[:, :, 50:].any()
    given["dt_region"] = (torch.rand(1, 1, 11, 9) < 0.8).float()
    out |= {"false_positive_mask": wrong, "dt_region_distance": soft_distance(1 - given["dt_region"])}
    config = {"size_divisibility": 32, "dilation": 5, "stop_iou": 0.925, "mode": "best", "objects": objects}
    write_case(folder, "seem", "next_click", {"config": config}, named("in", given) | named("out", out))


def record_postprocess(folder: Path) -> None:
    """Writes ``postprocess``: seven queries, three classes."""
    torch.manual_seed(39)
    padded, image, output, things = (96, 64), (90, 50), (61, 37), [0, 1]
    given = {"mask_cls": 4 * torch.randn(7, 4), "mask_logits": 3 * torch.randn(7, 24, 16), "box_pred": torch.rand(7, 4)}
    logits, masks = given["mask_cls"], given["mask_logits"]
    resizer = MaskResizer((24, 16), padded, image, output)
    isthing = [True, True, False]
    panoptic = panoptic_map(logits, masks, resizer, isthing, 0.4, 0.3)
    everything, only_things = instances(logits, masks, resizer, 9), instances(logits, masks, resizer, 9, isthing)
    assert panoptic.segments and len(only_things.scores)
    out = {
        "upsampled": F.interpolate(masks[None], padded, mode="bilinear", align_corners=False)[0],
        "postprocessed": resizer(masks),
        "sem_seg": category_scores(class_probabilities(logits), resizer(masks)),
        "sem_seg_late": MaskResizer(image, image, image, output)(late_category_scores(logits, masks, padded, image)),
        "panoptic_seg": torch.from_numpy(panoptic.ids),
        "segments": torch.tensor([[s.id, int(s.isthing), s.category] for s in panoptic.segments]),
        "instances_boxes_from_masks": torch.from_numpy(everything.boxes),
        "box_postprocessed": boxes_to_output(given["box_pred"], padded, image, output),
    }
    for name, found in (("all", everything), ("things_only", only_things)):
        out[f"instances_{name}.scores"] = torch.from_numpy(found.scores)
        out[f"instances_{name}.classes"] = torch.from_numpy(found.categories)
        out[f"instances_{name}.masks"] = torch.from_numpy(found.masks)
    config = {"num_queries": 7, "num_classes": 3, "object_mask_threshold": 0.4, "overlap_threshold": 0.3}
    config |= {"thing_classes": things, "top_k": 9}
    config |= {"padded_size": list(padded), "image_size": list(image), "output_size": list(output)}
    write_case(folder, "seem", "postprocess", {"config": config}, named("in", given) | named("out", out))
