"""The embedded data set."""

import numpy as np
import pytest

from segfoundry.datasets.embedded.scenes import THING_COLORS, draw_scene, prepare_scenes
from segfoundry.datasets.prepare.prepare_dataset import PrepareOptions
from segfoundry.datasets.records.catalog import find_record
from segfoundry.datasets.records.list_items import list_items
from segfoundry.datasets.validate.validate_record import validate_record
from segfoundry.utils.image_io import read_image


def test_a_scene_depends_on_seed_and_number_only():
    one = draw_scene(3, 5)
    np.testing.assert_array_equal(one.image, draw_scene(3, 5).image)
    np.testing.assert_array_equal(one.mask, draw_scene(3, 5).mask)
    assert not np.array_equal(one.mask, draw_scene(3, 6).mask) and not np.array_equal(one.mask, draw_scene(4, 5).mask)
    assert one.image.shape == one.mask.shape and one.image.dtype == np.uint8


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scenes") / "scenes"
    prepare_scenes(folder, PrepareOptions(workers=0), train=15, val=5)
    return find_record(str(folder), "train")


def test_counts_and_sizes(scenes):
    record, split = scenes
    items = list_items(record, split)
    assert len(items) == 15 and len(list_items(record, record.splits["val"])) == 5
    assert [c.isthing for c in record.categories] == [False] * 4 + [True] * 4
    for item in items:
        things = [s for s in item.segments if s.isthing]
        assert 2 <= len(things) <= 6 and min(s.area for s in things) >= 200
    assert {s.category for item in items for s in item.segments} == set(range(8))


def test_it_passes_its_own_validation(scenes):
    record, _ = scenes
    result = validate_record(record, list(record.splits.values()), workers=0)
    assert result.ok and {f.kind.level for f in result.findings} <= {"note"}


def test_things_are_told_apart_by_colour(scenes):
    """A tiny model can learn them: the mean colour alone names most things."""
    record, _ = scenes
    from segfoundry.datasets.formats.panoptic import read_panoptic_png

    means = []
    for item in list_items(record, record.splits["train"]):
        image, ids = read_image(item.image), read_panoptic_png(item.panoptic)
        means += [(s.category, image[ids == s.id].mean(axis=0)) for s in item.segments if s.isthing]
    labels, colors = np.array([c for c, _ in means]), np.stack([m for _, m in means])
    centers = np.stack([colors[labels == c].mean(axis=0) for c in range(4, 4 + len(THING_COLORS))])
    nearest = ((colors[:, None] - centers) ** 2).sum(axis=-1).argmin(axis=1) + 4
    assert (nearest == labels).mean() > 0.9
