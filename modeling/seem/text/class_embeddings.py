"""Embeddings of class names: prompts, and caches that run the text tower once per text while its weights stay.

Letters in shapes: K names, T prompts of a name, P width of the joint space of texts and queries.
"""

from __future__ import annotations

import functools
import hashlib
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from ....utils.array_cache import ArrayCache
from ....utils.class_names.same_names import READ_AS, list_names, names_read_the_same
from ....utils.class_names.text_templates import TEMPLATES, evaluation_prompts, training_prompt
from ....utils.draws import Draws
from ....utils.logging import get_logger
from .text_towers import TextEncoder, normalize
from .tokenizer import Tokenizer, lengths

log = get_logger(__name__)

BACKGROUND = "background"
PROMPTS = ("templates", "plain")
# Matrix products give a row the same bits whatever the other rows are, as long as their number stays the same.
_BATCH = 16
# So many texts take long enough on a slow machine for the user to be told.
_MANY_TEXTS = 2000

# Sentences whose tokens are kept; unlike class names, a data set may have any number of them.
_MOST_SENTENCES = 4096

Prompted = tuple[str, ...]  # the T prompts of one name


class EncodedText(NamedTuple):
    """One text as the tower gives it, not normalised.

    Attributes:
        tokens: (L, P) float32, from the start to the end token.
        embed: (P,) float32, what stands for the whole text.
    """

    tokens: Tensor
    embed: Tensor


class ClassEmbeddings:
    """Unit-length embeddings of class names.

    While gradients are off or the encoder is frozen, each text runs through the tower once, and never again until the
    encoder's weights, device or dtype change. The prompts of one name are always computed together and other texts in
    batches of constant size: an embedding does not depend on what was computed before, so that a resumed run sees the
    same numbers.

    Args:
        encoder: text encoder; only referred to, its owner registers it.
        tokenizer: turns texts into ids.
        prompt: "templates" (a random template per name in training, the mean of all in evaluation) or "plain" (the
            name as it is).
        disk: keeps the prompts' embeddings between runs; unused while the encoder trains. None: nothing is kept.
    """

    def __init__(
        self, encoder: TextEncoder, tokenizer: Tokenizer, prompt: str = "templates", disk: ArrayCache | None = None
    ) -> None:
        if prompt not in PROMPTS:
            raise ValueError(f"prompt must be one of {PROMPTS}, not {prompt!r}")
        self.encoder = encoder
        self.tokenizer = tokenizer
        self.prompt = prompt
        self.disk = disk
        self._texts: dict[str, Tensor] = {}
        self._tables: dict[Prompted, Tensor] = {}  # (T, P)
        self._means: dict[str, Tensor] = {}
        self._sentences: dict[str, EncodedText] = {}
        self._weights: Any = None
        self._checked: set[tuple[str, ...]] = set()
        self._alike: set[tuple[str, ...]] = set()

    def check_names(self, names: Sequence[str]) -> None:
        """Warns of class names that the tokenizer makes the same ids of, once per list of names."""
        if tuple(names) in self._checked:
            return
        self._checked.add(tuple(names))
        read_as = READ_AS if self.prompt == "templates" else (str,)
        found = names_read_the_same(names, read_as, lambda texts: map(tuple, self.tokenizer(texts).tolist()))
        for group in found:
            if group not in self._alike:
                log.warning(
                    "the text encoder reads the categories %s as the same text: at most one of them is ever predicted; "
                    "give each a name of its own (case, spaces and what is cut off at the end make no difference)",
                    list_names(group),
                )
        self._alike.update(found)

    def training(self, names: Sequence[str], rng: Draws) -> Tensor:
        """Returns embeddings (K, P), float32, under one random template per name (draw "template")."""
        if self.prompt == "plain":
            return self.encode(names)
        drawn = rng.integers("template", len(TEMPLATES), (len(names),)).tolist()
        if self._learns():
            return self.encode([training_prompt(name, index) for name, index in zip(names, drawn, strict=True)])
        prompted = [_training_prompts(name) for name in names]
        self._fill_tables(prompted)
        return torch.stack([self._tables[prompts][index] for prompts, index in zip(prompted, drawn, strict=True)])

    @torch.no_grad()
    def evaluation(self, names: Sequence[str]) -> Tensor:
        """Returns embeddings (K, P), float32: the normalised mean over all templates of each name."""
        if self.prompt == "plain":
            return self.encode(names)
        self._forget_if_changed()
        missing = [name for name in dict.fromkeys(names) if name not in self._means]
        if missing:
            prompted = [tuple(evaluation_prompts(name)) for name in missing]
            self._fill_tables(prompted)
            for name, prompts in zip(missing, prompted, strict=True):
                self._means[name] = F.normalize(self._tables[prompts].mean(dim=0), dim=-1)
        return torch.stack([self._means[name] for name in names])

    def encode(self, texts: Sequence[str]) -> Tensor:
        """Returns unit-length embeddings (K, P), float32, of K texts; differentiable when the encoder trains."""
        if self._learns():
            ids = self._tokenize(texts)
            return normalize(self.encoder(ids[:, : int(lengths(ids).max())])[1].float())
        self._forget_if_changed()
        missing = [text for text in dict.fromkeys(texts) if text not in self._texts]
        for batch, ids in self._batches(missing):
            # The cache outlives this step, so it is filled in full precision whatever the step's is.
            with torch.no_grad(), torch.autocast(ids.device.type, enabled=False):
                self._texts.update(zip(batch, normalize(self.encoder(ids)[1].float()), strict=False))
        return torch.stack([self._texts[text] for text in texts])

    def sentences(self, texts: Sequence[str]) -> list[EncodedText]:
        """Returns the token and text embeddings of each text; differentiable when the encoder trains."""
        different = list(dict.fromkeys(texts))
        if not different:
            return []
        if self._learns():
            ids = self._tokenize(different)
            counts = lengths(ids).tolist()
            tokens, embeds = self.encoder(ids[:, : max(counts)])
            rows = zip(different, tokens.float(), counts, embeds.float(), strict=True)
            found = {text: EncodedText(row[:count], embed) for text, row, count, embed in rows}
            return [found[text] for text in texts]
        self._forget_if_changed()
        for batch, ids in self._batches([text for text in different if text not in self._sentences]):
            with torch.no_grad(), torch.autocast(ids.device.type, enabled=False):
                tokens, embeds = self.encoder(ids)
            for text, row, embed in zip(batch, tokens.float(), embeds.float(), strict=False):
                self._sentences[text] = EncodedText(row.clone(), embed.clone())  # a view would keep the whole batch
        result = [self._sentences[text] for text in texts]
        for text in list(self._sentences)[:-_MOST_SENTENCES]:
            del self._sentences[text]
        return result

    def _fill_tables(self, prompted: Sequence[Prompted]) -> None:
        """Puts the embeddings of all these prompts into ``_tables``, from the disk where it has them."""
        self._forget_if_changed()
        missing = [prompts for prompts in dict.fromkeys(prompted) if prompts not in self._tables]
        if not missing:
            return
        ids = self._tokenize([text for prompts in missing for text in prompts]).split([len(p) for p in missing])
        work = dict(zip(missing, ids, strict=True))
        if self.disk is None or any(p.requires_grad for p in self._tower()):
            self._compute(work)
            return
        prefix = self._fingerprint()
        names = {prompts: _digest(prefix, _array(rows).tobytes()) for prompts, rows in work.items()}
        self._read(self.disk, names)
        if len(self._tables.keys() & names.keys()) == len(names):
            return
        with self.disk.lock():
            self._read(self.disk, names)  # what another process of the job computed meanwhile
            fresh = {prompts: rows for prompts, rows in work.items() if prompts not in self._tables}
            self._compute(fresh)
            for prompts in fresh:
                self.disk.put(names[prompts], _array(self._tables[prompts]))
            self.disk.trim()

    def _read(self, disk: ArrayCache, names: dict[Prompted, str]) -> None:
        """Takes what the disk has; a table of another shape is a damaged one."""
        projection = self.encoder.lang_proj
        for prompts, name in names.items():
            found = None if prompts in self._tables else disk.get(name)
            if found is not None and found.shape == (len(prompts), projection.shape[1]) and found.dtype == "float32":
                self._tables[prompts] = torch.from_numpy(found).to(projection.device)

    @torch.no_grad()
    def _compute(self, work: dict[Prompted, Tensor]) -> None:
        """Runs the tower on the prompts of one name after the other."""
        count = sum(len(rows) for rows in work.values())
        if count > _MANY_TEXTS:
            kept = "" if self.disk is None else f"; {self.disk.folder} keeps them for later runs"
            log.info("computing the text embeddings of %d names%s", len(work), kept)
        for prompts, rows in work.items():
            with torch.autocast(rows.device.type, enabled=False):
                self._tables[prompts] = normalize(self.encoder.embed(rows).float())

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

    def _learns(self) -> bool:
        """Whether gradients are wanted and would reach the tower."""
        return torch.is_grad_enabled() and any(p.requires_grad for p in self._tower())

    def _tower(self) -> list[Tensor]:
        """Returns the weights that embeddings depend on: all but the scale of the logits."""
        return [p for p in self.encoder.parameters() if p is not self.encoder.logit_scale]

    def _tokenize(self, texts: Sequence[str]) -> Tensor:
        return self.tokenizer(texts).to(self.encoder.lang_proj.device)

    def _fingerprint(self) -> bytes:
        """Returns what the embedding of given ids depends on, to the bit: structure, weights and the machine's kind."""
        device = self.encoder.lang_proj.device
        kind = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
        parts = [self.encoder.structure, torch.__version__, kind]
        parts += [f"{name} {p.dtype} {tuple(p.shape)}" for name, p in self.encoder.named_parameters()]
        parts += [str(module.lora_scale) for module in self.encoder.modules() if hasattr(module, "lora_scale")]
        digest = hashlib.sha256("\n".join(parts).encode())
        for weight in self._tower():
            digest.update(_array(weight.reshape(-1).view(torch.uint8)))
        return digest.digest()

    def _forget_if_changed(self) -> None:
        """Empties the caches when any weight was written to, replaced or moved since they were filled."""
        weights = [(p.data_ptr(), p._version, p.device, p.dtype) for p in self._tower()]
        if weights != self._weights:
            self._texts.clear()
            self._tables.clear()
            self._means.clear()
            self._sentences.clear()
            self._weights = weights


@functools.lru_cache(maxsize=8192)
def _training_prompts(name: str) -> Prompted:
    return tuple(training_prompt(name, index) for index in range(len(TEMPLATES)))


def _array(tensor: Tensor) -> Any:
    return tensor.detach().cpu().contiguous().numpy()


def _digest(*parts: bytes) -> str:
    return hashlib.sha256(b"".join(parts)).hexdigest()
