"""Focal loss: against the formula, far from the boundary, gradients."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from segfoundry.modeling.losses.bce import mask_bce
from segfoundry.modeling.losses.focal import mask_focal


@given(st.floats(0.05, 0.95), st.floats(0, 4), st.integers(0, 1000))
def test_it_is_the_published_formula(alpha, gamma, seed):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(2, 20, generator=generator) * 3
    targets = torch.rand(2, 20, generator=generator) > 0.5
    p = logits.double().sigmoid()
    q = torch.where(targets, p, 1 - p)
    expected = (-torch.where(targets, alpha, 1 - alpha) * (1 - q) ** gamma * q.log()).mean(dim=1)
    torch.testing.assert_close(mask_focal(logits, targets, alpha, gamma).double(), expected, rtol=1e-5, atol=1e-7)


def test_without_focus_and_with_equal_weights_it_is_half_the_cross_entropy():
    logits, targets = torch.randn(3, 40), (torch.rand(3, 40) > 0.5).float()
    torch.testing.assert_close(2 * mask_focal(logits, targets, 0.5, 0.0), mask_bce(logits, targets))


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_sure_logits_have_finite_losses_and_gradients(gamma):
    logits = torch.tensor([[-500.0, 500.0, -500.0, 500.0]], requires_grad=True)
    loss = mask_focal(logits, torch.tensor([[True, True, False, False]]), 0.85, gamma)
    loss.sum().backward()
    assert loss.item() == pytest.approx((0.85 * 500 + 0.15 * 500) / 4)
    torch.testing.assert_close(logits.grad, torch.tensor([[-0.85, 0.0, 0.0, 0.15]]) / 4)
