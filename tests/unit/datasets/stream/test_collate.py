"""Stacking samples."""

import numpy as np
import pytest
import torch

from segfoundry.datasets.stream.collate import collate
from segfoundry.utils.structures.samples import Sample, SpatialTargets, Targets, TextTargets


def sample(height, width, masks=2, index=0):
    image = np.full((height, width, 3), 7, np.uint8)
    image[..., 1] = 8
    targets = None if masks is None else Targets(np.ones((masks, height, width), bool), np.arange(masks))
    return Sample(image, index, index, "f", (height, width), targets)


def test_images_and_masks_are_padded_at_the_right_and_bottom():
    batch = collate([sample(4, 6), sample(5, 3, masks=0)], positions=[6, 7])
    assert batch.images.shape == (2, 3, 5, 6) and batch.images.dtype == torch.uint8
    assert batch.images[0, :, :4].float().mean((1, 2)).tolist() == [7, 8, 7]
    assert not batch.images[0, :, 4:].any() and not batch.images[1, :, :, 3:].any()
    assert batch.image_sizes == [(4, 6), (5, 3)] and batch.positions == [6, 7]
    assert batch.targets[0].masks.shape == (2, 5, 6) and batch.targets[0].masks.dtype == torch.bool
    assert batch.targets[0].masks.sum() == 2 * 24 and not batch.targets[0].masks[:, 4:].any()
    assert batch.targets[1].masks.shape == (0, 5, 6) and batch.targets[1].labels.dtype == torch.int64
    assert len(batch) == 2 and all(s.image.size == 0 and s.targets is None for s in batch.samples)


def test_samples_stay_untouched_and_positions_count_up():
    one = sample(4, 4)
    batch = collate([one, sample(4, 4)])
    assert one.image.size and one.targets is not None and batch.positions == [0, 1]


def test_without_ground_truth_there_are_no_targets():
    assert collate([sample(4, 4, masks=None)]).targets is None
    with pytest.raises(ValueError, match="some have none"):
        collate([sample(4, 4), sample(4, 4, masks=None)])


def test_prompts_are_padded_and_the_flag_travels():
    one, two = sample(4, 6, masks=0), sample(5, 3, masks=1)
    mask = np.ones((1, 4, 6), bool)
    one.targets.spatial, one.targets.texts = SpatialTargets(mask, mask), TextTargets(["a cup"], mask, "class")
    one.targets.labelled = False
    batch = collate([one, two])
    spatial, texts = batch.targets[0].spatial, batch.targets[0].texts
    for tensor in (spatial.masks, spatial.strokes, texts.masks):
        assert tensor.shape == (1, 5, 6) and tensor.dtype == torch.bool and tensor.sum() == 24
    assert (texts.texts, texts.kind) == (["a cup"], "class")
    assert [t.labelled for t in batch.targets] == [False, True] and batch.targets[1].spatial is None
    moved = batch.to("cpu")
    assert moved.targets[0].texts.kind == "class" and not moved.targets[0].labelled
