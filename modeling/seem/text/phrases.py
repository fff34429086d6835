"""Texts as the decoder takes them: the tokens of an image's texts in one sequence.

Letters in shapes: B images, T tokens of an image's texts, M texts of one image, P width of the joint text space.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from ..decoder.decoder_prompts import TextPrompt
from .class_embeddings import ClassEmbeddings


@dataclass
class Phrases:
    """Texts of a batch.

    Attributes:
        prompt: their tokens.
        embeds: per image, (M, P) float32, what stands for each text; not normalised.
    """

    prompt: TextPrompt
    embeds: list[Tensor]


def encode_phrases(encoder: ClassEmbeddings, texts: Sequence[Sequence[str]], *, once: bool) -> Phrases:
    """Encodes the texts of each image.

    Args:
        encoder: runs the text tower.
        texts: per image, M texts; images may have different numbers of them, also none.
        once: a text that occurs several times in an image has its tokens in the sequence once.
    """
    flat = iter(encoder.sentences([text for image in texts for text in image]))
    sequences, embeds = [], []
    projection = encoder.encoder.lang_proj
    none = projection.new_zeros(0, projection.shape[1], dtype=torch.float32)
    for image in texts:
        pairs = [(text, next(flat)) for text in image]
        shown = dict(pairs).values() if once else [encoded for _, encoded in pairs]
        sequences.append(torch.cat([encoded.tokens for encoded in shown]) if pairs else none)
        embeds.append(torch.stack([encoded.embed for _, encoded in pairs]) if pairs else none)
    counts = torch.tensor([len(sequence) for sequence in sequences])
    valid = (torch.arange(int(counts.max())) < counts[:, None]).to(none.device, non_blocking=True)
    return Phrases(TextPrompt(pad_sequence(sequences, batch_first=True), valid), embeds)


def text_groups(texts: Sequence[str], device: torch.device) -> Tensor:
    """Returns (M,) int64 numbers that are equal for equal texts."""
    numbers = {text: number for number, text in enumerate(dict.fromkeys(texts))}
    return torch.tensor([numbers[text] for text in texts], dtype=torch.int64, device=device)
