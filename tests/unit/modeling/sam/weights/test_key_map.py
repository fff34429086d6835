"""Names of SAM in its published files and in transformers."""

import json
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from segfoundry.modeling.sam.weights.key_map import is_transformers, names_in_transformers, published_names

VIT_B = json.loads((Path(__file__).parents[4] / "goldens/sam_state_dicts/vit_b.json").read_text())


def test_every_name_of_the_public_file_is_translated_and_comes_back():
    there = names_in_transformers(VIT_B)
    assert set(there) == set(VIT_B)
    back = published_names([name for names in there.values() for name in names])
    for published, names in there.items():
        assert {back[name] for name in names} == {published}


def test_no_two_tensors_get_one_name():
    names = [name for names in names_in_transformers(VIT_B).values() for name in names]
    assert len(names) == len(set(names)) == len(VIT_B) + 1  # the matrix of the position code is there twice


def test_layouts_are_told_apart_whole_and_decoder_only():
    there = [name for names in names_in_transformers(VIT_B).values() for name in names]
    assert is_transformers(there)
    assert not is_transformers(VIT_B)
    assert is_transformers([name for name in there if name.startswith("mask_decoder.")])
    assert not is_transformers([name for name in VIT_B if name.startswith("mask_decoder.")])


@given(st.sampled_from(sorted(VIT_B)), st.integers(0, 40))
def test_numbers_of_blocks_are_kept(name, block):
    other = name.replace("blocks.3.", f"blocks.{block}.")
    (there, *_) = names_in_transformers([other])[other]
    assert published_names([there])[there] == other


def test_names_beyond_the_network_stay():
    assert published_names(["something.else"]) == {"something.else": "something.else"}
