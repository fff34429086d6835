"""open_clip's tokenizers in the one form of ids that the rest of the model knows.

Our form: the ids of a text, then from its end token on a number larger than every id. open_clip's own forms differ:
the end may be padded with zeros, with itself, with a padding token, or with a class token in the last place. They are
restored when the tower runs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import open_clip
import torch
from torch import Tensor
from torch.nn import functional as F

from ....utils.errors import ConfigError
from .tokenizer import TruncationNotices, clean_text

_KEY = "MODEL.TEXT.OPEN_CLIP"


@dataclass(frozen=True)
class IdLayout:
    """How a tokenizer ends and pads its ids, and the translation to our form and back.

    Attributes:
        context_length: number of ids of a text.
        end: native id at a text's end.
        pad: native id behind it.
        last: native id in the last place.
        mark: our id from the end on; larger than all native ones.
    """

    context_length: int
    end: int
    pad: int
    last: int
    mark: int

    @classmethod
    def probe(cls, first: Tensor, second: Tensor, vocabulary: int) -> IdLayout:
        """Reads the layout off the native ids (L,) of two texts that differ in their last token only."""
        differ = torch.nonzero(first != second).flatten()
        length = len(first)
        if not len(differ) or int(differ[-1]) > length - 3:
            raise ValueError("the probe texts must differ and leave room for padding")
        end = int(differ[-1]) + 1
        return cls(length, int(first[end]), int(first[end + 1]), int(first[-1]), max(vocabulary, int(first.max()) + 1))

    def ours(self, native: Tensor) -> Tensor:
        """Maps native ids (N, L) to our form."""
        place = torch.arange(self.context_length, device=native.device)
        padding = native == self.pad
        if self.last != self.pad:
            padding = padding | (place == self.context_length - 1)
        run = padding.flip(1).cumprod(dim=1).sum(dim=1)  # padding at the end of each row
        ends = self.context_length - run - int(self.end != self.pad)
        return torch.where(place >= ends.clamp(0, self.context_length - 1)[:, None], self.mark, native)

    def native(self, ids: Tensor, tails: bool = True) -> Tensor:
        """Maps ids (N, L) in our form, or their first columns, back.

        Args:
            ids: ids in our form.
            tails: what follows the first end of a row is padding; else every mark is an end.
        """
        marked = ids == self.mark
        if not tails:
            return torch.where(marked, self.end, ids)
        first_end = marked & (marked.cumsum(dim=1) == 1)
        native = torch.where(first_end, self.end, torch.where(marked, self.pad, ids))
        if ids.shape[1] == self.context_length and self.last != self.pad:
            native[:, -1] = torch.where(first_end[:, -1], native[:, -1], self.last)
        return native

    def fill(self, ids: Tensor) -> Tensor:
        """Pads the first columns (N, L') of ids in our form to the whole context (N, L)."""
        return F.pad(ids, (0, self.context_length - ids.shape[1]), value=self.mark)


class OpenClipTokenizer:
    """The tokenizer of an open_clip model.

    Args:
        name: the model, as open_clip knows it.
        text: its text configuration.
        vocabulary: rows of the tower's token embedding.
        download: whether a tokenizer that is not on this machine may be fetched.

    Raises:
        ConfigError: it is not on this machine and must not be fetched.
    """

    def __init__(self, name: str, text: Mapping[str, Any], vocabulary: int, download: bool) -> None:
        self._tokenizer: Any = _load_tokenizer(name, text, download)
        first, second = self._tokenizer(["a", "b"])
        self.layout = IdLayout.probe(first, second, vocabulary)
        self.vocabulary_size = self.layout.mark + 1
        self._notices = TruncationNotices(self.layout.context_length, self._count)

    def __call__(self, texts: Sequence[str]) -> Tensor:
        """Returns ids (N, L) int64 of N texts in our form."""
        cleaned = [clean_text(text, self.layout.context_length) for text in texts]
        ids = self.layout.ours(self._tokenizer(cleaned))
        self._notices.check(cleaned, ids)
        return ids

    def _count(self, text: str) -> int:
        """Returns the number of a text's tokens without start and end."""
        wrapped = getattr(self._tokenizer, "tokenizer", None)
        if wrapped is None:
            return len(self._tokenizer.encode(text))
        return len(wrapped(text, add_special_tokens=False).input_ids)


def _load_tokenizer(name: str, text: Mapping[str, Any], download: bool) -> Any:
    source = text.get("hf_tokenizer_name") or ""
    options = {"local_files_only": True} if source and not download else {}
    if not source and "siglip" in name.lower() and not name.startswith("local-dir:") and not download:
        raise ConfigError(f"{_KEY}.NAME {name!r}: open_clip downloads its tokenizer; set {_KEY}.DOWNLOAD True")
    try:
        return open_clip.get_tokenizer(name, **options)
    except (OSError, ValueError, ImportError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ConfigError(
            f"{_KEY}.NAME {name!r} needs the tokenizer {source!r} of the Hugging Face hub, which is not on this "
            f"machine ({reason}). Fetch it once (hf download {source}), or set {_KEY}.DOWNLOAD True."
        ) from error
