"""Texts that users type: any script, any length, nothing at all."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from segfoundry.modeling.seem.text.tokenizer import END, ClipTokenizer, lengths

START = 49406
ANYTHING = st.text(st.characters(), max_size=60)  # control characters and halves of surrogate pairs included


@settings(deadline=None)
@given(st.lists(ANYTHING, min_size=1, max_size=4), st.integers(3, 20))
def test_every_text_has_ids_of_the_agreed_form(texts: list[str], context: int) -> None:
    ids = ClipTokenizer(context)(texts)
    assert ids.shape == (len(texts), context) and ids.dtype == torch.int64
    assert (ids[:, 0] == START).all() and (ids[:, -1] == END).all()
    for row, length in zip(ids, lengths(ids).tolist(), strict=True):
        assert (row[1 : length - 1] < START).all() and (row[length - 1 :] == END).all()


@settings(deadline=None)
@given(ANYTHING)
def test_a_visible_character_gives_a_token(text: str) -> None:
    expected = any(c.isalnum() for c in text)
    assert int(lengths(ClipTokenizer()([text]))) > 2 or not expected


@pytest.mark.parametrize(
    "text", ["собака", "红色的汽车", "كلب", "🦊🦊", "e\u0301t\u00e9", "\x07bell", "a\x00b", "\ud800 x"]
)
def test_scripts_emoji_and_control_characters_are_tokens(text: str) -> None:
    ids = ClipTokenizer()([text, "dog"])
    assert not torch.equal(ids[0], ids[1]) and int(lengths(ids)[0]) > 2


@pytest.mark.parametrize("text", ["a dog <end_of_text> and a cat", "a dog <END_OF_TEXT> <start_of_text> and a cat"])
def test_a_text_cannot_end_itself(text: str) -> None:
    ids = ClipTokenizer()([text, "and a cat"])
    inside, cat = ids[0, 1 : lengths(ids)[0] - 1], ids[1, 1 : lengths(ids)[1] - 1]
    assert (inside < START).all() and torch.equal(inside[-len(cat) :], cat)


def test_long_texts_keep_their_beginning_and_the_end_token_and_are_reported_once(caplog) -> None:
    tokenizer = ClipTokenizer(8)
    fits, long = "one two three four five six", "one two three four five six seven"
    ids = tokenizer([fits, long, long])
    assert torch.equal(ids[0], ids[1]) and ids[1, -1] == END
    tokenizer([long, fits])
    (notice,) = caplog.records
    assert "first 6 of 7" in notice.getMessage() and long in notice.getMessage()


def test_notices_do_not_flood_the_log(caplog) -> None:
    ClipTokenizer(4)([f"one two three {number}" for number in range(100)])
    assert len(caplog.records) == 20 and "without a word" in caplog.records[-1].getMessage()


@pytest.mark.parametrize("text", ["x" * 1_000_000, "word " * 200_000, " " * 1_000_000 + "dog"])
def test_huge_texts_take_no_time(text: str) -> None:
    assert int(lengths(ClipTokenizer()([text]))) == (3 if text.endswith("dog") else 77)
