"""SamPredictor's interface; its numbers are compared in test_golden.py."""

import numpy as np
import pytest
import torch

from segfoundry.modeling.sam import SamPredictor

from .....support.tiny_sam import TINY, recorded_sam


@pytest.fixture
def predictor():
    torch.manual_seed(0)
    return SamPredictor(recorded_sam(TINY).eval())


@pytest.fixture
def image():
    return np.random.default_rng(0).integers(0, 256, (37, 61, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    "ask",
    [
        lambda p: p.predict(np.ones((1, 2)), np.ones(1)),
        lambda p: p.predict_torch(torch.ones(1, 1, 2), torch.ones(1, 1)),
        lambda p: p.get_image_embedding(),
    ],
    ids=["predict", "predict_torch", "get_image_embedding"],
)
def test_an_image_comes_first(predictor, image, ask):
    with pytest.raises(RuntimeError, match="set_image"):
        ask(predictor)
    predictor.set_image(image)
    ask(predictor)
    predictor.reset_image()
    assert not predictor.is_image_set
    with pytest.raises(RuntimeError, match="set_image"):
        ask(predictor)


@pytest.mark.parametrize(("multimask", "count"), [(True, 3), (False, 1)])
def test_shapes_and_types(predictor, image, multimask, count):
    predictor.set_image(image)
    masks, iou, low_res = predictor.predict(np.array([[30, 20]]), np.array([1]), multimask_output=multimask)
    assert masks.shape == (count, 37, 61) and masks.dtype == bool
    assert iou.shape == (count,) and low_res.shape == (count, 32, 32)
    logits, _, again = predictor.predict(
        np.array([[30, 20]]), np.array([1]), multimask_output=multimask, return_logits=True
    )
    assert np.array_equal(logits > 0, masks) and np.array_equal(again, low_res)
    assert predictor.get_image_embedding().shape == (1, 16, 8, 8)
    assert predictor.original_size == (37, 61) and predictor.input_size == (39, 64)


def test_prompts_of_a_batch_equal_single_ones(predictor, image):
    predictor.set_image(image)
    boxes = np.array([[2, 3, 40, 30], [10, 5, 60, 36]], float)
    transformed = torch.from_numpy(predictor.transform.apply_boxes(boxes, predictor.original_size)).float()
    _, _, together = predictor.predict_torch(None, None, boxes=transformed, multimask_output=False)
    for place, box in enumerate(boxes):
        _, _, alone = predictor.predict(box=box, multimask_output=False)
        np.testing.assert_allclose(together[place].numpy(), alone, rtol=1e-4, atol=1e-4)


def test_points_and_labels_come_together(predictor, image):
    predictor.set_image(image)
    for arguments in ((np.ones((1, 2)), None), (None, np.ones(1))):
        with pytest.raises(ValueError, match="come together"):
            predictor.predict(*arguments)


def test_unknown_labels_are_refused(predictor, image):
    predictor.set_image(image)
    with pytest.raises(ValueError, match="expected 1"):
        predictor.predict(np.ones((1, 2)), np.array([5]))


def test_several_boxes_are_another_method(predictor, image):
    predictor.set_image(image)
    with pytest.raises(ValueError, match="four numbers"):
        predictor.predict(box=np.ones((2, 4)))


@pytest.mark.parametrize(
    ("wrong", "order", "message"),
    [
        ("photo.jpg", "RGB", "of type str, expected an array"),
        (np.zeros((8, 8), np.uint8), "RGB", "expected uint8"),
        (np.zeros((0, 8, 3), np.uint8), "RGB", "expected uint8"),
        (np.zeros((8, 8, 3), np.float32), "RGB", "expected uint8"),
        (np.zeros((8, 8, 3), np.uint8), "HSV", "'HSV', expected 'RGB' or 'BGR'"),
    ],
)
def test_images_of_another_kind_are_refused(predictor, wrong, order, message):
    with pytest.raises(ValueError, match=message):
        predictor.set_image(wrong, order)


def test_a_tensor_must_be_resized_already(predictor):
    with pytest.raises(ValueError, match="long side of 64"):
        predictor.set_torch_image(torch.zeros(1, 3, 30, 60), (60, 120))
    predictor.set_torch_image(torch.zeros(1, 3, 32, 64), (60, 120))
    assert predictor.is_image_set
