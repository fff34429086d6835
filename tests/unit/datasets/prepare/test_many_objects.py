"""Many objects in an image: the results of drawing each of them, at the cost of what they cover."""

import json
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as codec
from scipy import ndimage

from segfoundry.datasets.formats.color_table import VOID_INDEX, parse_color_table
from segfoundry.datasets.formats.detection import encode_mask, mask_box
from segfoundry.datasets.formats.grounding import outermost_places
from segfoundry.datasets.formats.panoptic import read_panoptic_png, segment_stats, write_panoptic_png
from segfoundry.datasets.formats.segmentation import decode_mask
from segfoundry.datasets.prepare.color_masks import MaskRules, segment_mask
from segfoundry.datasets.prepare.from_panoptic import panoptic_to_detection
from segfoundry.datasets.prepare.segment_ids import SegmentIds
from segfoundry.datasets.prepare.spooled_results import SpooledResults
from segfoundry.datasets.prepare.to_panoptic import ConvertOptions, detection_to_panoptic
from segfoundry.utils.errors import DataError
from segfoundry.utils.structures.category import Category

OPTIONS = ConvertOptions(workers=1, force=True)
COLORS = ((0, 0, 0), (120, 120, 120), (220, 20, 60), (220, 21, 60), (10, 250, 0))
TABLE = parse_color_table(
    {
        "ignore_color": [0, 0, 0],
        "categories": [
            {"name": "wall", "color": [120, 120, 120], "isthing": False},
            {"name": "cup", "color": [220, 20, 60], "shades": [[220, 21, 60]], "isthing": True},
            {"name": "leaf", "color": [10, 250, 0], "isthing": True, "instances": "component"},
        ],
    },
    "table",
)
CATEGORIES = (
    Category(1, "cup", True, (220, 20, 60)),
    Category(2, "leaf", True, (10, 250, 0)),
    Category(3, "wall", False, (120, 120, 120)),
)
seeds = st.integers(0, 2**32 - 1)


def drawn_one_by_one(mask, rules):
    """Segments of a colour mask by one full-size mask each: ids, category indices, segments, number dropped."""
    packed = mask.astype(np.int32) @ np.array([1, 256, 65536])
    meaning, shade = TABLE.assign(mask.reshape(-1, 3))
    semantic, exact = meaning.reshape(packed.shape), shade.reshape(packed.shape)
    new_ids, ids = SegmentIds(TABLE.categories, 0, "a"), np.zeros(packed.shape, np.int32)
    segments, dropped = [], 0
    for index in np.unique(semantic[semantic != VOID_INDEX]).tolist():
        where, thing = semantic == index, TABLE.categories[index].isthing
        if not thing:
            parts = [where]
        elif (TABLE.codings[index].instances or rules.instances) == "color":
            found, first = np.unique(exact[where], return_index=True)
            parts = [where & (exact == color) for color in found[np.argsort(first)]]
        else:
            labels, count = ndimage.label(where, structure=np.ones((3, 3)))
            parts = [labels == number for number in range(1, count + 1)]
        for part in parts:
            if thing and part.sum() < rules.min_area:
                dropped += 1
                semantic[part] = VOID_INDEX
                continue
            ids[part] = new_ids.take(index)
            segments.append(
                {"id": int(ids[part][0]), "category": index, "area": int(part.sum()), "bbox": mask_box(part)}
                | {"iscrowd": 0}
            )
    return ids, semantic, segments, dropped


@settings(max_examples=60, deadline=None)
@given(seeds, st.integers(1, 24), st.integers(1, 24), st.sampled_from(["component", "color"]), st.integers(0, 4))
def test_a_colour_mask_is_split_as_with_a_mask_per_segment(seed, height, width, instances, min_area):
    rng = np.random.default_rng(seed)
    small = rng.integers(0, len(COLORS), (height, width))
    mask = np.array(COLORS, np.uint8)[small if seed % 2 else ndimage.median_filter(small, 3)]
    rules = MaskRules(instances, min_area)
    found = segment_mask(mask, TABLE, rules, SegmentIds(TABLE.categories, 0, "a"))
    ids, semantic, segments, dropped = drawn_one_by_one(mask, rules)
    np.testing.assert_array_equal(found.ids, ids)
    np.testing.assert_array_equal(found.semantic, semantic)
    assert found.ids.dtype == np.int32 and (found.segments, found.dropped) == (segments, dropped)


def center(box):
    return box[0] + box[2] / 2, box[1] + box[3] / 2


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(*[st.integers(0, 6)] * 2, *[st.integers(1, 4)] * 2), max_size=6))
def test_a_place_is_said_where_no_other_centre_is_as_far_out(boxes):
    places = outermost_places(boxes)
    for number, box in enumerate(boxes):
        x, y = center(box)
        xs, ys = zip(*[center(b) for i, b in enumerate(boxes) if i != number], strict=True) if boxes[1:] else ((), ())
        said = [
            ("on the left", all(x < v for v in xs)),
            ("on the right", all(x > v for v in xs)),
            ("at the top", all(y < v for v in ys)),
            ("at the bottom", all(y > v for v in ys)),
        ]
        first = next((word for word, true in said if true), "")
        assert places[number] == (first if boxes[1:] else "")


def random_annotations(rng, height, width, count):
    """Polygons inside and across the border, run-length masks of both kinds, crowds, stuff, nothing at all."""
    rows = []
    for number in range(1, count + 1):
        kind = rng.integers(4)
        points = rng.uniform(-3, max(height, width) + 3, 2 * rng.integers(3, 6)).round(1).tolist()
        mask = rng.random((height, width)) < rng.choice([0.02, 0.3])
        runs = codec.encode(np.asfortranarray(mask, np.uint8))
        if kind == 0:
            segmentation = [points, [v + 2 for v in points]]
        elif kind == 1:
            segmentation = {"size": [height, width], "counts": runs["counts"].decode()}
        elif kind == 2:
            lengths = np.diff(np.flatnonzero(np.diff(mask.T.ravel(), prepend=0, append=2)), prepend=0).tolist()
            segmentation = {"size": [height, width], "counts": lengths}
        else:
            segmentation = []
        rows.append(
            {"id": number, "image_id": 1, "category_id": int(rng.integers(1, 4)), "segmentation": segmentation}
            | {"iscrowd": int(rng.random() < 0.3), "score": float(rng.choice([0.2, 0.5, 0.9]))}
        )
    return rows


def merged_one_by_one(annotations, stuff, height, width, overlap):
    """The map that one full-size mask per annotation gives; None where things overlap and may not."""
    layers = []
    new_ids = SegmentIds(CATEGORIES, 0, "a.png")
    for number, row in enumerate((*stuff, *annotations)):
        mask = decode_mask(row["segmentation"], height, width)
        crowd = bool(row["iscrowd"]) and CATEGORIES[row["category_id"] - 1].isthing
        level = 0 if number < len(stuff) else 1 if crowd else 2
        rank = {"area": -mask.sum(), "score": row["score"]}.get(overlap, 0) if level == 2 else 0
        layers.append((level, rank, number, new_ids.take(row["category_id"] - 1), mask, row["category_id"], crowd))
    covered = sum((layer[4].astype(int) for layer in layers if layer[2] >= len(stuff) and layer[0] == 2), 0)
    if overlap == "error" and np.any(covered > 1):
        return None
    ids, about = np.zeros((height, width), np.int32), {}
    for _, _, _, segment, mask, category, crowd in sorted(layers, key=lambda layer: layer[:3]):
        ids[mask] = segment
        about[segment] = (category, int(crowd))
    stats = segment_stats(ids)
    segments = [
        {"id": s, "category_id": c, "area": stats[s].area, "bbox": list(stats[s].bbox), "iscrowd": crowd}
        for s, (c, crowd) in about.items()
        if s in stats
    ]
    rows = (*stuff, *annotations)
    lost_parts = [n for _, _, n, s, mask, _, _ in layers if s in stats and rows[n]["segmentation"] and not mask.any()]
    return ids, segments, len(about) - len(segments) + len(lost_parts)


@settings(max_examples=40, deadline=None)
@given(
    seeds, st.integers(2, 20), st.integers(2, 20), st.integers(1, 6), st.sampled_from("error area score order".split())
)
def test_instances_are_laid_over_each_other_as_with_a_mask_each(tmp_path_factory, seed, height, width, count, overlap):
    rng = np.random.default_rng(seed)
    folder = tmp_path_factory.mktemp("merge")
    head = {"images": [{"id": 1, "file_name": "a.jpg", "height": height, "width": width}], "categories": []}
    rows, stuff = random_annotations(rng, height, width, count), random_annotations(rng, height, width, seed % 3)
    (folder / "d.json").write_text(json.dumps(head | {"annotations": rows}))
    (folder / "s.json").write_text(json.dumps(head | {"annotations": stuff}))
    expected = merged_one_by_one(rows, stuff, height, width, overlap)
    given = (folder / "d.json", folder / "out.json", folder / "out", OPTIONS)
    more = {"stuff_json": folder / "s.json", "categories": CATEGORIES, "overlap": overlap}
    if expected is None:
        with pytest.raises(DataError, match="overlap in"):
            detection_to_panoptic(*given, **more)
        return
    if not expected[1]:
        with pytest.raises(DataError, match="nothing would be left"):
            detection_to_panoptic(*given, **more)
        return
    hidden = len(detection_to_panoptic(*given, **more))
    (annotation,) = json.loads((folder / "out.json").read_text())["annotations"]
    np.testing.assert_array_equal(read_panoptic_png(folder / "out" / "a.png"), expected[0])
    assert (annotation["segments_info"], hidden) == expected[1:]


@settings(max_examples=30, deadline=None)
@given(seeds, st.integers(1, 15), st.integers(1, 15))
def test_segments_become_the_codes_of_their_masks(tmp_path_factory, seed, height, width):
    folder = tmp_path_factory.mktemp("codes")
    ids = np.random.default_rng(seed).integers(0, 5, (height, width))
    write_panoptic_png(folder / "p" / "a.png", ids)
    segments = [{"id": i, "category_id": 1 + i % 3} for i in np.unique(ids[ids > 0]).tolist()]
    categories = [{"id": c.id, "name": c.name, "color": c.color, "isthing": int(c.isthing)} for c in CATEGORIES]
    data = {"images": [], "annotations": [{"image_id": 1, "file_name": "a.png", "segments_info": segments}]}
    (folder / "p.json").write_text(json.dumps(data | {"categories": categories}))
    panoptic_to_detection(folder / "p.json", folder / "p", folder / "d.json", OPTIONS)
    rows = json.loads((folder / "d.json").read_text())["annotations"]
    masks = [ids == segment["id"] for segment in segments]
    assert [row["segmentation"] for row in rows] == [encode_mask(mask) for mask in masks]
    assert [row["bbox"] for row in rows] == [mask_box(mask) for mask in masks]


def peak(function, *arguments):
    """Returns the bytes that a call holds at most, numpy's arrays among them."""
    tracemalloc.start()
    try:
        function(*arguments)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_memory_is_that_of_the_picture_not_of_its_objects(tmp_path):
    """A mask per object would take 400 bytes a pixel here."""
    side = 600
    mask = np.zeros((side, side, 3), np.uint8)
    mask[:] = COLORS[1]
    mask.reshape(20, 30, 20, 30, 3)[:, 5:20, :, 5:20] = COLORS[2]
    ids = SegmentIds(TABLE.categories, 0, "a")
    assert peak(segment_mask, mask, TABLE, MaskRules(), ids) < 80 * side**2

    squares = [[x, y, x + 10, y, x + 10, y + 10, x, y + 10] for y in range(0, side, 30) for x in range(0, side, 30)]
    rows = [
        {"id": i, "image_id": 1, "category_id": 1, "segmentation": [square], "iscrowd": 0}
        for i, square in enumerate(squares)
    ]
    head = {"images": [{"id": 1, "file_name": "a.jpg", "height": side, "width": side}], "categories": []}
    (tmp_path / "d.json").write_text(json.dumps(head | {"annotations": rows}))
    into: tuple[Path, ...] = (tmp_path / "out.json", tmp_path / "out")

    def convert():
        detection_to_panoptic(tmp_path / "d.json", *into, OPTIONS, categories=CATEGORIES)

    assert peak(convert) < 80 * side**2
    assert len(json.loads(into[0].read_text())["annotations"][0]["segments_info"]) == len(squares) == 400


def test_results_wait_on_the_disk_until_they_are_read(tmp_path):
    with SpooledResults(tmp_path / "s") as results:
        for number in range(3):
            results.append({"row": [number]})
        assert len(results) == 3
        assert list(results) == list(results) == [{"row": [0]}, {"row": [1]}, {"row": [2]}]
    assert list((tmp_path / "s").iterdir()) == []
