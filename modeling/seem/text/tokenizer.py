"""CLIP's byte-pair tokenizer (vocabulary of ViT-B/32), from the vocabulary file that open_clip ships: no download."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Protocol

import torch
from torch import Tensor

from ....utils.errors import UserError
from ....utils.logging import get_logger

log = get_logger(__name__)

END = 49407
# No token of the vocabularies in use stands for more characters; longer texts are cut before the tokenizer, whose time
# grows with the square of a word's length.
_LONGEST_TOKEN = 64
_MOST_NOTICES = 20
_SHOWN = 60
# A text must not be able to end itself.
_SPECIAL = re.compile(r"<(?=(start|end)_of_text>)", re.IGNORECASE)


class Tokenizer(Protocol):
    """Turns texts into token ids below ``vocabulary_size``."""

    vocabulary_size: int

    def __call__(self, texts: Sequence[str]) -> Tensor:
        """Returns ids (N, L) int64 of N texts, cut to the context length L.

        The end token has the largest id; after the first one only end tokens follow.
        """


class ClipTokenizer:
    """Lower-cased CLIP tokens between start (49406) and end (49407), padded with the end token.

    Every text has tokens: the vocabulary holds all bytes of UTF-8. An empty text is start and end alone.

    Args:
        context_length: number of tokens L; longer texts are cut, with a notice, and keep their end token.
    """

    vocabulary_size = END + 1

    def __init__(self, context_length: int = 77) -> None:
        self.context_length = context_length
        self._notices = TruncationNotices(
            context_length, lambda text: len(_open_clip_tokenizer()._tokenizer.encode(text))
        )

    def __call__(self, texts: Sequence[str]) -> Tensor:
        """Returns the ids (N, L) int64 of N texts."""
        cleaned = [clean_text(text, self.context_length) for text in texts]
        ids = _open_clip_tokenizer().tokenize(cleaned, self.context_length)
        after_end = (ids == END).cumsum(dim=1) > 0
        ids = torch.where(after_end, END, ids)
        self._notices.check(cleaned, ids)
        return ids


class TruncationNotices:
    """Says once per text that it has more tokens than the tower reads.

    Args:
        context_length: tokens that the tower reads, start and end included.
        count: returns the number of a text's tokens without start and end.
    """

    def __init__(self, context_length: int, count: Callable[[str], int]) -> None:
        self.context_length = context_length
        self.count = count
        self._seen: set[str] = set()

    def check(self, texts: Sequence[str], ids: Tensor) -> None:
        """Warns of the texts whose ids (N, L) are not all of their tokens."""
        for row in torch.nonzero(lengths(ids) == self.context_length).flatten().tolist():
            text = texts[row]
            if text in self._seen or len(self._seen) >= _MOST_NOTICES:
                continue
            tokens = self.count(text)
            if tokens + 2 <= self.context_length:  # it just fits
                continue
            self._seen.add(text)
            shown = text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
            more = " Further ones are cut without a word." if len(self._seen) == _MOST_NOTICES else ""
            log.warning(
                "a text has more tokens than the text encoder reads: only the first %d of %s%d are used of %r.%s",
                self.context_length - 2, "at least " if _is_cut(text, self.context_length) else "", tokens, shown, more,
            )  # fmt: skip


def clean_text(text: str, context_length: int) -> str:
    """Returns a text that any tokenizer takes: valid Unicode, of bounded length, without the names of special tokens.

    Args:
        text: anything; characters that UTF-8 cannot hold (halves of surrogate pairs) become question marks.
        context_length: tokens that the tower reads; characters that cannot be among them are cut.
    """
    text = text.encode("utf-8", "replace").decode("utf-8")
    if len(text) > _LONGEST_TOKEN * context_length:
        text = " ".join(text.split())[: _LONGEST_TOKEN * context_length]
    return _SPECIAL.sub("< ", text)


def lengths(ids: Tensor) -> Tensor:
    """Returns how many tokens (N,) each row of ids (N, L) has, start and first end token included."""
    return ids.argmax(dim=1) + 1


def _is_cut(text: str, context_length: int) -> bool:
    return len(text) >= _LONGEST_TOKEN * context_length


@lru_cache(maxsize=1)
def _open_clip_tokenizer() -> ModuleType:
    """Loads open_clip's tokenizer module alone: importing the package would load its whole model zoo (seconds)."""
    package = importlib.util.find_spec("open_clip")
    if package is None or package.origin is None:
        raise UserError("the text encoder needs the package open_clip_torch: pip install open_clip_torch")
    path = Path(package.origin).with_name("tokenizer.py")
    spec = importlib.util.spec_from_file_location("_segfoundry_open_clip_tokenizer", path)
    if spec is None or spec.loader is None or not path.is_file():
        raise UserError(f"open_clip_torch has no {path}: reinstall it")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
