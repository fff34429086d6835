"""COCO panoptic PNG and JSON."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from PIL import Image

from segfoundry.datasets.formats.panoptic import (
    check_ids,
    id_to_rgb,
    read_panoptic_json,
    read_panoptic_png,
    rgb_to_id,
    segment_stats,
    write_panoptic_png,
)
from segfoundry.utils.errors import DataError

from ....support.data_sets import SAMPLE

needs_sample = pytest.mark.skipif(not SAMPLE.is_dir(), reason="no sample data (SEGFOUNDRY_DATA)")


@given(arrays(np.int32, array_shapes(min_dims=2, max_dims=2), elements=st.integers(0, 0xFFFFFF)))
def test_ids_and_colours_are_one_to_one(ids):
    rgb = id_to_rgb(ids)
    assert rgb.dtype == np.uint8
    np.testing.assert_array_equal(rgb_to_id(rgb), ids)


def test_id_formula():
    assert rgb_to_id(np.array([3, 2, 1], np.uint8)) == 3 + 256 * 2 + 65536
    np.testing.assert_array_equal(id_to_rgb(0xFFFFFF), [255, 255, 255])
    with pytest.raises(ValueError, match="16777215"):
        id_to_rgb(np.array([[0x1000000]]))


@given(arrays(np.int32, st.tuples(st.integers(1, 12), st.integers(1, 12)), elements=st.integers(0, 3)))
def test_stats_equal_a_plain_count(ids):
    stats = segment_stats(ids)
    assert list(stats) == sorted(set(ids.ravel().tolist()))
    for value, (area, (x, y, w, h)) in stats.items():
        rows, columns = np.nonzero(ids == value)
        assert area == len(rows)
        assert (x, y, x + w, y + h) == (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)


def test_png_round_trip(tmp_path):
    ids = np.array([[0, 1, 256], [65536, 0xFFFFFF, 7]])
    write_panoptic_png(tmp_path / "a.png", ids)
    np.testing.assert_array_equal(read_panoptic_png(tmp_path / "a.png"), ids)


def test_grey_png_is_refused_but_black_is_all_void(tmp_path):
    Image.fromarray(np.full((4, 4), 5, np.uint8)).save(tmp_path / "grey.png")
    with pytest.raises(DataError, match="grey picture.*semantic"):
        read_panoptic_png(tmp_path / "grey.png")
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(tmp_path / "black.png")
    assert not read_panoptic_png(tmp_path / "black.png").any()


def test_palette_png_is_read_by_colour(tmp_path):
    ids = np.array([[0, 3 + 256 * 9], [70000, 70000]])
    Image.fromarray(id_to_rgb(ids)).quantize(8).save(tmp_path / "p.png")
    np.testing.assert_array_equal(read_panoptic_png(tmp_path / "p.png"), ids)


def test_check_ids_names_both_sides(tmp_path):
    check_ids([0, 1, 2], [1, 2], tmp_path / "a.png", tmp_path / "p.json")
    with pytest.raises(DataError, match=r"1 ids of the PNG are missing.*\(3\).*1 ids of .*p.json.*\(9\)"):
        check_ids([0, 1, 3], [1, 9], tmp_path / "a.png", tmp_path / "p.json")


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("", "empty"),
        ("<!DOCTYPE html><html>", "web page"),
        ("{", "not valid JSON"),
        ('{"images": []}', "annotations"),
        ('{"annotations": [{"image_id": 1, "segmentation": []}]}', "detection2panoptic"),
        ('{"annotations": [{"image_id": 1, "segments_info": []}]}', "file_name"),
        ('{"annotations": [{"image_id": 1, "file_name": "a.png", "segments_info": [{"category_id": 1}]}]}', "`id`"),
        ('{"images": [{"file_name": "a"}], "annotations": []}', "images"),
    ],
)
def test_json_of_another_kind(tmp_path, content, text):
    (tmp_path / "p.json").write_text(content)
    with pytest.raises(DataError, match=text):
        read_panoptic_json(tmp_path / "p.json")


@needs_sample
def test_coco_sample_areas_and_boxes():
    data = read_panoptic_json(SAMPLE / "gt.json", categories=True)
    for annotation in data["annotations"]:
        stats = segment_stats(read_panoptic_png(SAMPLE / "gt" / annotation["file_name"]))
        assert set(stats) - {0} == {s["id"] for s in annotation["segments_info"]}
        for segment in annotation["segments_info"]:
            assert stats[segment["id"]].area == segment["area"]
            assert list(stats[segment["id"]].bbox) == segment["bbox"]


@pytest.mark.interop
@needs_sample
def test_same_ids_as_panopticapi():
    utils = pytest.importorskip("panopticapi.utils")
    for path in sorted((SAMPLE / "gt").glob("*.png")):
        color = np.asarray(Image.open(path))
        np.testing.assert_array_equal(read_panoptic_png(path), utils.rgb2id(color))
        np.testing.assert_array_equal(id_to_rgb(read_panoptic_png(path)), utils.id2rgb(utils.rgb2id(color)))
    assert json.loads((SAMPLE / "gt.json").read_text())["annotations"]
