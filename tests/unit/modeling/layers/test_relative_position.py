"""Ways to attend with relative positions agree, and those for large grids keep no dense matrix."""

import itertools

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from segfoundry.modeling.layers import relative_position
from segfoundry.modeling.layers.relative_position import MODES, relative_attention, resized_table


def inputs(size, *, batch=2, heads=3, dim=4, table_lengths=None, dtype=torch.float32, requires_grad=False):
    """Query, key, value and tables of both axes."""
    torch.manual_seed(0)
    lengths = table_lengths or [2 * side - 1 for side in size]
    shapes = [(batch, heads, size[0] * size[1], dim)] * 3 + [(length, dim) for length in lengths]
    return [torch.randn(shape, dtype=dtype).requires_grad_(requires_grad) for shape in shapes]


def attend(tensors, size, mode):
    query, key, value, rows, columns = tensors
    return relative_attention(query, key, value, (rows, columns), size, mode)


def by_definition(tensors, size):
    """One pair of tokens at a time."""
    query, key, value, row_table, column_table = tensors
    cells = list(itertools.product(range(size[0]), range(size[1])))
    logits = query @ key.transpose(-1, -2) / query.shape[-1] ** 0.5
    for (i, (y, x)), (j, (v, u)) in itertools.product(enumerate(cells), enumerate(cells)):
        position = row_table[y - v + size[0] - 1] + column_table[x - u + size[1] - 1]
        logits[..., i, j] += query[..., i, :] @ position
    return logits.softmax(-1) @ value


@pytest.mark.parametrize("mode", MODES)
def test_every_way_follows_the_definition(mode):
    tensors = inputs((3, 4))
    torch.testing.assert_close(attend(tensors, (3, 4), mode), by_definition(tensors, (3, 4)), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("size", [(1, 1), (5, 2), (8, 8), (33, 32)])
@pytest.mark.parametrize("mode", [m for m in MODES if m != "eager"])
@pytest.mark.parametrize("table_lengths", [None, (9, 27)], ids=["fitting", "interpolated"])
def test_values_and_gradients_agree_with_plain_products(size, mode, table_lengths):
    tensors = inputs(size, table_lengths=table_lengths, requires_grad=True)
    found = []
    for way in ("eager", mode):
        output = attend(tensors, size, way)
        grads = torch.autograd.grad(output, tensors, torch.cos(torch.arange(output.numel())).view_as(output))
        with torch.no_grad():
            found.append([output, attend(tensors, size, way), *grads])
    for expected, actual in zip(*found, strict=True):
        scale = max(expected.abs().max().item(), 1.0)
        torch.testing.assert_close(actual, expected, rtol=0, atol=1e-5 * scale)


@pytest.mark.parametrize("limit", [1, 200, 10**9])
def test_pieces_without_gradients_make_the_whole(monkeypatch, limit):
    monkeypatch.setattr(relative_position, "_CACHED_LOGITS", limit)
    tensors = inputs((7, 5))
    torch.testing.assert_close(attend(tensors, (7, 5), "auto"), attend(tensors, (7, 5), "eager"))


@pytest.mark.parametrize("mode", [m for m in MODES if m != "auto"])
def test_double_precision_agrees_closely(mode):
    tensors = inputs((6, 5), dtype=torch.float64)
    torch.testing.assert_close(attend(tensors, (6, 5), mode), attend(tensors, (6, 5), "eager"), rtol=1e-12, atol=1e-12)


class LargestTensor(TorchDispatchMode):
    """Remembers the largest number of elements that any operation gave."""

    elements = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        output = func(*args, **(kwargs or {}))
        tensors = output if isinstance(output, (tuple, list)) else [output]
        self.elements = max([self.elements, *(t.numel() for t in tensors if isinstance(t, torch.Tensor))])
        return output


@pytest.mark.parametrize(("mode", "with_gradients", "dense"), [
    ("eager", False, True),
    ("bias", False, True),
    ("auto", False, False),
    ("concat", False, False),
    ("auto", True, False),
])  # fmt: skip
def test_large_grids_need_no_matrix_of_all_pairs(mode, with_gradients, dense):
    size = (48, 48)
    tensors = inputs(size, batch=1, heads=2, dim=8, requires_grad=with_gradients)
    with LargestTensor() as largest, torch.set_grad_enabled(with_gradients):
        output = attend(tensors, size, mode)
        if with_gradients:
            output.sum().backward()
    assert (largest.elements >= 2 * 48**4) is dense


def test_tables_are_interpolated_between_their_ends():
    table = torch.arange(5.0)[:, None]
    assert resized_table(table, 5) is table
    longer = resized_table(table, 9)[:, 0]
    assert longer.shape == (9,) and (longer.diff() >= 0).all() and longer[4] == 2.0
    assert longer.min() >= 0 and longer.max() <= 4
