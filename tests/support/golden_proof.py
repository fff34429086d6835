"""Shows that a reader reads a case, and that it sees a wrong value in it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from . import goldens


def changed(tensor: Tensor) -> Tensor:
    """Returns the tensor with one other element."""
    other = tensor.clone()
    first = other.view(-1)[:1]
    if other.dtype == torch.bool:
        first.logical_not_()
    elif other.dtype == torch.uint8:  # often 0 or 1
        first.bitwise_xor_(1)
    else:
        first.add_(first.abs() + 1)
    return other


def assert_read(case: goldens.Case) -> None:
    """All outputs are computed and compared, and none can be changed unnoticed."""
    assert case.outputs and case.listed == set(case.tensors)
    for output in case.outputs:
        goldens.check(case, output)
        case.tensors[f"out/{output}"] = changed(case.tensors[f"out/{output}"])
        with pytest.raises(AssertionError):
            goldens.check(case, output)


def rejects(check: Callable, case: goldens.Case, key: str, *arguments: object) -> None:
    """A check passes for a case, and fails for it with one other element of a tensor."""
    check(case, *arguments)
    kept = case.tensors[key]
    case.tensors[key] = changed(kept)
    with pytest.raises(AssertionError):
        check(case, *arguments)
    case.tensors[key] = kept


def rejects_info(check: Callable, case: goldens.Case, change: Callable, *arguments: object) -> None:
    """A check passes for a case, and fails for it with another json."""
    check(case, *arguments)
    other = goldens.Case(case.system, case.name, case.path)
    change(other.info)
    with pytest.raises(AssertionError):
        check(other, *arguments)
