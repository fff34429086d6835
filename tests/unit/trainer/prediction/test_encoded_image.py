"""Texts that users type to name an object."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from segfoundry.trainer.prediction.encoded_image import check_text
from segfoundry.utils.errors import UserError


@pytest.mark.parametrize("text", ["", "  ", "\n\t", "\x00", "\u200b", None])
def test_a_text_without_content_is_refused(text) -> None:
    with pytest.raises(UserError, match="expected words"):
        check_text(text)


@given(st.text(st.characters(categories=["L", "N", "S"]), min_size=1, max_size=5))
def test_any_script_and_symbol_is_content(text: str) -> None:
    check_text(f" {text}\n")
