"""Class names that a text encoder cannot tell apart: of such categories, only one is ever predicted."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence

from .clip_tokens import clip_tokens
from .text_templates import evaluation_prompts, training_prompt

_START, _END = 40, 20  # characters of a long name that are shown

Readings = tuple[Callable[[str], str], ...]
READ_AS: Readings = (lambda name: training_prompt(name, 0), lambda name: evaluation_prompts(name)[0])
"""The shortest prompts of a class name, of which the encoder reads most: that of training and that of evaluation."""


def names_read_the_same(
    names: Sequence[str],
    read_as: Readings = READ_AS,
    tokens: Callable[[Sequence[str]], Iterable[Hashable]] = lambda texts: map(clip_tokens, texts),
) -> list[tuple[str, ...]]:
    """Returns the groups of names, in the order of the first, that the text encoder reads as one text.

    Args:
        names: class names.
        read_as: each makes a name the text that is read; names are alike when one of them makes them alike.
        tokens: what the encoder reads of each text; default: CLIP's tokens.
    """
    groups: dict[tuple[str, ...], None] = {}
    for text_of in read_as:
        alike: dict[Hashable, list[str]] = {}
        for name, value in zip(names, tokens([text_of(name) for name in names]), strict=True):
            alike.setdefault(value, []).append(name)
        groups |= dict.fromkeys(tuple(group) for group in alike.values() if len(group) > 1)
    return list(groups)


def list_names(group: Sequence[str]) -> str:
    """Returns names as they stand in a sentence: 'Cup', 'cup' and 'CUP'; long ones lose their middle."""
    short = (n if len(n) <= _START + _END else f"{n[:_START]}...{n[-_END:]}" for n in group)
    shown = [repr(name) for name in short]
    return f"{', '.join(shown[:-1])} and {shown[-1]}"
