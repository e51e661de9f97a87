import numpy as np
import pytest
import torch
from tests.helpers.gsplat_twin import gsplat_on_cpu

from gags.reconstruct.adam import adam_step, adam_step_cuda, adam_step_torch


def test_visible_rows_follow_torch_and_others_rest():
    rng = torch.Generator().manual_seed(0)
    values = torch.randn(6, 2, 3, generator=rng)
    visible = torch.tensor([True, False, True, True, False, True])
    expected = values[visible].clone().requires_grad_()
    optimiser = torch.optim.Adam([expected], lr=0.01, eps=1e-15)
    ours, first, second = values.clone(), torch.zeros_like(values), torch.zeros_like(values)

    for step in range(4):
        gradient = torch.randn(6, 2, 3, generator=rng)
        expected.grad = gradient[visible].clone()
        optimiser.step()
        adam_step(ours, gradient, first, second, np.full(6, 0.01), visible, step)

    torch.testing.assert_close(ours[visible], expected.detach(), rtol=1e-5, atol=1e-6)
    assert torch.equal(ours[~visible], values[~visible])
    assert not first[~visible].any()
    assert not second[~visible].any()


def test_every_column_has_its_own_rate():
    values, gradient = torch.zeros(1, 2), torch.ones(1, 2)
    moments = {"first": torch.zeros(1, 2), "second": torch.zeros(1, 2)}
    rates, visible = np.array([0.5, 0.25]), torch.tensor([True])
    adam_step(values, gradient, **moments, rates=rates, visible=visible, step=0)
    # The first step of Adam is the learning rate, whatever the gradient's size.
    torch.testing.assert_close(values, torch.tensor([[-0.5, -0.25]]))


@pytest.mark.parametrize("shape", [(40,), (40, 3), (40, 4, 3)])
@pytest.mark.parametrize("highest_rate", [0.1, 0.2])
@pytest.mark.parametrize("adam_step", [adam_step, adam_step_cuda])
def test_kernels_and_torch_agree(shape, highest_rate, adam_step):
    """gsplat's kernel has no correction of the moments, and one rate; both are folded in."""
    with gsplat_on_cpu():
        check_kernel(shape, highest_rate, adam_step)


def test_no_rows_are_no_reason_to_divide_by_their_number():
    none = torch.zeros(0, 3)
    with gsplat_on_cpu() as kernels:
        adam_step_cuda(none, none, none, none, np.ones(3), torch.zeros(0, dtype=torch.bool), 0)
    assert not kernels.calls


def check_kernel(shape, highest_rate, adam_step):
    rng = torch.Generator().manual_seed(0)
    rates = np.linspace(0.1, highest_rate, int(np.prod(shape[1:])))
    ours, theirs = ([torch.full(shape, 0.5), torch.zeros(shape), torch.zeros(shape)] for _ in range(2))
    for step in range(5):
        gradient, visible = torch.randn(shape, generator=rng), torch.rand(40, generator=rng) < 0.6
        for take_step, (values, first, second) in ((adam_step, ours), (adam_step_torch, theirs)):
            take_step(values, gradient, first, second, rates, visible, step)
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-4, atol=1e-5)
