"""CLIP's byte-pair tokenizer (vocabulary of ViT-B/32), from the vocabulary file that open_clip ships: no download."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Protocol

import torch
from torch import Tensor

from segfoundry.utils.errors import UserError

END = 49407


class Tokenizer(Protocol):
    """Turns texts into token ids below ``vocabulary_size``."""

    vocabulary_size: int

    def __call__(self, texts: Sequence[str]) -> Tensor:
        """Returns ids (N, L) int64 of N texts, cut to the context length L.

        The end token has the largest id; after the first one only end tokens follow.
        """


class ClipTokenizer:
    """Lower-cased CLIP tokens between start (49406) and end (49407), padded with the end token.

    Args:
        context_length: number of tokens L; longer texts are cut and keep their end token.
    """

    vocabulary_size = END + 1

    def __init__(self, context_length: int = 77) -> None:
        self.context_length = context_length

    def __call__(self, texts: Sequence[str]) -> Tensor:
        """Returns the ids (N, L) int64 of N texts."""
        ids = _open_clip_tokenizer().tokenize(list(texts), self.context_length)
        after_end = (ids == END).cumsum(dim=1) > 0
        return torch.where(after_end, END, ids)


def lengths(ids: Tensor) -> Tensor:
    """Returns how many tokens (N,) each row of ids (N, L) has, start and first end token included."""
    return ids.argmax(dim=1) + 1


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
