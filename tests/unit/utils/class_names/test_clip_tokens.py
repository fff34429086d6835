"""Tokens of texts without torch: the same as the network's own tokenizer gives."""

import random

import pytest

from segfoundry.modeling.seem.text.tokenizer import ClipTokenizer, _open_clip_tokenizer, lengths
from segfoundry.utils.class_names.clip_tokens import MOST_TOKENS, clip_tokens

WORDS = (
    "red cup Cup t-shirt Straße ½ 3d naïve unreadable-word_x don't 東京 🙂 a,b (c) x² 12 ｗｉｄｅ it’s &amp;".split()
)


def test_long_texts_have_the_tokens_of_the_network():
    own = _open_clip_tokenizer()._tokenizer
    choose = random.Random(0)
    for _ in range(60):
        text = " ".join(choose.choices(WORDS, k=choose.randint(40, 90)))
        expected = tuple(own.decoder[number] for number in own.encode(text)[:MOST_TOKENS])
        assert clip_tokens(text) == expected


LONG = "a very long name of many rare words such as pterodactyl and floccinaucinihilipilification " * 3


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("Cup", "cup"), ("t-shirt", "t - shirt"), ("t shirt", "tshirt"), ("cup 12", "cup 1 2"), ("cup", "cups"),
        ("cup²", "cup2"), ("x²", "x ²"), ("it’s", "it's"), ("a&amp;b", "A & b"), ("Ｃup", "cup"), ("é", "e\u0301"),
        (LONG + "a", LONG + "b"), ("a" + LONG, "b" + LONG), ("z" * 700 + "a", "z" * 700 + "b"), ("\ud800", "?"),
    ],
)  # fmt: skip
def test_texts_are_equal_where_they_are_to_the_network(first, second):
    ids = ClipTokenizer()([first, second])
    assert (clip_tokens(first) == clip_tokens(second)) == bool((ids[0] == ids[1]).all())


def test_most_tokens_is_the_context_of_the_network():
    assert int(lengths(ClipTokenizer()([LONG]))[0]) == MOST_TOKENS + 2
