import numpy as np
import torch

from gags.reconstruct.adam import adam_step


def test_visible_rows_follow_torch_and_others_rest():
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(6, 2, 3, generator=generator)
    visible = np.array([True, False, True, True, False, True])
    expected = values[visible].clone().requires_grad_()
    optimiser = torch.optim.Adam([expected], lr=0.01, eps=1e-15)
    ours, first, second = values.clone(), torch.zeros_like(values), torch.zeros_like(values)

    for step in range(4):
        gradient = torch.randn(6, 2, 3, generator=generator)
        expected.grad = gradient[visible].clone()
        optimiser.step()
        adam_step(ours, gradient, first, second, np.full(6, 0.01), visible, step)

    torch.testing.assert_close(ours[visible], expected.detach(), rtol=1e-5, atol=1e-6)
    assert torch.equal(ours[~visible], values[~visible])
    assert not first[~visible].any()
    assert not second[~visible].any()


def test_every_column_has_its_own_rate():
    values, gradient = torch.zeros(1, 2), torch.ones(1, 2)
    adam_step(
        values, gradient, torch.zeros(1, 2), torch.zeros(1, 2), np.array([0.5, 0.25]), np.array([True]), 0
    )
    # The first step of Adam is the learning rate, whatever the gradient's size.
    torch.testing.assert_close(values, torch.tensor([[-0.5, -0.25]]))
