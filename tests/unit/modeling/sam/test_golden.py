"""SAM's prompt encoder, mask decoder, whole network, predictor and transforms against recorded tensors."""

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
import torch

from segfoundry.modeling.sam import SamPredictor, sam_model_registry
from segfoundry.modeling.sam.transforms import ResizeLongestSide

from ....support import goldens
from ....support.formula_weights import formula_image, formula_state
from ....support.tiny_sam import recorded_sam


@goldens.runner("sam", "prompt_encoder")
def run_prompt_encoder(case):
    encoder = case.load_into(recorded_sam(case.config).prompt_encoder)
    points, labels, boxes, masks = (case.tensors[f"in/{name}"] for name in ("points", "labels", "boxes", "masks"))
    found = {"dense_pe": encoder.dense_pe()}
    for name, prompts in {
        "none": {},
        "points": {"points": points, "labels": labels},
        "boxes": {"boxes": boxes},
        "points_boxes": {"points": points, "labels": labels, "boxes": boxes},
        "masks": {"masks": masks},
        "points_masks": {"points": points, "labels": labels, "masks": masks},
        "all": {"points": points, "labels": labels, "boxes": boxes, "masks": masks},
    }.items():
        sparse, dense = encoder(**prompts)
        size = case.tensors[f"out/{name}/dense"].shape
        found[f"{name}/dense"] = dense.expand(size)
        if sparse is not None:
            found[f"{name}/sparse"] = sparse
    return found


def decoder_inputs(case):
    return (case.tensors[f"in/{name}"] for name in ("image_embeddings", "image_pe", "sparse", "dense"))


@goldens.runner("sam", "mask_decoder")
def run_mask_decoder(case):
    # In float64: the order in which a processor sums is then no part of the difference.
    decoder = case.load_into(recorded_sam(case.config).mask_decoder).double()
    image, pe, sparse, dense = (x.double() for x in decoder_inputs(case))
    found = {}
    with torch.no_grad():
        cells, places = (x.flatten(2).transpose(1, 2) for x in (image + dense, pe))
        found["transformer/queries"], found["transformer/keys"] = decoder.transformer(cells, places, sparse)
        for name, inputs in {
            "multi": (image, pe, sparse, dense, True),
            "single": (image, pe, sparse, dense, False),
            "batched": (case.tensors["in/image_embeddings_batch"].double(), pe, sparse, dense, False),
            "noprompt": (image, pe, None, dense[:1], False),
        }.items():
            found[f"{name}/masks"], found[f"{name}/iou"] = decoder(*inputs)
    return {name: value.float() for name, value in found.items()}


def test_gradients_of_the_decoder_are_the_recorded_ones():
    case = goldens.Case("sam", "mask_decoder", goldens.DEFAULT_FOLDER / "sam" / "mask_decoder.json")
    decoder = case.load_into(recorded_sam(case.config).mask_decoder)
    masks, _ = decoder(*decoder_inputs(case), False)
    (masks * case.tensors["in/grad_masks"]).sum().backward()
    for name, expected in case.group("grad").items():
        # In float64 the recorded gradients differ by 2e-5 of the maximum.
        goldens.assert_close(decoder.get_parameter(name).grad, expected, 5e-5, name)


@goldens.runner("sam", "sam_full")
def run_whole_network(case):
    model = case.load_into(recorded_sam(case.config))
    transform = ResizeLongestSide(model.image_size)
    records, found = [], {}
    for index, sizes in enumerate(case.info["images"]):
        given, original = case.group(f"in/{index}"), tuple(sizes["original"])
        resized = transform.apply_image(given["image_uint8"].numpy())
        record = {"image": torch.from_numpy(resized).permute(2, 0, 1), "original_size": original}
        record["point_coords"] = transform.apply_coords_torch(given["point_coords_orig"], original)
        record["point_labels"] = given["point_labels"]
        if "boxes_orig" in given:
            record["boxes"] = transform.apply_boxes_torch(given["boxes_orig"], original)
            record["mask_inputs"] = given["mask_inputs"]
        records.append(record)
        found[f"{index}/resized_uint8"] = torch.from_numpy(resized)
        found[f"{index}/preprocessed"] = model.preprocess(record["image"][None])[0]
    found["embeddings"] = model.embed(torch.stack([found["0/preprocessed"], found["1/preprocessed"]])).detach()
    for name, multimask in (("multi", True), ("single", False)):
        for index, answer in enumerate(model(records, multimask)):
            sizes = case.info["images"][index]
            found[f"{index}/{name}/masks"] = answer["masks"].to(torch.uint8)
            found[f"{index}/{name}/iou"] = answer["iou_predictions"]
            found[f"{index}/{name}/low_res"] = answer["low_res_logits"]
            found[f"{index}/{name}/logits"] = model.upscale(
                answer["low_res_logits"], tuple(sizes["resized"]), tuple(sizes["original"])
            )
    return found | run_predictor(model, case.tensors["in/0/image_uint8"].numpy())


def run_predictor(model, image):
    predictor = SamPredictor(model)
    predictor.set_image(np.ascontiguousarray(image[..., ::-1]), "BGR")
    swapped = predictor.get_image_embedding()
    predictor.set_image(image)
    found = {"predictor/bgr_features_maxdiff": (swapped - predictor.features).abs().max()[None]}
    height, width = image.shape[:2]
    points, labels = np.array([[0.3 * width, 0.4 * height], [0.8 * width, 0.9 * height]]), np.array([1, 0])
    first = predictor.predict(points, labels, return_logits=True)
    box = np.array([2, 3, 0.7 * width, 0.9 * height])
    second = predictor.predict(box=box, mask_input=first[2][1:2], multimask_output=False, return_logits=True)
    for name, answer in (("point2", first), ("box_mask", second)):
        for what, values in zip(("logits", "iou", "low_res"), answer, strict=True):
            found[f"predictor/{name}/{what}"] = torch.from_numpy(values)
    return found


@goldens.runner("sam", "transforms")
def run_transforms(case):
    given, found = case.group("in"), {}
    image = given["image_uint8"]
    size = (image.shape[0], image.shape[1])
    for side in (64, 120):
        transform = ResizeLongestSide(side)
        found[f"apply_image_{side}"] = torch.from_numpy(transform.apply_image(image.numpy()))
        found[f"apply_image_torch_{side}"] = transform.apply_image_torch(image.permute(2, 0, 1)[None].float())
        found[f"coords_{side}_f64"] = torch.from_numpy(transform.apply_coords(given["coords_f64"].numpy(), size))
        found[f"boxes_{side}_f64"] = torch.from_numpy(transform.apply_boxes(given["boxes_f64"].numpy(), size))
    return found


@goldens.runner("sam", "full_formula_*")
def run_full_size(case):
    """The whole published pipeline at full size: a file on the disk, strict loading, an image, prompts."""
    kind = case.name.removeprefix("full_formula_")
    with TemporaryDirectory() as folder:
        file = Path(folder) / f"{kind}.pth"
        torch.save(formula_state(sam_model_registry[kind]()), file)
        model = sam_model_registry[kind](checkpoint=file)
        predictor = SamPredictor(model)
        predictor.set_image(formula_image(*case.info["image"]["size_hw"]))
    features = predictor.get_image_embedding()
    found = {
        "embedding_slice": features[:, ::8, ::8, ::8],
        "embedding_channel_mean": features.mean((2, 3)),
        "embedding_channel_std": features.std((2, 3)),
    }
    for name, prompt in case.info["prompts"].items():
        arrays = {key: np.array(value) for key, value in prompt.items()}
        for kind, multimask in (("multi", True), ("single", False)):
            logits, iou, low_res = predictor.predict(**arrays, multimask_output=multimask, return_logits=True)
            found[f"{name}/{kind}/iou"] = torch.from_numpy(iou)
            found[f"{name}/{kind}/low_res_slice"] = torch.from_numpy(low_res[:, ::8, ::8])
            found[f"{name}/{kind}/logits_slice"] = torch.from_numpy(logits[:, ::40, ::40])
            found[f"{name}/{kind}/positive_pixels"] = torch.from_numpy((logits > 0).sum((1, 2)))
    box = torch.tensor([[0.0, 0.0, 1024.0, 1024.0]])
    with torch.no_grad():
        low_res, found["dlo_box/iou"] = model.predict_masks(features, boxes=box, multimask=False)
    found["dlo_box/low_res_slice"] = low_res[..., ::8, ::8]
    return found


@goldens.parametrize("sam", {}, ("prompt_encoder", "mask_decoder", "sam_full", "transforms"))
def test_output(case, output):
    goldens.check(case, output)


@pytest.mark.slow
@goldens.parametrize("sam", {}, ("full_formula_*",))
def test_output_at_full_size(case, output):
    goldens.check(case, output)
