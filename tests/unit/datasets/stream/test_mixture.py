"""How an epoch is put together from several training sets."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from segfoundry.datasets.records.record import Record
from segfoundry.datasets.records.split import Split
from segfoundry.datasets.stream.mixture import Mixture, has_categories, mix, vocabulary_record
from segfoundry.datasets.stream.samplers import permutation, set_order
from segfoundry.utils.config.engine import load_mapping
from segfoundry.utils.errors import ConfigError
from segfoundry.utils.structures.category import Category

LABELLED = Split("train", Path("i"), panoptic_json=Path("p.json"), panoptic=Path("p"))
PHRASES = Split("train", Path("i"), grounding=Path("g.json"))


def record(name, *categories):
    known = tuple(Category(i, c, True, (i, i, i)) for i, c in enumerate(categories))
    return Record(name, Path(f"{name}.yaml"), Path("."), known, None, {})


def config(**keys):
    names = {"DATASETS.TRAIN": ["coco_2017", "own.yaml"], "MODEL.NAME": "seem_model_v1"}
    return load_mapping({**names, **{k.replace("__", "."): v for k, v in keys.items()}}).cfg


SETS = [(record("coco_2017", "cup"), LABELLED), (record("own", "cup"), LABELLED)]


@given(st.lists(st.tuples(st.integers(1, 12), st.integers(1, 30)), min_size=1, max_size=4), st.booleans())
def test_every_set_is_passed_evenly(pairs, shuffle):
    mixture = Mixture(tuple(s for s, _ in pairs), tuple(c for _, c in pairs))
    epochs = 4
    seen = Counter(mixture.image(slot, 3, epoch, shuffle) for epoch in range(epochs) for slot in range(len(mixture)))
    start = 0
    for size, count in pairs:
        times = [seen[start + i] for i in range(size)]
        assert sum(times) == epochs * count and max(times) - min(times) <= 1
        start += size
    assert set(seen) <= set(range(start))


def test_without_joint_an_epoch_shows_each_image_once():
    mixture = mix(config(), SETS, [5, 3])
    assert [mixture.image(slot, 0, 1) for slot in range(len(mixture))] == list(range(8))


@pytest.mark.parametrize(
    ("keys", "counts"),
    [
        ({}, (100, 100)),
        ({"DATASETS__WEIGHTS": [3, 1]}, (100, 33)),
        ({"DATASETS__WEIGHTS": [1, 2.5], "LOADER__KEY_DATASET": "coco_2017"}, (100, 250)),
        ({"DATASETS__WEIGHTS": [3, 1], "LOADER__KEY_DATASET": "own"}, (30, 10)),
        ({"DATASETS__WEIGHTS": [1000, 1], "LOADER__KEY_DATASET": "own.yaml"}, (10000, 10)),
        ({"DATASETS__WEIGHTS": [1000, 1]}, (100, 1)),
    ],
)
def test_joint_epochs_follow_weights_and_key_set(keys, counts):
    assert mix(config(LOADER__JOINT=True, **keys), SETS, [100, 10]).counts == counts


def drawn(mixture, epoch, seed=3):
    """Returns the images of an epoch."""
    return [mixture.image(slot, seed, epoch) for slot in range(len(mixture))]


@given(st.lists(st.tuples(st.integers(1, 12), st.floats(0, 3)), min_size=1, max_size=4), st.integers(0, 9))
def test_shares_are_drawn_without_repetition_in_every_epoch(pairs, epoch):
    counts = tuple(int(size * share) for size, share in pairs)
    mixture = Mixture(tuple(size for size, _ in pairs), counts, redraw=True)
    assert len(mixture) == sum(counts)
    seen, start = Counter(drawn(mixture, epoch)), 0
    for (size, _), count in zip(pairs, counts, strict=True):
        times = [seen.pop(start + i, 0) for i in range(size)]
        assert sum(times) == count and max(times) - min(times) <= 1
        start += size
    assert not seen


def shares(*values):
    data = [(record("own"), replace(LABELLED, share=value)) for value in values]
    return mix(config(DATASETS__TRAIN=[]), data, [10] * len(values), "SAM.DLO.TRAIN")


def test_percentages_of_one_set():
    assert [len(shares(value)) for value in (0.3, 1, 2.5)] == [3, 10, 25]
    part, whole, more = (shares(value) for value in (0.3, 1, 2.5))
    assert drawn(whole, 0) == drawn(whole, 1) == list(range(10))
    epochs = [tuple(sorted(drawn(part, epoch))) for epoch in range(40)]
    assert len(set(epochs)) > 10 and {i for e in epochs for i in e} == set(range(10))
    assert drawn(part, 5) == drawn(shares(0.3), 5) and drawn(part, 5) != drawn(part, 5, seed=4)
    assert drawn(more, 0)[:20] == [*range(10), *range(10)] and sorted(drawn(more, 0)[20:]) != list(range(5))
    assert [len(shares(0, value)) for value in (0.3, 1)] == [3, 10] and min(drawn(shares(0, 1), 0)) == 10


def test_shares_that_leave_nothing():
    with pytest.raises(ConfigError, match=r"SAM\.DLO\.TRAIN: the percentages leave no image of 10"):
        shares(0.05)


def test_weights_and_percentages_exclude_each_other():
    with pytest.raises(ConfigError, match=r"LOADER\.JOINT mixes .* SAM\.DLO\.TRAIN are mixed by percentage"):
        mix(config(LOADER__JOINT=True), [*SETS, SETS[0]], [1, 1, 1], "SAM.DLO.TRAIN")


def test_the_key_set_must_exist():
    with pytest.raises(ConfigError, match=r"KEY_DATASET 'ade' is none of the training sets \(coco_2017, own\)"):
        mix(config(LOADER__JOINT=True, LOADER__KEY_DATASET="ade"), SETS, [1, 1])


@pytest.mark.parametrize(
    ("keys", "problem"),
    [
        ({"DATASETS__WEIGHTS": [1, 1]}, "LOADER.JOINT is off"),
        ({"DATASETS__WEIGHTS": [1], "LOADER__JOINT": True}, "WEIGHTS has 1 numbers, DATASETS.TRAIN 2"),
        ({"DATASETS__WEIGHTS": [1, 0], "LOADER__JOINT": True}, "not naming it in TRAIN"),
    ],
)
def test_weights_must_fit(keys, problem):
    with pytest.raises(ConfigError, match=problem):
        config(**keys)


def test_a_set_of_phrases_alone_gives_no_vocabulary():
    phrases = (record("refcoco"), PHRASES)
    assert has_categories(LABELLED) and not has_categories(PHRASES)
    assert has_categories(replace(PHRASES, semantic=Path("s")))
    assert vocabulary_record([phrases, *SETS]).name == "coco_2017"
    assert vocabulary_record([phrases]).name == "refcoco"


def test_orders_of_sets_are_permutations_that_differ():
    orders = [set_order(seed, number, turn, 40) for seed in (0, 1) for number in (0, 1) for turn in (0, 1)]
    assert all(sorted(o) == list(range(40)) for o in orders) and len({tuple(o) for o in orders}) == 8
    assert (set_order(0, 0, 0, 40) != permutation(0, 0, 40)).any()
    assert (set_order(0, 0, 3, 5, False) == np.arange(5)).all()
