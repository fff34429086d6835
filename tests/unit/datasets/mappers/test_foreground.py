"""Samples with a foreground: as recorded from the published training, and put together with backgrounds."""

import json
from dataclasses import replace

import numpy as np
import pytest

from segfoundry.datasets.pipelines.base import find_pipeline
from segfoundry.datasets.records.catalog import find_record
from segfoundry.datasets.records.image_item import Composite, ImageItem
from segfoundry.datasets.records.list_items import list_items
from segfoundry.utils.errors import ConfigError, DataError
from segfoundry.utils.image_io import read_image, write_png
from segfoundry.utils.structures.results import Segment

from ....support import goldens, second_sam_runs
from ....support.cable_data import cable_config, write_backgrounds, write_cables
from ....support.tiny_data import write_dataset


def rng(seed=0):
    return np.random.default_rng(seed)


class Cables:
    """A folder of cables, one of backgrounds, and the mappers of a configuration."""

    def __init__(self, folder):
        self.cables, self.photos = write_cables(folder / "cables"), write_backgrounds(folder / "photos")

    def mappers(self, entry=None, **keys):
        entry = {"data_dir": str(self.cables), **(entry or {})}
        test = {key: value for key, value in entry.items() if key != "aug_details"}
        cfg = cable_config([entry], test, **keys).cfg
        found = find_pipeline(cfg).own_data()
        (record, split), (_, test_split) = found.train[0], found.test[0]
        self.items = list_items(record, split)
        self.test_items = list_items(record, test_split)
        self.cfg, self.record = cfg, record
        return find_pipeline(cfg).train_mapper(record), find_pipeline(cfg).eval_mapper(record, split)

    @property
    def bg_paths(self):
        return {"bg_paths": [str(self.photos)]}


@pytest.fixture
def data(tmp_path):
    return Cables(tmp_path)


@pytest.mark.parametrize("second", [False, True])
def test_items_of_the_published_training(tmp_path, second):
    if second:
        second_sam_runs.record_fine_tuning(tmp_path / "goldens")
    case = goldens.find("sam", "dlo_finetune", tmp_path / "goldens" if second else None)
    tensors = {key: value.numpy() for key, value in case.tensors.items() if key.startswith(("in/fg", "out/item"))}
    for number in range(len(case.info["file_names"]["fg"])):
        write_png(tmp_path / f"imgs/{number}.png", tensors[f"in/fg/{number}/image_rgb"])
        write_png(tmp_path / f"masks/{number}.png", tensors[f"in/fg/{number}/mask"])
    height, width = case.info["standard_size_hw"]
    keys = {"SAM.IMAGE_SIZE": case.config["img_size"], "SAM.DLO.INPUT.STANDARD_SIZE": [height, width]}
    cfg = cable_config([{"data_dir": str(tmp_path)}], **keys).cfg
    record, split = find_pipeline(cfg).own_data().train[0]
    train, test = find_pipeline(cfg).train_mapper(record), find_pipeline(cfg).eval_mapper(record, split)
    for number, item in enumerate(list_items(record, split)):
        image, inverted = (tensors[f"out/item/{number}/{name}"] for name in ("image", "mask_inverted"))
        sample, seen = train(item, number, rng()), test(item, number)
        assert (sample.image == image.transpose(1, 2, 0)).all() and (sample.targets.foreground == (inverted == 0)).all()
        assert (seen.image == sample.image).all() and (seen.foreground == sample.targets.foreground[0]).all()
        assert (find_pipeline(cfg).eval_resize(record)(read_image(item.image)) == sample.image).all()


def test_what_a_training_sample_holds(data):
    train, _ = data.mappers(SAM__DLO__INPUT__STANDARD_SIZE=[72, 128])
    sample = train(data.items[1], 9, rng())
    assert sample.image.shape == (18, 32, 3) and sample.output_size == (72, 128)
    assert (sample.index, sample.image_id) == (9, "c1") and sample.file_name.endswith("imgs/c1.png")
    targets = sample.targets
    assert targets.foreground.shape == (1, 72, 128) and targets.foreground.dtype == bool and targets.foreground.any()
    assert targets.masks.shape == (0, 18, 32) and targets.labels.shape == (0,) and not targets.labelled


def test_a_background_without_augmentation(data):
    train, _ = data.mappers(data.bg_paths, SAM__IMAGE_SIZE=64)
    plain = [train(replace(item, composite=None), 0, rng()) for item in data.items]
    seen = set()
    for seed in range(20):
        for item, before in zip(data.items, plain, strict=True):
            sample = train(item, 0, rng(seed))
            mask = sample.targets.foreground[0]
            assert (mask == before.targets.foreground[0]).all() and (sample.image[mask] == before.image[mask]).all()
            (color,) = np.unique(sample.image[~mask])
            seen.add(int(color))
    assert seen == {40, 100, 160}


def test_feathered_seams(data):
    hard, _ = data.mappers(data.bg_paths, SAM__IMAGE_SIZE=64)
    soft, _ = data.mappers(data.bg_paths, SAM__IMAGE_SIZE=64, SAM__DLO__AUG__FEATHER=1.0)
    first, second = hard(data.items[0], 0, rng()), soft(data.items[0], 0, rng())
    assert (first.image != second.image).any() and (first.targets.foreground == second.targets.foreground).all()


OFF = {f"SAM.DLO.AUG.{name}": 0 for name in ("FG_P", "BG_P", "CROP_P", "IMG_P", "FLIP_P")}
OFF["SAM.DLO.AUG.CROP_SCALE"] = [0.35, 0.6]


@pytest.mark.parametrize(
    ("key", "background", "moves"),
    [
        ("FG_P", True, False),
        ("IMG_P", False, False),
        ("CROP_P", True, True),
        ("FLIP_P", True, True),
    ],
)
def test_each_change_has_its_probability(data, key, background, moves):
    entry = {"w_aug": True, "aug_details": ["crop_foreground"], **(data.bg_paths if background else {})}
    plain, _ = data.mappers(entry, SAM__IMAGE_SIZE=64, **OFF)
    item = data.items[0]
    before = plain(item, 0, rng())
    changing, _ = data.mappers(entry, SAM__IMAGE_SIZE=64, **{**OFF, f"SAM.DLO.AUG.{key}": 1})
    mask = before.targets.foreground
    changed = [changing(item, 0, rng(seed)) for seed in range(6)]
    assert all((s.targets.foreground != mask).any() == moves for s in changed)
    if not moves:
        assert all((s.image[mask[0]] != before.image[mask[0]]).any() for s in changed)
    if key == "FLIP_P":
        assert (changed[0].targets.foreground == mask[..., ::-1]).all()
    half, _ = data.mappers(entry, SAM__IMAGE_SIZE=64, **{**OFF, f"SAM.DLO.AUG.{key}": 0.5})
    hits = 0
    for seed in range(60):
        sample = half(item, 0, rng(seed))
        inside = sample.targets.foreground[0]
        hits += (inside != mask[0]).any() or (sample.image[inside] != before.image[inside]).any()
    assert 15 <= hits <= 45


def test_backgrounds_change_only_outside_of_the_foreground(data):
    rows = np.repeat(np.arange(0, 250, 5, dtype=np.uint8)[:, None, None], 70, 1).repeat(3, 2)
    for number in range(3):
        write_png(data.photos / f"b{number}.png", rows)
    entry = {"w_aug": True, **data.bg_paths}
    train, _ = data.mappers(entry, SAM__IMAGE_SIZE=64, **{**OFF, "SAM.DLO.AUG.BG_P": 1})
    first, second = (train(data.items[0], 0, rng(seed)) for seed in (1, 2))
    mask = first.targets.foreground[0]
    assert (mask == second.targets.foreground[0]).all() and (first.image[mask] == second.image[mask]).all()
    assert (first.image[~mask] != second.image[~mask]).mean() > 0.5


def test_crop_foreground_is_asked_for(data):
    for entry in (data.bg_paths, {"aug_details": ["crop_foreground"]}):  # asked for, but no new background
        train, _ = data.mappers({"w_aug": True, **entry}, SAM__DLO__AUG__CROP_P=1.0)
        masks = {train(data.items[0], 0, rng(seed)).targets.foreground.tobytes() for seed in range(5)}
        assert len(masks) == 1


def test_samples_are_functions_of_their_random_source(data):
    train, _ = data.mappers({"w_aug": True, "aug_details": ["crop_foreground"], **data.bg_paths})
    first, again, other = (train(data.items[0], 0, rng(seed)) for seed in (3, 3, 4))
    assert (first.image == again.image).all() and (first.targets.foreground == again.targets.foreground).all()
    assert (first.image != other.image).any()


def test_evaluation_composites_are_fixed(data):
    entry = {"w_aug": True, **data.bg_paths}
    _, test = data.mappers(entry, SEED=1)
    first = [test(item, i) for i, item in enumerate(data.test_items)]
    for i in (3, 0):
        again = test(data.test_items[i], i)
        assert (again.image == first[i].image).all() and (again.foreground == first[i].foreground).all()
    _, other = data.mappers(entry, SEED=2)
    assert any((other(item, i).image != first[i].image).any() for i, item in enumerate(data.test_items))


def test_the_original_size(data):
    write_cables(data.cables, size=(50, 70))
    for keys, size in (({}, (36, 64)), ({"TEST.ORIGINAL_SIZE": True}, (50, 70))):
        _, test = data.mappers(**keys)
        sample = test(data.items[0], 0)
        assert sample.foreground.shape == sample.output_size == size and sample.image.shape == (18, 32, 3)
        assert test.input_size(data.items[0]) == (18, 32)
    assert (sample.foreground == (read_image(data.items[0].foreground)[..., 0] > 0)).all()
    _, test = data.mappers({"w_aug": True}, **{"TEST.ORIGINAL_SIZE": True})
    assert test(data.test_items[0], 0).output_size == (36, 64)


def test_keeping_the_aspect(data):
    write_cables(data.cables, count=1, size=(80, 40))
    train, test = data.mappers(data.bg_paths, SAM__DLO__INPUT__KEEP_ASPECT=True)
    sample = train(data.items[0], 0, rng())
    assert sample.targets.foreground.shape == (1, 36, 18) and sample.image.shape == (32, 16, 3)
    assert test.input_size(data.items[0]) == (32, 16)
    augmented, _ = data.mappers({"w_aug": True, **data.bg_paths}, SAM__DLO__INPUT__KEEP_ASPECT=True)
    assert augmented(data.items[0], 0, rng()).image.shape == (32, 16, 3)


def test_masks_by_the_nearest_pixel_are_thinner(data):
    grown, _ = data.mappers(SAM__DLO__INPUT__STANDARD_SIZE=[72, 128])
    exact, _ = data.mappers(SAM__DLO__INPUT__STANDARD_SIZE=[72, 128], SAM__DLO__INPUT__MASK_RESIZE="nearest")
    a, b = (mapper(data.items[0], 0, rng()).targets.foreground for mapper in (grown, exact))
    assert a.sum() > b.sum() and (a >= b).all()


def test_a_mask_of_another_scale_is_stretched_one_of_another_aspect_refused(data):
    train, _ = data.mappers()
    whole = train(data.items[0], 0, rng()).targets.foreground
    write_png(data.items[0].foreground, np.ones((18, 32), np.uint8))
    assert train(data.items[0], 0, rng()).targets.foreground.all() and not whole.all()
    write_png(data.items[0].foreground, np.ones((64, 36), np.uint8))
    with pytest.raises(DataError, match=r"masks/c0\.png: 36 x 64 pixels, its image .*imgs/c0\.png has 64 x 36"):
        train(data.items[0], 0, rng())


def test_unreadable_files_are_named(data):
    train, _ = data.mappers(data.bg_paths)
    for file in data.photos.iterdir():
        file.write_bytes(b"nothing")
    with pytest.raises(DataError, match=r"photos/b\d\.png: no image"):
        train(data.items[0], 0, rng())
    data.items[0].foreground.write_bytes(b"")
    with pytest.raises(DataError, match=r"masks/c0\.png: the file is empty"):
        train(data.items[0], 0, rng())


def test_fixed_variants_follow_the_cache(data):
    assert data.mappers(SAM__CACHE_VARIANTS=3)[0].variants == 0
    assert data.mappers(SAM__CACHE_VARIANTS=3, SAM__CACHE_EMBEDDINGS=True)[0].variants == 3


def test_things_and_objects_are_foreground_too(tmp_path):
    record, split = find_record(str(write_dataset(tmp_path)), "train")
    cfg = cable_config([], DATASETS__TRAIN=[str(record.path)], SAM__DLO__INPUT__STANDARD_SIZE=[64, 64]).cfg
    train = find_pipeline(cfg).train_mapper(record)
    item = list_items(record, split)[0]
    balls = train(item, 0, rng()).targets.foreground[0]
    areas = json.loads((tmp_path / "train/panoptic.json").read_text())["annotations"][0]["segments_info"]
    assert balls.sum() == sum(s["area"] for s in areas if s["category_id"] == 7)
    labels = np.where(balls, 2, 0).astype(np.uint8)
    write_png(tmp_path / "labels.png", labels)
    by_class = replace(item, panoptic=None, segments=[], semantic=tmp_path / "labels.png")
    assert (train(by_class, 0, rng()).targets.foreground[0] == balls).all()
    write_png(tmp_path / "objects.png", balls.astype(np.uint8) * 3)
    by_object = ImageItem("a", item.image, objects=tmp_path / "objects.png", composite=Composite())
    assert (train(by_object, 0, rng()).targets.foreground[0] == balls).all()
    with pytest.raises(DataError, match="nothing says what its foreground is"):
        train(ImageItem("a", item.image, segments=[Segment(1, 0, True)]), 0, rng())


def test_the_promptable_task_keeps_the_aspect(data):
    cfg = cable_config([], SAM__TASK="promptable").cfg
    data.mappers()
    assert find_pipeline(cfg).eval_resize(data.record).output_size(100, 50) == (32, 16)
    assert find_pipeline(data.cfg).eval_resize(data.record).output_size(100, 50) == (18, 32)


def test_simulated_clicks_need_the_objects_of_a_data_set(tmp_path):
    record, split = find_record(str(write_dataset(tmp_path)), "train")
    cfg = cable_config([], DATASETS__TEST=[str(record.path)], SAM__DLO__INPUT__STANDARD_SIZE=[64, 64]).cfg
    build_eval = find_pipeline(cfg).eval_mapper
    sample = build_eval(record, split, ["interactive"])(list_items(record, split)[0], 0)
    assert sample.objects.labels.max() > 0 and max(sample.image.shape[:2]) == cfg.SAM.IMAGE_SIZE
    with pytest.raises(ConfigError, match="TEST.EVALUATORS: foreground and interactive of .* different sizes"):
        build_eval(record, split, ["foreground", "interactive"])
