"""The second set of SAM's cases, continued: everything mode, fine-tuning, and weights by formula."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from segfoundry.modeling.losses.dice import mask_dice
from segfoundry.modeling.losses.focal import mask_focal
from segfoundry.modeling.sam import SamPredictor
from segfoundry.modeling.sam.everything.crops import crop_boxes, cut_off, point_grid
from segfoundry.modeling.sam.everything.mask_generator import SamAutomaticMaskGenerator
from segfoundry.modeling.sam.everything.mask_quality import corner_boxes, stability_scores
from segfoundry.modeling.sam.everything.small_regions import remove_small_regions
from segfoundry.modeling.sam.network.input_frame import ResizeLongestSide
from segfoundry.modeling.sam.network.sam import Sam
from segfoundry.utils.masks import encode_masks, rle_areas, rle_counts

from .golden_writer import named, params, write_case
from .label_predictor import LabelPredictor
from .second_sam_set import CONFIG, IMAGES, SIDE, image, network

# ---- everything mode -------------------------------------------------------------------------------------------------


def record_everything(folder: Path) -> None:
    """Writes ``amg``; its run with a network takes the weights of ``sam_full``."""
    generator = torch.Generator().manual_seed(21)
    logits = 3 * torch.randn(3, 15, 9, generator=generator)
    codes = encode_masks((logits > 0).numpy())
    regions = np.random.default_rng(22).random((12, 17)) < 0.6
    labels = np.kron(np.array([[1, 2, 2], [1, 3, 4]], np.uint8), np.ones((30, 25), np.uint8))
    edges = {"boxes": [[0, 0, 9, 9], [4, 4, 60, 40], [30, 30, 70, 50]], "crop_box": [40, 30, 110, 80]}
    edges |= {"orig_box": [0, 0, 150, 80], "atol": 20.0}
    cut = cut_off(np.array(edges["boxes"]), (40, 30, 110, 80), (80, 150))
    changed, masks = {}, {}
    for kind, area in (("holes", 3), ("islands", 9)):
        mask, changed[f"{kind}_{area}"] = remove_small_regions(regions, area, kind)
        masks[f"regions_{kind}_{area}"] = torch.from_numpy(mask.astype(np.uint8))
    crops = crop_boxes((70, 44), 2, 0.125)
    settings = {"points_per_side": 3, "points_per_batch": 4, "pred_iou_thresh": 0.5, "stability_score_thresh": 0.4}
    settings |= {"crop_n_layers": 1}
    settings_of_network = {"points_per_side": 2, "pred_iou_thresh": -1e9, "stability_score_thresh": 0.0}
    info = {
        "layer_grids": [[144, 2], [16, 2]],
        "crop_boxes": {
            "70x44_layers2_overlap0.125": {"boxes_xyxy": [list(b) for b, _ in crops], "layer": [n for _, n in crops]}
        },
        "rle": [{"size": code["size"], "counts": rle_counts(code)} for code in codes],
        "area": rle_areas(codes).tolist(),
        "near_crop_edge_case": edges,
        "regions_changed": changed,
        "generate": {"other": _run(LabelPredictor(48), np.repeat(labels[..., None], 3, 2), settings)},
        "generate_with_sam_full_weights": {
            **_run(network(), image(*IMAGES[2], seed=2), settings_of_network),
            "image": "in/2/image_uint8 of sam_full",
        },
        "stub_predictor": {"resize_target_length": 48},
    }
    out = {f"point_grid_{side}": torch.from_numpy(point_grid(side)) for side in (2, 5)}
    out |= {"stability_score": stability_scores(logits, 0.0, 1.0), "boxes": torch.as_tensor(corner_boxes(codes))}
    out |= {"near_crop_edge": torch.from_numpy(cut.astype(np.uint8)), **masks}
    given = {"mask_logits": logits, "regions_mask": torch.from_numpy(regions.astype(np.uint8))}
    given["label_image"] = torch.from_numpy(labels)
    write_case(folder, "sam", "amg", info, named("in", given) | named("out", out))


def _run(model: Any, pixels: np.ndarray, settings: dict[str, Any]) -> dict[str, Any]:
    found = SamAutomaticMaskGenerator(model, output_mode="uncompressed_rle", **settings).generate(pixels)
    masks = [
        {
            "bbox_xywh": record["bbox"],
            "area": record["area"],
            "predicted_iou": record["predicted_iou"],
            "stability_score": record["stability_score"],
            "crop_box_xywh": record["crop_box"],
            "rle_counts": record["segmentation"]["counts"],
        }
        for record in found
    ]
    assert masks
    return {"settings": settings, "count": len(masks), "masks": masks}


# ---- fine-tuning -----------------------------------------------------------------------------------------------------


def record_losses(folder: Path) -> None:
    """Writes ``dlo_losses_lr``."""
    torch.manual_seed(23)
    logits, target = torch.randn(2, 1, 7, 5, requires_grad=True), (torch.rand(2, 1, 7, 5) < 0.4).float()

    def focal(alpha: float, gamma: float) -> Tensor:
        return mask_focal(logits.view(1, -1), target.view(1, -1), alpha, gamma)[0]

    def dice(truth: Tensor) -> Tensor:
        return mask_dice(logits.sigmoid().view(1, -1), truth.view(1, -1), 1e-5)[0]

    losses = {f"focal_alpha{a}_gamma{g}": focal(a, g) for a, g in ((0.6, 2.0), (0.25, 1.0))} | {"dice": dice(target)}
    out = {}
    for name, loss in losses.items():
        [grad] = torch.autograd.grad(loss, logits)
        out[name.replace("focal_", "focal_grad_") if name != "dice" else "dice_grad"] = grad
    losses |= {"dice_empty_target": dice(torch.zeros(target.shape)), "dice_empty_both": torch.zeros(())}
    losses["total_7focal0.6_dice"] = 7 * losses["focal_alpha0.6_gamma2.0"] + losses["dice"]
    values = {name: loss.item() for name, loss in losses.items()}
    info = {"values": values, "lr_schedule": {"0.01": {"1": 1e-5, "1000": 0.01}}, "tol": {"rtol": 1e-5}}
    write_case(folder, "sam", "dlo_losses_lr", info, {"in/logits": logits, "in/target": target, **named("out", out)})


NAMES = {"fg": ["b.png", "a.png", "c.png"], "te": ["y.png", "x.png"]}
LOADS = [["a.png", "c.png"], ["c.png", "b.png"], ["b.png", "a.png"], ["y.png"], ["x.png"], ["b.png", "c.png"]]


def record_fine_tuning(folder: Path) -> None:
    """Writes ``dlo_finetune``: two runs of two images a batch, tested after three batches."""
    rng, resize = np.random.default_rng(24), ResizeLongestSide(SIDE)
    given, out, data = {}, {}, {}
    for group, names in NAMES.items():
        for place, name in enumerate(names):
            pixels, mask = image(30, 60, seed=place), torch.from_numpy(rng.random((30, 60)) < 0.3)
            small = torch.from_numpy(resize.apply_image(pixels)).permute(2, 0, 1)
            data[group, name] = (small, mask)
            given |= named(f"{group}/{place}", {"image_rgb": torch.from_numpy(pixels), "mask": 255 * mask.byte()})
            if group == "fg":
                out |= named(f"item/{place}", {"image": small, "mask_inverted": (~mask)[None].byte()})
    start = params(network())
    runs = {}
    for name, args in {
        "plain": {"lr": 0.3, "virtual_batch_size": None, "alpha": 0.6, "no_inv": False},
        "pairs": {"lr": 0.2, "virtual_batch_size": 2, "alpha": None, "no_inv": True},
    }.items():
        args |= {"epoch_num": 4, "batch_size": 2, "save_interval": 9, "test_interval": 3}
        model = network()
        runs[name] = {"args": args, "batch_names_in_order_of_loading": LOADS, **_fine_tune(model, data, args)}
        if name == "pairs":
            out |= named("pairs/mask_decoder", model.mask_decoder.state_dict())
    info = {
        "runs": runs,
        "config": CONFIG,
        "standard_size_hw": [30, 60],
        "file_names": NAMES,
        "notes": "lr is a large value because warm-up takes 1000 iterations: lr at iteration i is lr*i/1000.",
        "tol": {"loss": 1e-4, "weights": 2e-4},
    }
    write_case(folder, "sam", "dlo_finetune", info, start | named("in", given) | named("out", out))


def _fine_tune(model: Sam, data: dict[tuple[str, str], tuple[Tensor, Tensor]], args: dict[str, Any]) -> dict[str, Any]:
    """Trains the decoder in the plainest way; returns the log and the counts of the tests."""
    optimizer = torch.optim.Adam(model.mask_decoder.parameters(), lr=args["lr"])
    virtual, log, counts, number = args["virtual_batch_size"] or 1, [], [], 0
    for names in (names for names in LOADS if len(names) == args["batch_size"]):
        number += 1
        loss = _loss(model, [data["fg", name] for name in names], args)[0]
        (loss / virtual).backward()
        entry = {"step": number // virtual, "training_loss": loss.item()}
        if number % virtual == 0:
            optimizer.param_groups[0]["lr"] = args["lr"] * number / 1000
            optimizer.step()
            optimizer.zero_grad()
        if number % args["test_interval"] == 0:
            log.append({"step": number, **_test(model, data, args, counts)})
        if number % virtual == 0:
            log.append(entry)
    return {"log": log, "test_tp_tn_fp_fn": counts}


@torch.no_grad()
def _test(model: Sam, data: dict, args: dict[str, Any], counts: list[list[int]]) -> dict[str, float]:
    answers = [_loss(model, [data["te", name]], args) for name in NAMES["te"]]
    losses = [loss.item() for loss, _, _ in answers]
    found, truth = (torch.cat([answer[i] for answer in answers]).bool() for i in (1, 2))
    tp, tn, fp, fn = (int(x.sum()) for x in (found & truth, ~found & ~truth, found & ~truth, ~found & truth))
    counts.append([tp, tn, fp, fn])
    scores = {"accuracy": (tp + tn) / found.numel(), "precision": tp / (tp + fp), "recall": tp / (tp + fn)}
    return {"test_loss": float(np.mean(losses)), **{f"test_{name}": score for name, score in scores.items()}}


def _loss(model: Sam, items: list[tuple[Tensor, Tensor]], args: dict[str, Any]) -> tuple[Tensor, Tensor, Tensor]:
    """Returns the loss of a batch, and what is found and true as positive, (B, H W)."""
    with torch.no_grad():
        features = torch.cat([model.embed(model.preprocess(pixels[None])) for pixels, _ in items])
    boxes = torch.tensor([[0.0, 0.0, SIDE, SIDE]]).expand(len(items), -1)
    low_res, _ = model.predict_masks(features, boxes=boxes, multimask=False)
    padded = F.interpolate(low_res, (SIDE, SIDE), mode="bilinear", align_corners=False)
    logits = F.interpolate(padded[..., : SIDE // 2, :], (30, 60), mode="bilinear", align_corners=False).flatten(1)
    truth = torch.stack([mask.flatten() if args["no_inv"] else ~mask.flatten() for _, mask in items]).float()
    alpha = 0.85 if args["alpha"] is None else args["alpha"]
    alpha = alpha if args["no_inv"] else 1 - alpha
    focal = mask_focal(logits.view(1, -1), truth.view(1, -1), alpha, 2.0)[0]
    return 20 * focal + mask_dice(logits.sigmoid().view(1, -1), truth.view(1, -1), 1e-5)[0], logits > 0, truth


# ---- weights by formula ----------------------------------------------------------------------------------------------

SALT = "another/"
RULES = [
    ["name ends with num_batches_tracked", "0"],
    ["1-dimensional and name ends with weight", "1+0.2*n"],
    ["1-dimensional otherwise", "0.04*n"],
    ["name contains gaussian_matrix", "n"],
    ["name contains rel_pos or pos_embed", "0.3*n"],
    ["otherwise", "n/sqrt(prod(shape[1:]))"],
]


@torch.no_grad()
def record_formula(folder: Path) -> None:
    """Writes ``full_formula_other``, for a registry whose "other" is :func:`network`."""
    model = network(seed=99)
    model.load_state_dict({name: _weight(name, tensor) for name, tensor in model.state_dict().items()})
    y, x, c = np.mgrid[:60, :88, :3]
    predictor = SamPredictor(model)
    predictor.set_image(((x * (7 + c) + y * 3 + 11 * c) % 256).astype(np.uint8))
    features = predictor.features
    out = {"embedding_slice": features[:, ::5, ::3, ::2]}
    out |= {"embedding_channel_mean": features.mean((2, 3)), "embedding_channel_std": features.std((2, 3))}
    prompts = {"spot": {"point_coords": [[30.0, 20.0]], "point_labels": [0]}, "frame": {"box": [5.0, 5.0, 70.0, 44.0]}}
    for name, prompt in prompts.items():
        for kind, multimask in (("multi", True), ("single", False)):
            arrays = {key: np.array(value) for key, value in prompt.items()}
            answer = predictor.predict(**arrays, multimask_output=multimask, return_logits=True)
            logits, iou, low_res = map(torch.from_numpy, answer)
            slices = {"low_res_slice": low_res[:, ::7, ::3], "logits_slice": logits[:, ::9, ::10]}
            out |= named(f"{name}/{kind}", {"iou": iou, "positive_pixels": (logits > 0).sum((1, 2)), **slices})
    low_res, iou = model.predict_masks(features, boxes=torch.tensor([[0.0, 0.0, 80.0, 60.0]]), multimask=False)
    out |= {"dlo_box/low_res_slice": low_res[..., ::7, ::3], "dlo_box/iou": iou}
    info = {
        "weights": {"salt": SALT, "rules_in_order": RULES},
        "image": {"size_hw": [60, 88], "formula": "img[y,x,c] = (x*(7+c) + y*3 + 11*c) % 256, uint8, RGB"},
        "prompts": prompts,
        "notes": "embedding_slice = features[:, ::5, ::3, ::2]; low_res_slice = low_res[:, ::7, ::3]; logits_slice = "
        "mask logits at original size [:, ::9, ::10]; dlo_box = box (0,0,80,60) given directly in the input frame.",
        "tol": {"rtol": 2e-3, "atol": 2e-3},
    }
    write_case(folder, "sam", "full_formula_other", info, named("out", out))


def _weight(name: str, like: Tensor) -> Tensor:
    n = np.random.RandomState(zlib.crc32(f"{SALT}{name}".encode())).standard_normal(like.numel()).astype(np.float32)
    n = n.reshape(tuple(like.shape))
    if like.ndim == 1:
        n = np.float32(1) + np.float32(0.2) * n if name.endswith("weight") else np.float32(0.04) * n
    elif "rel_pos" in name or "pos_embed" in name:
        n = np.float32(0.3) * n
    elif "gaussian_matrix" not in name:
        n = (n / np.sqrt(np.prod(like.shape[1:]))).astype(np.float32)
    return torch.from_numpy(n)
