"""The data stream as a pure function of seed, epoch and step."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from segfoundry.datasets.stream.samplers import augmentation_rng, permutation, plan_step, shard
from segfoundry.utils.errors import ConfigError


def test_orders_are_permutations_that_differ_by_epoch_and_seed():
    orders = [permutation(seed, epoch, 50).tolist() for seed in (0, 1) for epoch in (0, 1)]
    assert all(sorted(o) == list(range(50)) for o in orders)
    assert len({tuple(o) for o in orders}) == 4
    assert permutation(0, 1, 50).tolist() == orders[1]
    assert permutation(0, 3, 5, shuffle=False).tolist() == [0, 1, 2, 3, 4]


def test_order_is_pinned():
    """A change would silently change every run."""
    assert permutation(0, 0, 8).tolist() == [3, 2, 1, 7, 4, 0, 5, 6]
    assert augmentation_rng(0, 0).random() == 0.8677138611563892


def test_augmentation_numbers_differ_by_index_and_from_the_order():
    draws = {augmentation_rng(seed, index).random() for seed in (0, 1) for index in range(5)}
    assert len(draws) == 10
    assert (augmentation_rng(0, 0).permutation(50) != permutation(0, 0, 50)).any()
    assert augmentation_rng(-1, 0).random() == augmentation_rng(-1, 0).random()


@given(st.integers(0, 10**6), st.integers(1, 4), st.integers(1, 6), st.integers(0, 5))
def test_processes_and_micro_batches_cover_the_step_once_and_in_order(step, world, share, largest):
    batch = world * share
    plans = [plan_step(step, batch, rank, world, largest) for rank in range(world)]
    pieces = [piece for plan in plans for piece in plan]
    assert [p for piece in pieces for p in piece.positions] == list(range(batch))
    assert [i for piece in pieces for i in piece.indices] == list(range(step * batch, (step + 1) * batch))
    assert len({len(plan) for plan in plans}) == 1
    assert all([piece.last for piece in plan] == [False] * (len(plan) - 1) + [True] for plan in plans)
    sizes = [len(piece.positions) for piece in pieces]
    assert min(sizes) >= 1 and max(sizes) - min(sizes) <= 1
    assert not largest or max(sizes) <= largest


def test_a_batch_that_does_not_divide_names_the_keys_and_two_that_do():
    with pytest.raises(ConfigError, match="10 images per step .*4 processes; choose 8 or 12"):
        plan_step(0, 10, 0, 4)


@given(st.integers(0, 100), st.integers(1, 7))
def test_shards_are_contiguous_and_complete(length, world):
    parts = [shard(length, rank, world) for rank in range(world)]
    assert [i for part in parts for i in part] == list(range(length))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1
