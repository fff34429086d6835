"""Weights and images that a recorded case states as formulas, so that full-size networks need no large files."""

from __future__ import annotations

import re
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

_VALUE = re.compile(r"(?:([\d.]+)\+)?(?:([\d.]+)\*)?(0|n|\|n\|)(/sqrt\(prod\(shape\[1:\]\)\))?")
_PIXEL = re.compile(r"img\[y,x,c\] = ([xyc\d\s()+*/%-]+), uint8, RGB")


def formula_state(model: nn.Module, weights: Mapping[str, Any]) -> dict[str, Tensor]:
    """Returns a state dict for the names and shapes of a network.

    Args:
        model: the network.
        weights: the salt of the seeds, and ``rules_in_order``: pairs of which names a rule holds for and the value, in
            the words of the recorded cases; the first rule that holds counts.
    """
    return {
        name: formula_tensor(name, tensor, weights["salt"], weights["rules_in_order"])
        for name, tensor in model.state_dict().items()
    }


def formula_tensor(name: str, like: Tensor, salt: str, rules: Sequence[tuple[str, str]]) -> Tensor:
    """Returns the values of one tensor: numbers seeded by salt and name, changed by the first rule that holds.

    Raises:
        ValueError: if the words of a rule are unknown, or none holds.
    """
    value = next((value for condition, value in rules if _holds(condition, name, like.ndim)), None)
    form = _VALUE.fullmatch(value or "")
    if form is None:
        raise ValueError(f"{name}: no value by the rules {rules}")
    plus, times, symbol, spread = form.groups()
    if symbol == "0":
        return torch.zeros_like(like, device="cpu")
    seed = zlib.crc32((salt + name).encode())
    n = np.random.RandomState(seed).standard_normal(tuple(like.shape)).astype(np.float32)
    numbers = np.abs(n) if symbol == "|n|" else n
    if times:
        numbers = np.float32(times) * numbers
    if plus:
        numbers = np.float32(plus) + numbers
    if spread:
        numbers = (numbers / np.sqrt(n[0].size)).astype(np.float32)
    return torch.from_numpy(numbers)


def _holds(condition: str, name: str, dimensions: int) -> bool:
    """Tells whether all parts of a rule's condition hold, e.g. "1-dimensional and name ends with weight"."""
    for part in re.split(r" and (?=name )", condition):
        if part.startswith("name ends with "):
            holds = name.endswith(part.removeprefix("name ends with "))
        elif part.startswith("name contains "):
            words = re.split(", | or ", part.removeprefix("name contains "))
            holds = any(word in name for word in words)
        elif part in ("1-dimensional", "1-dimensional otherwise"):
            holds = dimensions == 1
        elif part == "otherwise":
            holds = True
        else:
            raise ValueError(f"unknown words in a rule: {part!r}")
        if not holds:
            return False
    return True


def formula_image(size: tuple[int, int], formula: str) -> np.ndarray:
    """Returns the image (height, width, 3) uint8 of those cases.

    Args:
        size: (height, width).
        formula: arithmetic over the row y, the column x and the channel c, in the words of the recorded cases.

    Raises:
        ValueError: if it is more than arithmetic.
    """
    form = _PIXEL.fullmatch(formula)
    if form is None or "**" in formula:
        raise ValueError(f"unknown formula of an image: {formula!r}")
    y, x, c = np.mgrid[: size[0], : size[1], :3]
    return eval(form.group(1), {"__builtins__": {}}, {"y": y, "x": x, "c": c}).astype(np.uint8)
