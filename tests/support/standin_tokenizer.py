"""The tokenizer that recorded language cases describe in their json: a few ids, no vocabulary file."""

from __future__ import annotations

import re
from collections.abc import Sequence

import torch
from torch import Tensor


class StandInTokenizer:
    """Hashes the pieces of a text to ids; the two largest ids are start and end, and the end also pads."""

    def __init__(self, vocabulary_size: int, context_length: int) -> None:
        self.vocabulary_size = vocabulary_size
        self.context_length = context_length

    def __call__(self, texts: Sequence[str]) -> Tensor:
        return torch.tensor([self.ids(text) for text in texts])

    def ids(self, text: str) -> list[int]:
        start, end = self.vocabulary_size - 2, self.vocabulary_size - 1
        pieces = [self._hash(piece) for piece in re.findall(r"[a-z0-9]+|[^\sa-z0-9]", text.lower())]
        ids = [start, *pieces][: self.context_length - 1]
        return ids + [end] * (self.context_length - len(ids))

    def _hash(self, piece: str) -> int:
        value = 0
        for character in piece:
            value = (value * 31 + ord(character)) % (self.vocabulary_size - 2)
        return value
