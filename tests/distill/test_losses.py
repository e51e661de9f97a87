"""Eq. 3-7 against numbers worked out by hand."""

import math

import numpy as np
import pytest
import torch

from gags.distill import losses


def test_granularity_weights_are_a_softmax_over_valid_levels():
    logits = torch.tensor([[0.0, math.log(3.0), 5.0], [1.0, 2.0, 3.0], [0.0, 0.0, 9.0]])
    valid = torch.tensor([[True, True, False], [False, False, False], [False, False, True]])
    expected = torch.tensor([[0.25, 0.75, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    torch.testing.assert_close(losses.granularity_weights(logits, valid), expected)


def test_granularity_weights_have_finite_gradients_where_no_level_is_valid():
    logits = torch.zeros(2, 3, requires_grad=True)
    valid = torch.tensor([[False, False, False], [True, True, False]])
    weights = losses.granularity_weights(logits, valid)
    (weights[1, 0] + weights[0].sum()).backward()
    assert logits.grad is not None
    torch.testing.assert_close(logits.grad, torch.tensor([[0.0, 0, 0], [0.25, -0.25, 0]]))


def test_weighted_distillation():
    decoded = torch.tensor([[1.0, 0.0]])
    targets = torch.tensor([[[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]]])  # squared distances 0, 2, 4
    omega = torch.tensor([[0.5, 0.25, 0.25]])
    assert losses.weighted_distillation(decoded, targets, omega).item() == pytest.approx(1.5)


def test_mixture_distillation():
    decoded = torch.tensor([[1.0, 0.0]])
    targets = torch.tensor([[[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]]])
    omega = torch.tensor([[0.5, 0.25, 0.25]])  # mixture (0.25, 0.25)
    assert losses.mixture_distillation(decoded, targets, omega).item() == pytest.approx(1.0)


def test_losses_without_a_copy_of_the_targets_are_the_plain_ones_with_their_gradients():
    rng = torch.Generator().manual_seed(0)
    table, masks = torch.randn(20, 7, generator=rng), torch.randint(0, 20, (30, 3), generator=rng)
    start, logits = torch.randn(30, 7, generator=rng), torch.randn(30, 3, generator=rng)
    valid = torch.rand(30, 3, generator=rng) < 0.7

    def both(by_table: bool, weighted: bool) -> tuple[torch.Tensor, ...]:
        decoded, s = start.clone().requires_grad_(True), logits.clone().requires_grad_(True)
        omega = losses.granularity_weights(s, valid)
        if by_table:
            mixture = losses.blended_targets(table, masks, omega)
            squared = table.square().sum(-1)[masks]
            one = losses.weighted_by_products(decoded, mixture, squared, omega)
            loss = one if weighted else (decoded - mixture).abs().sum(-1)
        else:
            plain = losses.weighted_distillation if weighted else losses.mixture_distillation
            loss = plain(decoded, table[masks], omega)
        (loss * torch.arange(30.0)).sum().backward()
        assert decoded.grad is not None
        assert s.grad is not None
        return loss.detach(), decoded.grad, s.grad

    for weighted in (True, False):
        for found, expected in zip(both(True, weighted), both(False, weighted), strict=True):
            torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


def test_entropy():
    omega = torch.tensor([[1.0, 0.0, 0.0], [0.5, 0.5, 0.0], [1 / 3, 1 / 3, 1 / 3]])
    expected = torch.tensor([0.0, math.log(2), math.log(3)])
    torch.testing.assert_close(losses.entropy(omega), expected)


def test_mean_entropy_is_that_of_the_photo_however_pixels_were_drawn():
    """Eq. 4 over a photo of 10 px with two levels alike and 90 px with one: samples are 3 and 0.5 a px."""
    shared, alone = torch.tensor([0.5, 0.5, 0.0]), torch.tensor([1.0, 0.0, 0.0])
    omega = torch.cat([shared.repeat(30, 1), alone.repeat(45, 1)])
    density = torch.tensor([3.0] * 30 + [0.5] * 45)
    torch.testing.assert_close(losses.mean_entropy(omega, density), torch.tensor(0.1 * math.log(2)))
    torch.testing.assert_close(losses.mean_entropy(omega), torch.tensor(0.4 * math.log(2)))  # all alike


def test_entropy_and_divergence_have_finite_gradients_where_a_level_has_died_out():
    """Logits so far apart that a softmax of float32 has an exact 0; Adam can drive them there."""
    for term in (losses.entropy, lambda omega: losses.divergence(omega, torch.full_like(omega, 1 / 3))):
        logits = torch.tensor([[0.0, 200.0, 0.0], [0.0, 1.0, 2.0]], requires_grad=True)
        omega = losses.granularity_weights(logits, torch.ones(2, 3, dtype=torch.bool))
        assert omega[0, 0] == 0
        term(omega).sum().backward()
        assert logits.grad is not None
        assert logits.grad[0].tolist() == [0, 0, 0]
        assert logits.grad[1].abs().min() > 0


def test_region_weights_take_the_region_of_the_largest_weight():
    omega = torch.tensor([[0.2, 0.8, 0.0], [0.6, 0.0, 0.4]])
    areas = torch.tensor([[1.0, 10.0, 99.0], [40.0, 1.0, 7.0]])
    density = torch.tensor([0.5, 0.25])
    weights = losses.region_weights(omega, areas, density)  # 1/5 and 1/10 before scaling to a mean of 1
    torch.testing.assert_close(weights, torch.tensor([4 / 3, 2 / 3]))


def test_region_weights_give_every_region_the_same_say():
    """Two regions of 10 and 1000 px, sampled 30 and 50 times."""
    areas = torch.tensor([10.0] * 30 + [1000.0] * 50)
    density = torch.tensor([30 / 10] * 30 + [50 / 1000] * 50)
    omega = torch.tensor([1.0, 0, 0]).repeat(80, 1)
    weights = losses.region_weights(omega, areas[:, None].repeat(1, 3), density)
    assert weights[:30].sum().item() == pytest.approx(weights[30:].sum().item(), rel=1e-5)


def test_consistency_counts_only_chosen_pixels():
    features = torch.tensor([[[0.0, 0.0], [2.0, 0.0], [50.0, 50.0]], [[1.0, 1.0], [1.0, 3.0], [1.0, 5.0]]])
    counts = torch.tensor([[True, True, False], [True, True, True]])
    # Region 1: mean (1, 0), distances 1, 1 → 1.  Region 2: mean (1, 3), squared 4, 0, 4 → 8/3.
    assert losses.consistency(features, counts).item() == pytest.approx(1 + 8 / 3)
    assert losses.consistency(features, torch.zeros_like(counts)).item() == 0.0


def test_divergence_is_zero_at_the_target_and_ignores_levels_without_a_mask():
    target = torch.tensor([[0.5, 0.25, 0.25], [0.8, 0.2, 0.0], [0.0, 0.0, 0.0]])
    assert losses.divergence(target, target).tolist() == pytest.approx([0, 0, 0])
    even = torch.tensor([[1 / 3] * 3, [0.5, 0.5, 0.0], [0.0, 0.0, 0.0]])
    expected = [
        sum(1 / 3 * np.log(1 / 3 / share) for share in (0.5, 0.25, 0.25)),
        0.5 * np.log(0.5 / 0.8) + 0.5 * np.log(0.5 / 0.2),
        0,
    ]
    assert losses.divergence(even, target).tolist() == pytest.approx(expected)


def test_divergence_leads_weights_to_the_target():
    valid = torch.tensor([[True, True, False]])
    target = losses.granularity_weights(torch.tensor([[0.9, 0.3, 0.5]]).log() * 2, valid)
    logits = torch.zeros(1, 3, requires_grad=True)
    optimizer = torch.optim.Adam([logits], 0.1)
    for _ in range(200):
        optimizer.zero_grad()
        losses.divergence(losses.granularity_weights(logits, valid), target).sum().backward()
        optimizer.step()
    found = losses.granularity_weights(logits.detach(), valid)
    torch.testing.assert_close(found, torch.tensor([[0.9, 0.1, 0.0]]), atol=1e-2, rtol=0)
