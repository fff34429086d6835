"""The rule for segment ids."""

from hypothesis import given
from hypothesis import strategies as st

from segfoundry.datasets.prepare.segment_ids import SegmentIds, stuff_ids
from segfoundry.utils.structures.category import Category

colors = st.tuples(*[st.integers(0, 255)] * 3)


@given(st.lists(st.tuples(colors, st.booleans()), min_size=1, max_size=8, unique_by=lambda e: e[0]), st.integers(0, 9))
def test_ids_are_unique_never_void_and_repeatable(entries, seed):
    categories = [Category(i, f"c{i}", thing, color) for i, (color, thing) in enumerate(entries)]
    asked = [i % len(categories) for i in range(40)]
    first = [SegmentIds(categories, seed, "a").take(asked[0])]
    generator, again = SegmentIds(categories, seed, "a"), SegmentIds(categories, seed, "a")
    ids = [generator.take(i) for i in asked]
    assert ids == [again.take(i) for i in asked] and ids[:1] == first
    assert all(1 <= i <= 0xFFFFFF for i in ids)
    things = [i for i, index in zip(ids, asked, strict=True) if categories[index].isthing]
    assert len(set(things)) == len(things)
    stuff = stuff_ids(categories)
    assert all(stuff[index] == i for i, index in zip(ids, asked, strict=True) if index in stuff)
    assert not set(things) & set(stuff.values())


def test_black_categories_get_ids_too():
    stuff = [Category(1, "night", False, (0, 0, 0)), Category(2, "almost", False, (1, 0, 0))]
    assert stuff_ids(stuff) == {0: 2, 1: 1}
    assert SegmentIds([Category(1, "hole", True, (0, 0, 0))], 0, "a").take(0) != 0


def test_a_used_up_neighbourhood_is_left(monkeypatch):
    monkeypatch.setattr("segfoundry.datasets.prepare.segment_ids._SPREAD", 3)
    generator = SegmentIds([Category(1, "dark", True, (0, 0, 0))], 0, "a")
    ids = {generator.take(0) for _ in range(4**3 + 50)}
    assert len(ids) == 4**3 + 50 and 0 not in ids
