"""Windows are the grid's squares, padded at the bottom and right, and come back as the grid."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from segfoundry.modeling.layers.windows import join_windows, split_windows

SIDES = st.integers(1, 9)


@given(batch=st.integers(1, 2), height=SIDES, width=SIDES, window=st.integers(1, 5), filled=st.booleans())
def test_joining_undoes_splitting(batch, height, width, window, filled):
    x = torch.randn(batch, height, width, 2)
    windows, padded_size = split_windows(x, window, torch.ones(2) if filled else None)
    assert padded_size == (-(-height // window) * window, -(-width // window) * window)
    assert windows.shape == (batch * padded_size[0] * padded_size[1] // window**2, window, window, 2)
    assert torch.equal(join_windows(windows, window, padded_size, (height, width)), x)


@pytest.mark.parametrize("fill", [None, torch.tensor([5.0, -1.0])])
def test_windows_go_row_by_row_and_hold_the_fill(fill):
    x = torch.arange(12.0).view(1, 3, 4, 1).repeat(1, 1, 1, 2)
    windows, _ = split_windows(x, 2, fill)
    assert windows[..., 0].flatten(1)[:2].tolist() == [[0, 1, 4, 5], [2, 3, 6, 7]]
    padding = [0.0, 0.0] if fill is None else fill.tolist()
    assert windows[2:, 1].tolist() == [[padding] * 2] * 2


def test_the_fill_gets_the_gradient_of_all_padding():
    fill = torch.zeros(1, requires_grad=True)
    split_windows(torch.randn(2, 3, 4, 1), 2, fill)[0].sum().backward()
    assert fill.grad.item() == 2 * 4
