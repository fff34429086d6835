"""Embeddings of class names: prompts, and a cache that runs the text tower once per text while its weights stay.

Letters in shapes: K names, P width of the joint space of texts and queries.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from segfoundry.modeling.seem.language import LanguageEncoder, normalize
from segfoundry.modeling.seem.tokenizer import Tokenizer, lengths
from segfoundry.utils.draws import Draws
from segfoundry.utils.text_templates import TEMPLATES, evaluation_prompts, training_prompt

BACKGROUND = "background"
PROMPTS = ("templates", "plain")
# Matrix products give a row the same bits whatever the other rows are, as long as their number stays the same.
_BATCH = 16


class ClassEmbeddings:
    """Unit-length embeddings of class names.

    While gradients are off or the encoder is frozen, each text runs through the tower once, and never again until the
    encoder's weights, device or dtype change. A text's embedding does not depend on the texts it was computed with, so
    that a resumed run sees the same numbers.

    Args:
        encoder: text encoder; only referred to, its owner registers it.
        tokenizer: turns texts into ids.
        prompt: "templates" (a random template per name in training, the mean of all in evaluation) or "plain" (the
            name as it is).
    """

    def __init__(self, encoder: LanguageEncoder, tokenizer: Tokenizer, prompt: str = "templates") -> None:
        if prompt not in PROMPTS:
            raise ValueError(f"prompt must be one of {PROMPTS}, not {prompt!r}")
        self.encoder = encoder
        self.tokenizer = tokenizer
        self.prompt = prompt
        self._texts: dict[str, Tensor] = {}
        self._means: dict[str, Tensor] = {}
        self._weights: Any = None

    def training(self, names: Sequence[str], rng: Draws) -> Tensor:
        """Returns embeddings (K, P), float32, under one random template per name (draw "template")."""
        if self.prompt == "plain":
            return self.encode(names)
        drawn = rng.integers("template", len(TEMPLATES), (len(names),)).tolist()
        return self.encode([training_prompt(name, index) for name, index in zip(names, drawn, strict=True)])

    @torch.no_grad()
    def evaluation(self, names: Sequence[str]) -> Tensor:
        """Returns embeddings (K, P), float32: the normalised mean over all templates of each name."""
        if self.prompt == "plain":
            return self.encode(names)
        self._forget_if_changed()
        missing = [name for name in dict.fromkeys(names) if name not in self._means]
        if missing:
            rows = self.encode([text for name in missing for text in evaluation_prompts(name)])
            means = F.normalize(rows.unflatten(0, (len(missing), -1)).mean(dim=1), dim=-1)
            self._means.update(zip(missing, means, strict=True))
        return torch.stack([self._means[name] for name in names])

    def encode(self, texts: Sequence[str]) -> Tensor:
        """Returns unit-length embeddings (K, P), float32, of K texts; differentiable when the encoder trains."""
        if torch.is_grad_enabled() and any(p.requires_grad for p in self._tower()):
            ids = self._tokenize(texts)
            return normalize(self.encoder(ids[:, : int(lengths(ids).max())])[1].float())
        self._forget_if_changed()
        missing = [text for text in dict.fromkeys(texts) if text not in self._texts]
        for batch, ids in self._batches(missing):
            # The cache outlives this step, so it is filled in full precision whatever the step's is.
            with torch.no_grad(), torch.autocast(ids.device.type, enabled=False):
                self._texts.update(zip(batch, normalize(self.encoder(ids)[1].float()), strict=False))
        return torch.stack([self._texts[text] for text in texts])

    def _batches(self, texts: list[str]) -> Iterator[tuple[list[str], Tensor]]:
        """Yields texts of equal length with their ids; the last text fills batches up to the constant size."""
        if not texts:
            return
        ids = self._tokenize(texts)
        by_length: dict[int, list[int]] = defaultdict(list)
        for row, length in enumerate(lengths(ids).tolist()):
            by_length[length].append(row)
        for length, rows in by_length.items():
            for start in range(0, len(rows), _BATCH):
                part = rows[start : start + _BATCH]
                filled = part + part[-1:] * (_BATCH - len(part))
                yield [texts[row] for row in part], ids[filled, :length]

    def _tower(self) -> list[Tensor]:
        """Returns the weights that embeddings depend on: all but the scale of the logits."""
        return [p for p in self.encoder.parameters() if p is not self.encoder.logit_scale]

    def _tokenize(self, texts: Sequence[str]) -> Tensor:
        return self.tokenizer(texts).to(self.encoder.lang_proj.device)

    def _forget_if_changed(self) -> None:
        """Empties the cache when any weight was written to, replaced or moved since it was filled."""
        weights = [(p.data_ptr(), p._version, p.device, p.dtype) for p in self._tower()]
        if weights != self._weights:
            self._texts.clear()
            self._means.clear()
            self._weights = weights
