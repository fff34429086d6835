"""Post-processing: resizing in bands, and the rules of semantic, panoptic and instance results."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from segfoundry.modeling.seem.results import mask_resize
from segfoundry.modeling.seem.results.mask_resize import MaskResizer
from segfoundry.modeling.seem.results.postprocess import PostProcessor, instances, panoptic_map

K = 3
ISTHING = [True, True, False]
ALL = ("semantic", "panoptic", "instance")


def plain_resize(maps, padded, image, output):
    maps = F.interpolate(maps[None], padded, mode="bilinear", align_corners=False)[..., : image[0], : image[1]]
    return F.interpolate(maps, output, mode="bicubic", align_corners=False, antialias=True)[0]


def identity(size):
    return MaskResizer(size, size, size, size)


def class_logits(*choices, strength=9.0):
    """One query per choice, sure of that class; K is background."""
    logits = torch.zeros(len(choices), K + 1)
    logits[torch.arange(len(choices)), torch.tensor(choices)] = strength
    return logits


def mask_logits(rows, strength=6.0):
    """Masks from strings: '#' inside, '.' outside."""
    return (
        torch.tensor([[[1.0 if c == "#" else -1.0 for c in line] for line in mask.split()] for mask in rows]) * strength
    )


@settings(max_examples=60, deadline=None)
@given(
    size=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    crop=st.tuples(st.integers(0, 3), st.integers(0, 3)),
    output=st.tuples(st.integers(2, 60), st.integers(2, 60)),  # torch repeats the first row at an output width of 1
)
def test_resizing_equals_the_three_steps(size, crop, output):
    maps = torch.randn(2, *size, generator=torch.Generator().manual_seed(0))
    padded = (size[0] * 4, size[1] * 4)
    image = (padded[0] - crop[0], padded[1] - crop[1])
    resizer = MaskResizer(size, padded, image, output)
    torch.testing.assert_close(resizer(maps), plain_resize(maps, padded, image, output), atol=2e-5, rtol=1e-4)


def test_bands_cover_the_image_and_do_not_change_results(monkeypatch):
    torch.manual_seed(0)
    logits, masks = torch.randn(1, 6, K + 1) * 3, torch.randn(1, 6, 12, 12) * 4
    for resize_first in (True, False):
        process = PostProcessor(0.3, 0.2, 10, resize_first)

        def run(process=process):
            return process(logits, masks, (48, 48), [(40, 44)], [(57, 61)], ISTHING, ALL)[0]

        whole = run()
        with monkeypatch.context() as m:
            m.setattr(mask_resize, "BAND_VALUES", 1000)
            assert len(list(MaskResizer((12, 12), (48, 48), (40, 44), (57, 61)).bands(9))) == 57
            banded = run()
        assert np.array_equal(whole.semantic, banded.semantic)
        assert np.array_equal(whole.panoptic.ids, banded.panoptic.ids)
        assert np.array_equal(whole.instances.masks, banded.instances.masks)
        np.testing.assert_allclose(whole.instances.scores, banded.instances.scores, rtol=1e-5)


def test_panoptic_splits_things_and_joins_stuff():
    masks = mask_logits(["##.. ....", "..## ....", ".... ##..", ".... ..##"])
    result = panoptic_map(class_logits(0, 0, 2, 2), masks, identity((2, 4)), ISTHING, 0.8, 0.8)
    assert result.ids.tolist() == [[1, 1, 2, 2], [3, 3, 3, 3]]
    assert [(s.id, s.category, s.isthing, s.area) for s in result.segments] == [
        (1, 0, True, 2),
        (2, 0, True, 2),
        (3, 2, False, 4),
    ]
    assert all(s.score > 0.8 for s in result.segments)


def test_panoptic_leaves_out_background_doubtful_and_covered_queries():
    logits = torch.cat([class_logits(0, K, 1), class_logits(1, strength=0.5)])
    masks = mask_logits(["##.. ....", "..## ....", "##.. ....", ".... ####"])
    masks[2] -= 1  # the same pixels as query 0, less sure: wins none of them
    result = panoptic_map(logits, masks, identity((2, 4)), ISTHING, 0.8, 0.8)
    assert result.ids.tolist() == [[1, 1, 0, 0], [0, 0, 0, 0]]
    assert len(result.segments) == 1


def test_panoptic_overlap_threshold():
    masks = mask_logits(["####", "##.."])
    masks[1] += 1  # takes half of query 0
    kept = panoptic_map(class_logits(0, 1), masks, identity((1, 4)), ISTHING, 0.8, 0.5)
    assert kept.ids.tolist() == [[2, 2, 1, 1]]
    dropped = panoptic_map(class_logits(0, 1), masks, identity((1, 4)), ISTHING, 0.8, 0.51)
    assert dropped.ids.tolist() == [[1, 1, 0, 0]]


def test_panoptic_without_a_kept_query_is_empty():
    result = panoptic_map(class_logits(K, K), torch.ones(2, 3, 3), identity((3, 3)), ISTHING, 0.8, 0.8)
    assert result.ids.dtype == np.int32
    assert not result.ids.any()
    assert result.segments == []


def test_instances_are_scored_sorted_and_boxed():
    masks = mask_logits(["..## ..##", "#... ....", ".... ...."])
    result = instances(
        torch.cat([class_logits(1, strength=3.0), class_logits(0, 2)]), masks, identity((2, 4)), 2, ISTHING
    )
    # The two best pairs are query 1 as category 0 and query 2 as category 2, which is stuff.
    assert result.categories.tolist() == [0]
    assert result.masks.tolist() == [[[True, False, False, False], [False] * 4]]
    assert result.boxes.tolist() == [[0.0, 0.0, 1.0, 1.0]]
    expected = torch.tensor([9.0, 0, 0, 0]).softmax(0)[0] * torch.tensor(6.0).sigmoid()
    assert result.scores[0] == pytest.approx(expected.item(), rel=1e-5)


def test_more_detections_than_pairs_are_clamped():
    result = instances(class_logits(0, 1), torch.randn(2, 4, 4), identity((4, 4)), 100)
    assert result.masks.shape == (2 * K, 4, 4)
    assert (np.diff(result.scores) <= 0).all()


def test_only_things_may_leave_nothing():
    result = instances(class_logits(2), torch.ones(1, 4, 4), identity((4, 4)), 1, ISTHING)
    assert result.masks.shape == (0, 4, 4)
    assert result.boxes.shape == (0, 4)


def test_each_image_of_a_batch_gets_its_own_size_and_only_the_tasks_asked_for():
    torch.manual_seed(0)
    sizes = [(31, 40), (50, 20)]
    results = PostProcessor()(
        torch.randn(2, 5, K + 1), torch.randn(2, 5, 8, 8), (32, 32), [(32, 30), (20, 32)], sizes, ISTHING, ["semantic"]
    )
    assert [r.semantic.shape for r in results] == sizes
    assert all(r.panoptic is None and r.instances is None for r in results)
    assert all(r.semantic.dtype == np.int64 and r.semantic.max() < K for r in results)


def test_half_precision_logits_are_promoted():
    torch.manual_seed(0)
    logits, masks = torch.randn(1, 5, K + 1).bfloat16(), torch.randn(1, 5, 8, 8).bfloat16()
    arguments = ((32, 32), [(32, 30)], [(20, 20)], ISTHING, ALL)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        low = PostProcessor(0.2)(logits, masks, *arguments)[0]
    high = PostProcessor(0.2)(logits.float(), masks.float(), *arguments)[0]
    assert np.array_equal(low.semantic, high.semantic)
    assert np.array_equal(low.panoptic.ids, high.panoptic.ids)
    assert low.instances.scores.dtype == np.float32
