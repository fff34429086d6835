"""Groups of class names that are the same text to the network."""

from segfoundry.utils.class_names.same_names import list_names, names_read_the_same


def test_names_alike_in_case_spaces_and_suffixes_are_one_group():
    names = ["Cup", "ball", "cup", "tree-merged", "CUP ", "tree", "t-shirt", "t - shirt"]
    assert names_read_the_same(names) == [("Cup", "cup", "CUP "), ("tree-merged", "tree"), ("t-shirt", "t - shirt")]


def test_names_alike_in_the_prompts_of_training_alone_are_a_group():
    assert names_read_the_same(["a,b", "ab", "a+b", "a b"]) == [("a,b", "ab"), ("a+b", "a b")]


def test_names_alike_in_what_is_not_cut_off_are_a_group():
    long = "green " * 80
    assert names_read_the_same([f"{long}cup", f"{long}ball", "cup"]) == [(f"{long}cup", f"{long}ball")]
    assert names_read_the_same(["cup", "cups", "cup holder", "cup2", "coffee cup"]) == []


def test_a_tokenizer_of_its_own_decides():
    groups = names_read_the_same(["Cup", "cup", "cap"], (str,), lambda texts: [text[0] for text in texts])
    assert groups == [("cup", "cap")]


def test_long_names_lose_their_middle():
    assert list_names(["Cup", "cup"]) == "'Cup' and 'cup'"
    assert list_names(["Cup", "cup", "x" * 80 + "y"]) == f"'Cup', 'cup' and '{'x' * 40}...{'x' * 19}y'"
