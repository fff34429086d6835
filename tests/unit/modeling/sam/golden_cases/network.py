"""Prompt encoder, mask decoder, whole network, predictor and transforms."""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from segfoundry.modeling.sam import SamPredictor
from segfoundry.modeling.sam.network.input_frame import ResizeLongestSide
from segfoundry.modeling.sam.network.sam import Sam

from .....support import goldens
from .....support.tiny_sam import recorded_sam


@goldens.runner("sam", "prompt_encoder")
def run_prompt_encoder(case: goldens.Case) -> dict[str, Tensor]:
    """Outputs are named after the prompts: ``points_boxes/sparse``; ``none`` and ``all`` stand for what they say."""
    encoder, given = case.load_into(recorded_sam(case.config).prompt_encoder), case.group("in")
    found = {"dense_pe": encoder.dense_pe()}
    for name in {output.split("/")[0] for output in case.outputs if "/" in output}:
        kinds = {"none": [], "all": ["points", "boxes", "masks"]}.get(name, name.split("_"))
        prompts = {kind: given[kind] for kind in kinds}
        if "points" in prompts:
            prompts["labels"] = given["labels"]
        sparse, dense = encoder(**prompts)
        found[f"{name}/dense"] = dense.expand(case.tensors[f"out/{name}/dense"].shape)
        if sparse is not None:
            found[f"{name}/sparse"] = sparse
    return found


def decoder_inputs(case: goldens.Case) -> Iterator[Tensor]:
    """Returns image embeddings, their position code, and embedded prompts."""
    return (case.tensors[f"in/{name}"] for name in ("image_embeddings", "image_pe", "sparse", "dense"))


@goldens.runner("sam", "mask_decoder")
def run_mask_decoder(case: goldens.Case) -> dict[str, Tensor]:
    """Computes in float64, because the float32 of one machine and of another differ by as much as is allowed."""
    found, exact = (decode(case, dtype) for dtype in (torch.float32, torch.float64))
    torch.testing.assert_close(found, exact, rtol=5e-4, atol=5e-5)
    return exact


def decode(case: goldens.Case, dtype: torch.dtype) -> dict[str, Tensor]:
    """Runs the decoder on what a ``mask_decoder`` case gives; the results are float32."""
    decoder = case.load_into(recorded_sam(case.config).mask_decoder).to(dtype)
    image, pe, sparse, dense = (x.to(dtype) for x in decoder_inputs(case))
    several = case.tensors["in/image_embeddings_batch"].to(dtype)
    found = {}
    with torch.no_grad():
        cells, places = (x.flatten(2).transpose(1, 2) for x in (image + dense, pe))
        found["transformer/queries"], found["transformer/keys"] = decoder.transformer(cells, places, sparse)
        for name, inputs in {
            "multi": (image, pe, sparse, dense, True),
            "single": (image, pe, sparse, dense, False),
            "batched": (several, pe, sparse, dense, False),
            "noprompt": (image, pe, None, dense[:1], False),
        }.items():
            found[f"{name}/masks"], found[f"{name}/iou"] = decoder(*inputs)
    return {name: tensor.float() for name, tensor in found.items()}


def check_decoder_gradients(case: goldens.Case) -> None:
    """Compares the gradients that a ``mask_decoder`` case holds."""
    decoder = case.load_into(recorded_sam(case.config).mask_decoder)
    masks, _ = decoder(*decoder_inputs(case), False)
    (masks * case.tensors["in/grad_masks"]).sum().backward()
    recorded = case.group("grad")
    assert recorded and {f"grad/{name}" for name in recorded} <= case.listed
    for name, expected in recorded.items():
        # In float64 the recorded gradients differ by 2e-5 of the maximum.
        goldens.assert_close(decoder.get_parameter(name).grad, expected, 5e-5, name)


@goldens.runner("sam", "sam_full")
def run_whole_network(case: goldens.Case) -> dict[str, Tensor]:
    model = case.load_into(recorded_sam(case.config))
    transform = ResizeLongestSide(model.image_size)
    records, found = [], {}
    for index, sizes in enumerate(case.info["images"]):
        given, original = case.group(f"in/{index}"), tuple(sizes["original"])
        resized = transform.apply_image(given["image_uint8"].numpy())
        record = {"image": torch.from_numpy(resized).permute(2, 0, 1), "original_size": original}
        if "point_coords_orig" in given:
            record["point_coords"] = transform.apply_coords_torch(given["point_coords_orig"], original)
            record["point_labels"] = given["point_labels"]
        if "boxes_orig" in given:
            record["boxes"] = transform.apply_boxes_torch(given["boxes_orig"], original)
        if "mask_inputs" in given:
            record["mask_inputs"] = given["mask_inputs"]
        records.append(record)
        found[f"{index}/resized_uint8"] = torch.from_numpy(resized)
        found[f"{index}/preprocessed"] = model.preprocess(record["image"][None])[0]
    preprocessed = torch.stack([found[f"{index}/preprocessed"] for index in range(len(records))])
    found["embeddings"] = model.embed(preprocessed).detach()
    for name, multimask in (("multi", True), ("single", False)):
        for index, answer in enumerate(model(records, multimask)):
            sizes = case.info["images"][index]
            found[f"{index}/{name}/masks"] = answer["masks"].to(torch.uint8)
            found[f"{index}/{name}/iou"] = answer["iou_predictions"]
            found[f"{index}/{name}/low_res"] = answer["low_res_logits"]
            found[f"{index}/{name}/logits"] = model.upscale(
                answer["low_res_logits"], tuple(sizes["resized"]), tuple(sizes["original"])
            )
    return found | run_predictor(case, model)


def run_predictor(case: goldens.Case, model: Sam) -> dict[str, Tensor]:
    """Prompts the image that has the size of the recorded answers, the first if there are several, as noted."""
    height, width = case.tensors["out/predictor/point2/logits"].shape[1:]
    index = [image["original"] for image in case.info["images"]].index([height, width])
    image = case.tensors[f"in/{index}/image_uint8"].numpy()
    predictor = SamPredictor(model)
    predictor.set_image(np.ascontiguousarray(image[..., ::-1]), "BGR")
    swapped = predictor.get_image_embedding()
    predictor.set_image(image)
    found = {"predictor/bgr_features_maxdiff": (swapped - predictor.features).abs().max()[None]}

    def place(text: str) -> float:
        return float(text[:-1]) * {"w": width, "h": height}[text[-1]] if text[-1] in "wh" else float(text)

    [stated] = case.noted(r"predictor/point2: points ((?:\([^)]*\),?)+) multimask")
    prompts = [(place(x), place(y), int(label)) for x, y, label in re.findall(r"\((.+?),(.+?),label (\d)\)", stated)]
    points, labels = np.array([prompt[:2] for prompt in prompts]), np.array([prompt[2] for prompt in prompts])
    first = predictor.predict(points, labels, return_logits=True)
    corners, number = case.noted(r"predictor/box_mask: box \(([^)]*)\) \+ low_res mask index (\d+) of point2, single")
    box = np.array([place(text) for text in corners.split(",")])
    second = predictor.predict(box=box, mask_input=first[2][[int(number)]], multimask_output=False, return_logits=True)
    for name, answer in (("point2", first), ("box_mask", second)):
        for what, values in zip(("logits", "iou", "low_res"), answer, strict=True):
            found[f"predictor/{name}/{what}"] = torch.from_numpy(values)
    return found


@goldens.runner("sam", "transforms")
def run_transforms(case: goldens.Case) -> dict[str, Tensor]:
    given, found = case.group("in"), {}
    image = given["image_uint8"]
    size = (image.shape[0], image.shape[1])
    for (side,) in case.numbers(r"apply_image_(\d+)"):
        transform = ResizeLongestSide(side)
        found[f"apply_image_{side}"] = torch.from_numpy(transform.apply_image(image.numpy()))
        found[f"apply_image_torch_{side}"] = transform.apply_image_torch(image.permute(2, 0, 1)[None].float())
        found[f"coords_{side}_f64"] = torch.from_numpy(transform.apply_coords(given["coords_f64"].numpy(), size))
        found[f"boxes_{side}_f64"] = torch.from_numpy(transform.apply_boxes(given["boxes_f64"].numpy(), size))
    return found


def check_sizes(case: goldens.Case, side: str) -> None:
    """Compares the sizes that images (``720x1280``: height, width) are resized to for a long side."""
    table = case.info["shape_table"][side]
    assert table
    for size, lengths in table.items():
        height, width = map(int, size.split("x"))
        # A side that would vanish keeps one pixel.
        expected = tuple(max(length, 1) for length in lengths)
        assert ResizeLongestSide.get_preprocess_shape(height, width, int(side)) == expected, size
