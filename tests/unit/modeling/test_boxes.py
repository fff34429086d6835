"""Bounding boxes of masks."""

import torch

from segfoundry.modeling.boxes import tensor_mask_boxes


def test_boxes_of_masks():
    masks = torch.zeros(3, 5, 6, dtype=torch.bool)
    masks[0, 1:3, 2:6] = True
    masks[2, 4, 0] = True
    assert tensor_mask_boxes(masks).tolist() == [[2, 1, 6, 3], [0, 0, 0, 0], [0, 4, 1, 5]]


def test_no_mask_has_no_box():
    assert tensor_mask_boxes(torch.zeros(0, 5, 6, dtype=torch.bool)).shape == (0, 4)
