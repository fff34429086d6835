"""Texts as a tree of tokens: what texts begin with in common is computed once.

With a causal mask the features of a token depend on the tokens before it only, so that the 81 prompts of a class name
("a photo of a {}.", "a photo of the {}.", ...) need about half of their tokens.

Letters in shapes: N texts, L tokens of the longest text, M nodes of the tree.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from .tokenizer import lengths


@dataclass(frozen=True)
class PrefixTree:
    """Tokens of texts, those of common beginnings once.

    Attributes:
        tokens: (M,) int64 ids.
        places: (M,) int64 position of each token in its texts.
        forbidden: (M, M) bool; row may not look at column, because that is neither itself nor before it in its texts.
        ends: (N,) int64 node of each text's first end token.
    """

    tokens: Tensor
    places: Tensor
    forbidden: Tensor
    ends: Tensor


def prefix_tree(ids: Tensor) -> PrefixTree:
    """Builds the tree of token ids (N, L); their form: :func:`segfoundry.modeling.seem.text.tokenizer.lengths`."""
    nodes: dict[tuple[int, int], int] = {}
    tokens: list[int] = []
    paths: list[list[int]] = []
    ends = []
    for row, length in zip(ids.tolist(), lengths(ids).tolist(), strict=True):
        node, path = -1, []
        for token in row[:length]:
            node = nodes.setdefault((node, token), len(nodes))
            path.append(node)
            if node == len(tokens):
                tokens.append(token)
                paths.append(list(path))
        ends.append(node)
    visible = np.zeros((len(tokens), len(tokens)), bool)
    visible[np.repeat(np.arange(len(paths)), [len(path) for path in paths]), np.concatenate(paths)] = True
    places = torch.tensor([len(path) - 1 for path in paths])
    found = (torch.tensor(tokens), places, torch.from_numpy(~visible), torch.tensor(ends))
    return PrefixTree(*(tensor.to(ids.device) for tensor in found))
