"""Training on mixed folders: the stream does not depend on workers, processes or where it was resumed."""

import pytest

from segfoundry.datasets.pipelines.base import find_pipeline
from segfoundry.datasets.stream.loaders import build_eval_loader, build_train_loader
from segfoundry.datasets.stream.mixture import training_data
from segfoundry.utils.errors import DataError

from ....support.cable_data import cable_config, write_backgrounds, write_cables

STEPS = 9


@pytest.fixture
def config(tmp_path):
    """Six images with backgrounds, of which an epoch shows three, and four, which it shows twice and a half."""
    first, second = write_cables(tmp_path / "a", 6), write_cables(tmp_path / "b", 4, seed=1)
    photos = write_backgrounds(tmp_path / "photos")
    entries = [
        {"data_dir": str(first), "bg_paths": [str(photos)], "w_aug": True, "percentage": 0.5},
        {"data_dir": str(second), "percentage": 2.5},
    ]
    test = {"data_dir": str(first), "bg_paths": [str(photos)], "w_aug": True}
    return lambda **keys: cable_config(entries, test, **keys).cfg


def stream(cfg, start=0, count=STEPS, rank=0, world=1):
    pipeline = find_pipeline(cfg)
    data = training_data(cfg, pipeline.own_data().train)
    loader = build_train_loader(pipeline, data, start_step=start, num_steps=count, rank=rank, world=world)
    return [image for step in loader for batch in step for image in content(batch)]


def content(batch):
    """Everything that the network can see of each image."""
    return [
        (s.index, s.file_name, p, batch.images[j].numpy().tobytes(), t.foreground.numpy().tobytes())
        for j, (s, p, t) in enumerate(zip(batch.samples, batch.positions, batch.targets, strict=True))
    ]


def test_an_epoch_holds_the_share_of_each_set(config):
    cfg = config()
    assert len(training_data(cfg, find_pipeline(cfg).own_data().train)) == 3 + 10
    names = [name.rsplit("/", 3)[1:] for _, name, *_ in stream(cfg, count=13)]
    for epoch in (names[:13], names[13:]):
        assert sum(name[0] == "a" for name in epoch) == 3 and len({n[2] for n in epoch if n[0] == "a"}) == 3
        times = [sum(n == ["b", "imgs", f"c{i}.png"] for n in epoch) for i in range(4)]
        assert sorted(times) == [2, 2, 3, 3]


@pytest.mark.parametrize("workers", [0, 2])
def test_workers_processes_and_resumption_change_nothing(config, workers):
    plain = stream(config())
    cfg = config(DATALOADER__NUM_WORKERS=workers)
    assert stream(cfg) == plain
    assert stream(cfg, count=4) + stream(cfg, start=4, count=STEPS - 4) == plain
    halves = [stream(cfg, rank=rank, world=2) for rank in (0, 1)]
    assert sorted(halves[0] + halves[1]) == sorted(plain)


def test_the_seed_decides(config):
    assert stream(config(SEED=1)) == stream(config(SEED=1)) != stream(config(SEED=2))


def test_fixed_variants_return(config):
    cfg = config(SAM__CACHE_EMBEDDINGS=True, SAM__CACHE_VARIANTS=2)
    free, fixed = stream(config(), count=60), stream(cfg, count=60)
    seen = {}
    for (_, name, _, image, mask), (_, _, _, other, _) in zip(fixed, free, strict=True):
        seen.setdefault(name, (set(), set()))
        seen[name][0].add((image, mask))
        seen[name][1].add(other)
    changing = [pair for name, pair in seen.items() if "/a/" in name]
    assert changing and all(len(variants) <= 2 for variants, _ in changing)
    assert any(len(variants) == 2 for variants, _ in changing) and any(len(others) > 3 for _, others in changing)


def test_evaluation_is_the_same_every_time(config):
    def seen(**keys):
        cfg = config(**keys)
        pipeline = find_pipeline(cfg)
        loader = build_eval_loader(pipeline, *pipeline.own_data().test[0], rank=0, world=1)
        return [
            (s.file_name, batch.images[j].numpy().tobytes(), s.foreground.tobytes())
            for batch in loader
            for j, s in enumerate(batch.samples)
        ]

    assert len(seen()) == 6 and seen() == seen(TEST__BATCH_SIZE_TOTAL=1) == seen(DATALOADER__NUM_WORKERS=2)


def test_damaged_images_are_named_or_left_out(config):
    cfg = config()
    damaged = find_pipeline(cfg).own_data().train[1][1].images / "c1.png"
    damaged.write_bytes(damaged.read_bytes()[:60])
    with pytest.raises(DataError, match=r"b/imgs/c1\.png.*INPUT\.ON_CORRUPT skip"):
        stream(cfg)
    assert len(stream(config(INPUT__ON_CORRUPT="skip"))) == 2 * STEPS
