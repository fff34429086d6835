"""Loaders: the stream does not depend on workers, processes, micro-batches or where it was resumed."""

import json
import os
import subprocess
import sys
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch

from segfoundry.datasets.formats.panoptic import write_panoptic_png
from segfoundry.datasets.pipelines.base import find_pipeline
from segfoundry.datasets.records.catalog import find_record
from segfoundry.datasets.records.image_item import Phrase
from segfoundry.datasets.records.list_items import list_items
from segfoundry.datasets.stream.loaders import build_eval_loader, build_train_loader, images_per_step, steps_per_epoch
from segfoundry.datasets.stream.mixture import training_data
from segfoundry.utils.config.engine import load_mapping
from segfoundry.utils.errors import ConfigError, DataError
from segfoundry.utils.image_io import write_png

from ....support.cable_data import cable_config, write_backgrounds, write_cables
from ....support.tiny_data import write_dataset
from ....support.tiny_run import ROOT

COUNT = 7
SPLIT = "{images: img, panoptic_json: p.json, panoptic: pan}"
RECORD = f"""
name: r
categories:
  - {{id: 1, name: wall, color: [1, 2, 3], isthing: false}}
  - {{id: 2, name: cup, color: [4, 5, 6], isthing: true}}
splits: {{train: {SPLIT}, val: {SPLIT}}}
"""


@pytest.fixture
def dataset(tmp_path):
    rng = np.random.default_rng(0)
    images, annotations = [], []
    for i in range(COUNT):
        height, width = (40, 60) if i < 4 else (30 + i, 50)
        write_png(tmp_path / f"img/{i}.png", rng.integers(0, 255, (height, width, 3), dtype=np.uint8))
        ids = np.full((height, width), 70000, np.int32)
        ids[height // 2 :] = 5
        write_panoptic_png(tmp_path / f"pan/{i}.png", ids)
        segments = [{"id": 70000, "category_id": 1, "iscrowd": 0}, {"id": 5, "category_id": 2, "iscrowd": 0}]
        images.append({"id": i, "file_name": f"{i}.png", "height": height, "width": width})
        annotations.append({"image_id": i, "file_name": f"{i}.png", "segments_info": segments})
    (tmp_path / "p.json").write_text(json.dumps({"images": images, "annotations": annotations}))
    (tmp_path / "r.yaml").write_text(RECORD)
    return find_record(str(tmp_path / "r.yaml"), "train")


def config(**keys):
    base = {
        "MODEL.NAME": "seem_model_v1",
        "COCO.INPUT.IMAGE_SIZE": 32,
        "TRAIN.BATCH_SIZE_TOTAL": 4,
        "TEST.BATCH_SIZE_TOTAL": 2,
        "DATALOADER.NUM_WORKERS": 0,
    }
    return load_mapping({**base, **{k.replace("__", "."): v for k, v in keys.items()}}).cfg


def content(batch):
    """Everything that the model can see of each image."""
    return [
        (s.index, s.image_id, p, batch.images[j].numpy().tobytes(), t.masks.numpy().tobytes(), t.labels.tolist())
        + prompts(t)
        for j, (s, p, t) in enumerate(zip(batch.samples, batch.positions, batch.targets, strict=True))
    ]


def prompts(targets):
    """Strokes and sentences of an image."""
    spatial, texts = targets.spatial, targets.texts
    strokes = spatial and (spatial.masks.numpy().tobytes(), spatial.strokes.numpy().tobytes())
    return (targets.labelled, strokes, texts and (texts.texts, texts.kind, texts.masks.numpy().tobytes()))


def train_loader(cfg, data, **options):
    return build_train_loader(find_pipeline(cfg), training_data(cfg, data), **options)


def eval_loader(cfg, record, split, **options):
    return build_eval_loader(find_pipeline(cfg), record, split, **options)


def stream(cfg, data, start=0, steps=4, world=1):
    """The images of each step, over all processes."""
    options = {"start_step": start, "num_steps": steps, "world": world}
    ranks = [list(train_loader(cfg, data, rank=rank, **options)) for rank in range(world)]
    return [[row for rank in ranks for batch in rank[k] for row in content(batch)] for k in range(steps)]


@pytest.fixture
def reference(dataset):
    return stream(config(), [dataset])


@pytest.mark.parametrize("workers", [0, 1, 2])
@pytest.mark.parametrize("world", [1, 2])
def test_stream_does_not_depend_on_workers_and_processes(dataset, reference, workers, world):
    assert stream(config(DATALOADER__NUM_WORKERS=workers), [dataset], world=world) == reference


def test_stream_does_not_depend_on_micro_batches_and_resume(dataset, reference):
    cfg = config(TRAIN__BATCH_SIZE_PER_GPU=3)
    assert stream(cfg, [dataset]) == reference
    assert stream(cfg, [dataset], start=2, steps=2, world=2) == reference[2:]
    sizes = [len(b) for b in next(iter(train_loader(cfg, [dataset], start_step=0, num_steps=1, rank=0, world=1)))]
    assert sizes == [2, 2]


def with_phrases(data):
    """Items of a data set with a sentence for the lower half of every second image."""
    items = list_items(*data)
    for item in items[::2]:
        item.phrases = [Phrase(("the lower half", "below"), 5)]
    return items


@pytest.mark.parametrize("joint", [False, True])
def test_prompts_do_not_depend_on_workers_processes_and_batches(dataset, monkeypatch, joint):
    items = {dataset[0].name: with_phrases(dataset), "phrases": with_phrases(dataset)[::2]}
    for item in items["phrases"]:
        item.panoptic, item.segments, item.image_id = None, [], 100 + item.image_id
        item.phrases = [Phrase(("left",), [[0, 0, 20, 0, 20, 20, 0, 20]])]
    monkeypatch.setattr("segfoundry.datasets.stream.mixture.list_items", lambda record, split: items[record.name])
    other = (replace(dataset[0], name="phrases"), replace(dataset[1], panoptic_json=None, panoptic=None))
    keys = {"LOADER__JOINT": joint, "DATASETS__TRAIN": ["r", "phrases"], "LOADER__KEY_DATASET": "r"}
    keys |= {"STROKE_SAMPLER__MAX_CANDIDATE": 2, "DATASETS__WEIGHTS": [2, 1] if joint else []}
    data = [dataset, other]
    expected = stream(config(**keys), data)
    for changed in ({"DATALOADER__NUM_WORKERS": 2}, {"TRAIN__BATCH_SIZE_PER_GPU": 3}):
        assert stream(config(**keys, **changed), data) == expected
    assert stream(config(**keys), data, world=2) == expected
    flat = [row[:2] + row[3:] for step in expected for row in step]
    other_batch = stream(config(**keys, TRAIN__BATCH_SIZE_TOTAL=2), data, steps=8)
    assert [row[:2] + row[3:] for step in other_batch for row in step] == flat
    labels, labelled, strokes, texts = zip(*(row[4:] for row in flat), strict=True)
    assert set(labelled) == {True, False} and [bool(k) for k in labels] == list(labelled) and None not in strokes
    assert {kind for _, kind, _ in texts} == {"text", "class"}


def test_every_image_comes_once_per_epoch_in_a_new_order(dataset, reference):
    seen = [row[1] for step in stream(config(), [dataset], steps=7) for row in step]
    epochs = [seen[i * COUNT : (i + 1) * COUNT] for i in range(4)]
    assert all(sorted(e) == list(range(COUNT)) for e in epochs)
    assert len({tuple(e) for e in epochs}) > 1
    assert stream(config(SEED=1), [dataset]) != reference


def test_accumulation_enlarges_the_step(dataset, reference):
    accumulated = stream(config(TRAIN__BATCH_SIZE_TOTAL=2, GRADIENT_ACCUMULATE_STEP=2), [dataset])
    assert accumulated == reference
    assert images_per_step(config(GRADIENT_ACCUMULATE_STEP=3)) == 12
    assert steps_per_epoch(config(), training_data(config(), [dataset])) == COUNT / 4
    assert len(training_data(config(), [dataset, dataset])) == 2 * COUNT


@pytest.mark.parametrize(
    ("total", "times", "per_gpu", "world", "sizes"),
    [
        (2, 3, 0, 1, [2, 2, 2]),
        (2, 3, 4, 1, [2, 2, 2]),
        (4, 2, 1, 2, [1, 1, 1, 1]),
        (4, 1, 0, 2, [2]),
        (1, 4, 0, 2, [1, 1]),
    ],
)
def test_accumulation_takes_no_more_memory_than_one_batch(dataset, total, times, per_gpu, world, sizes):
    keys = {"TRAIN__BATCH_SIZE_TOTAL": total, "GRADIENT_ACCUMULATE_STEP": times, "TRAIN__BATCH_SIZE_PER_GPU": per_gpu}
    (step,) = train_loader(config(**keys), [dataset], start_step=0, num_steps=1, rank=0, world=world)
    assert [len(batch) for batch in step] == sizes


@pytest.mark.timeout(300)  # two waiting processes would never end
def test_workers_start_although_opencv_has_running_threads(dataset, reference):
    threads = cv2.getNumThreads()
    cv2.setNumThreads(4)
    try:
        cv2.GaussianBlur(np.zeros((2000, 2000, 3), np.uint8), (9, 9), 3)
        assert stream(config(DATALOADER__NUM_WORKERS=2), [dataset]) == reference
    finally:
        cv2.setNumThreads(threads)


def test_loading_leaves_the_global_random_state_alone(dataset):
    torch.manual_seed(0)
    before = torch.get_rng_state()
    stream(config(DATALOADER__NUM_WORKERS=1), [dataset])
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_corrupt_image_stops_and_is_named(dataset, workers):
    path = dataset[1].images / "3.png"
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(DataError, match=r"3.png.*INPUT.ON_CORRUPT") as error:
        stream(config(DATALOADER__NUM_WORKERS=workers), [dataset])
    assert "Traceback" not in str(error.value)


@pytest.mark.parametrize("workers", [0, 2])
def test_corrupt_images_are_skipped_counted_and_replaced_alike(dataset, workers):
    (dataset[1].images / "3.png").write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    cfg = config(INPUT__ON_CORRUPT="skip", DATALOADER__NUM_WORKERS=workers)
    loader = train_loader(cfg, [dataset], start_step=0, num_steps=7, rank=0, world=1)
    ids = [s.image_id for step in loader for b in step for s in b.samples]
    assert len(ids) == 28 and 3 not in ids
    assert len(loader.skipped) == 4 and all("3.png" in text for text in loader.skipped)
    assert stream(cfg, [dataset], world=2) == stream(config(INPUT__ON_CORRUPT="skip"), [dataset])


def test_nothing_readable_is_an_error_even_when_skipping(dataset):
    for path in dataset[1].images.iterdir():
        path.write_bytes(b"")
    with pytest.raises(DataError, match="none of the 7 training images can be read"):
        stream(config(INPUT__ON_CORRUPT="skip"), [dataset])


def test_images_without_a_segment_can_be_left_out(dataset):
    path = dataset[1].panoptic_json
    data = json.loads(path.read_text())
    data["annotations"][2]["segments_info"] = []
    path.write_text(json.dumps(data))
    cfg = config(DATALOADER__FILTER_EMPTY_ANNOTATIONS=True)
    assert steps_per_epoch(cfg, training_data(cfg, [dataset])) == (COUNT - 1) / 4


@pytest.mark.parametrize(
    ("keys", "world", "text"),
    [
        ({"TRAIN__BATCH_SIZE_TOTAL": 3}, 2, "3 images per step .* 2 processes; choose 2 or 4"),
        ({"COCO__INPUT__MIN_SCALE": 3.0}, 1, "MIN_SCALE"),
    ],
)
def test_senseless_keys_are_refused(dataset, keys, world, text):
    with pytest.raises(ConfigError, match=text):
        stream(config(**keys), [dataset], world=world)


def test_training_sets_must_have_the_same_categories(dataset, tmp_path):
    other = tmp_path / "other.yaml"
    other.write_text(RECORD.replace("name: cup", "name: mug"))
    with pytest.raises(DataError, match="different categories"):
        training_data(config(), [dataset, find_record(str(other), "train")])
    with pytest.raises(DataError, match="DATASETS.TRAIN is empty"):
        training_data(config(), [])


@pytest.mark.parametrize("world", [1, 2, 3])
@pytest.mark.parametrize("workers", [0, 2])
def test_evaluation_shares_are_complete_ordered_and_unpadded(dataset, world, workers):
    cfg = config(DATALOADER__NUM_WORKERS=workers, TEST__BATCH_SIZE_TOTAL=2 * world)
    loaders = [eval_loader(cfg, *dataset, rank=r, world=world) for r in range(world)]
    batches = [batch for loader in loaders for batch in loader]
    assert [s.index for b in batches for s in b.samples] == list(range(COUNT))
    assert sum(map(len, loaders)) == len(batches)
    for batch in batches:
        assert len(batch) <= 2 and all(size == tuple(batch.images.shape[2:]) for size in batch.image_sizes)
        assert max(batch.images.shape[2:]) == 32 and batch.targets is None
        for sample in batch.samples:
            assert sample.panoptic.ids.shape == sample.semantic.shape == sample.output_size


def test_evaluation_sizes_of_the_record_win(dataset, tmp_path):
    (tmp_path / "r.yaml").write_text(RECORD + "min_size_test: 20\nmax_size_test: 28\n")
    record, split = find_record(str(tmp_path / "r.yaml"), "val")
    shapes = [tuple(b.images.shape[2:]) for b in eval_loader(config(), record, split, rank=0, world=1)]
    assert shapes[0] == (19, 28) and all(max(s) <= 28 for s in shapes)


def test_evaluation_errors_name_the_file(dataset):
    (dataset[1].images / "6.png").write_bytes(b"")
    for workers in (0, 1):
        with pytest.raises(DataError, match="6.png"):
            list(eval_loader(config(DATALOADER__NUM_WORKERS=workers), *dataset, rank=0, world=1))


@pytest.mark.parametrize("end", ["pass", "raise RuntimeError('in a step')"])
def test_a_process_that_still_holds_its_loader_ends(tmp_path, end):
    program = f"""
from segfoundry.datasets.stream.loaders import build_train_loader
from segfoundry.datasets.records.catalog import find_record
from segfoundry.datasets.stream.mixture import training_data
from segfoundry.datasets.pipelines.base import find_pipeline
from segfoundry.utils.config.engine import load_mapping
cfg = load_mapping({{"MODEL.NAME": "seem_model_v1", "DATALOADER.NUM_WORKERS": 2, "COCO.INPUT.IMAGE_SIZE": 32}}).typed
data = [find_record({str(write_dataset(tmp_path))!r}, "train")]
data = training_data(cfg, data)
batches = iter(build_train_loader(find_pipeline(cfg), data, start_step=0, num_steps=9, rank=0, world=1))
next(batches)
{end}
"""
    env = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run([sys.executable, "-c", program], env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == (0 if end == "pass" else 1)
    assert "killed" not in done.stderr


def deep(folder, largest=1000):
    """Replaces the images of a folder by 16-bit ones with that value everywhere."""
    for path in sorted(folder.iterdir()):
        write_png(path, np.full(cv2.imread(str(path)).shape[:2], largest, np.uint16))


def test_the_depth_of_images_reaches_training_and_evaluation(dataset, tmp_path):
    record, split = dataset
    deep(tmp_path / "img")
    for bit_depth, value in (("auto", 62), ("12", 62), ("16", 4)):
        cfg = config(INPUT__BIT_DEPTH=bit_depth, COCO__INPUT__MIN_SCALE=1.0, COCO__INPUT__MAX_SCALE=1.0)
        batch = next(iter(eval_loader(cfg, record, split, rank=0, world=1)))
        assert {value} == set(np.unique(batch.images[0].numpy()).tolist())
    cfg = config(INPUT__BIT_DEPTH="8")
    for loader in (
        train_loader(cfg, [dataset], start_step=0, num_steps=1, rank=0, world=1),
        eval_loader(cfg, record, split, rank=0, world=1),
    ):
        with pytest.raises(DataError, match=r"holds the value 1000, INPUT.BIT_DEPTH 8 allows 0..255"):
            next(iter(loader))


def test_the_depth_of_images_reaches_pictures_of_cables(tmp_path):
    write_cables(tmp_path / "set")
    deep(write_backgrounds(tmp_path / "backgrounds"))
    entry = {"data_dir": str(tmp_path / "set"), "bg_paths": [str(tmp_path / "backgrounds")], "w_aug": True}
    text = r"holds the value 1000, INPUT.BIT_DEPTH 8 allows 0..255"
    for folder in ("backgrounds", "set/imgs"):  # a background is read first; plain images afterwards
        deep(tmp_path / folder)
        cfg = cable_config([entry], INPUT__BIT_DEPTH="8").cfg
        data = find_pipeline(cfg).own_data().train
        with pytest.raises(DataError, match=text):
            next(iter(train_loader(cfg, data, start_step=0, num_steps=1, rank=0, world=1)))
        entry = {"data_dir": str(tmp_path / "set")}
