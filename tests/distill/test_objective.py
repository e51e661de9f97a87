"""The objective of both schedules: what Eq. 3 teaches the levels, its gradients, λ over time, units."""

from dataclasses import replace

import pytest
import torch
from tests.helpers.plain_decoder import PlainDecoder
from torch import Tensor
from torch.nn.functional import normalize

from gags.distill.losses import granularity_weights
from gags.distill.objective import Targets, Terms, Units, pixel_losses, weigh_levels
from gags.distill.presets import PRESETS
from gags.distill.settings import DistillSettings

DIM, PIXELS, MASKS = 12, 50, 90
PAPER = PRESETS["paper"].distill  # Eq. 3 of weighted squares, summed; the gradient reaches ω
MIXTURE = replace(PAPER, loss="mixture")


def batch() -> tuple[Tensor, Tensor, Tensor]:
    """Decoded embeddings [P, D], masks of the pixels [P, 3], embeddings of the masks [M, D]."""
    rng = torch.Generator().manual_seed(0)
    decoded = normalize(torch.randn(PIXELS, DIM, generator=rng), dim=-1)
    masks = torch.randint(0, MASKS, (PIXELS, 3), generator=rng)
    return decoded, masks, normalize(torch.randn(MASKS, DIM, generator=rng), dim=-1)


def losses_of(
    decoded: Tensor, logits: Tensor, masks: Tensor, wanted: Tensor, settings: DistillSettings
) -> Tensor:
    """Eq. 3 of every pixel, as training computes it. [P]"""
    decoder, targets = PlainDecoder(DIM), Targets(wanted)
    valid = torch.ones_like(masks, dtype=torch.bool)
    features = torch.cat([decoded, logits], dim=1)
    weighed = weigh_levels(decoder, features, valid, masks, targets, settings)
    return pixel_losses(decoder, weighed, masks, targets, settings)


def distances(decoded: Tensor, masks: Tensor, wanted: Tensor) -> Tensor:
    """‖F̂ − F_l‖² of every pixel and level. [P, 3]"""
    return (decoded[:, None] - wanted[masks]).square().sum(dim=-1)


@pytest.mark.parametrize("start", ["even", "against"])
def test_eq_3_alone_drives_each_pixel_to_its_nearest_level(start: str):
    """It is linear in ω, so its optimum is one level, without any entropy term."""
    decoded, masks, wanted = batch()
    nearest = distances(decoded, masks, wanted).argmin(dim=1)
    logits = torch.zeros(PIXELS, 3)
    if start == "against":
        logits.scatter_(1, nearest[:, None], -3.0)
    logits.requires_grad_(True)
    optimizer = torch.optim.Adam([logits], 0.1)
    for _ in range(300):
        optimizer.zero_grad()
        losses_of(decoded, logits, masks, wanted, PAPER).sum().backward()
        optimizer.step()
    omega = logits.detach().softmax(dim=-1)
    gaps = distances(decoded, masks, wanted).sort(dim=1).values.diff(dim=1)[:, 0]
    clear = gaps > 0.1  # where two levels are as near as each other, either may stay
    assert clear.float().mean() > 0.7
    assert torch.equal(omega.argmax(dim=1)[clear], nearest[clear])
    assert omega.amax(dim=1)[clear].min() > 0.95


def test_the_gradient_of_the_weighted_squares_at_the_logits_is_the_formula():
    """∂ℓ/∂s_l = ω_l (d_l − Σ_k ω_k d_k), with d the squared distances."""
    decoded, masks, wanted = batch()
    logits = torch.randn(PIXELS, 3, generator=torch.Generator().manual_seed(1), requires_grad=True)
    losses_of(decoded, logits, masks, wanted, PAPER).sum().backward()
    d, omega = distances(decoded, masks, wanted), logits.detach().softmax(dim=-1)
    expected = omega * (d - (omega * d).sum(dim=1, keepdim=True))
    assert logits.grad is not None
    torch.testing.assert_close(logits.grad, expected, atol=1e-5, rtol=1e-4)


def test_the_gradient_of_the_mixture_at_the_logits_is_the_formula():
    """m = Σ_l ω_l F_l, ∂|F̂ − m|₁/∂s_l = −ω_l sign(F̂ − m) · (F_l − m)."""
    decoded, masks, wanted = batch()
    logits = torch.randn(PIXELS, 3, generator=torch.Generator().manual_seed(1), requires_grad=True)
    losses_of(decoded, logits, masks, wanted, MIXTURE).sum().backward()
    omega = logits.detach().softmax(dim=-1)
    expected = torch.zeros(PIXELS, 3)
    for p in range(PIXELS):
        mixture = omega[p] @ wanted[masks[p]]
        for level in range(3):
            turned = torch.sign(decoded[p] - mixture) @ (wanted[masks[p, level]] - mixture)
            expected[p, level] = -omega[p, level] * turned
    assert logits.grad is not None
    torch.testing.assert_close(logits.grad, expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("settings", [PAPER, MIXTURE], ids=["weighted", "mixture"])
def test_the_gradient_at_the_embedding_is_the_formula(settings: DistillSettings):
    """2 (F̂ − Σ_l ω_l F_l), as ω sums to 1; and sign(F̂ − Σ_l ω_l F_l)."""
    decoded, masks, wanted = batch()
    decoded = decoded.clone().requires_grad_(True)
    logits = torch.randn(PIXELS, 3, generator=torch.Generator().manual_seed(1))
    losses_of(decoded, logits, masks, wanted, settings).sum().backward()
    mixture = (logits.softmax(dim=-1)[..., None] * wanted[masks]).sum(dim=1)
    difference = decoded.detach() - mixture
    expected = 2 * difference if settings is PAPER else difference.sign()
    assert decoded.grad is not None
    torch.testing.assert_close(decoded.grad, expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", ["paper", "released"])
def test_in_both_presets_eq_3_teaches_the_levels(name):
    """In `released`, by its detached logits: they learn, and features do not learn from them."""
    settings = PRESETS[name].distill
    decoder = PlainDecoder(DIM)
    decoded, masks, wanted = batch()
    features = torch.cat([decoded, torch.zeros(PIXELS, 3)], dim=1).requires_grad_(True)
    own = torch.zeros(PIXELS, 3, requires_grad=True)  # stands for the granularity net
    decoder.granularity = lambda features: features[..., DIM:] + own
    weighed = weigh_levels(
        decoder, features, torch.ones_like(masks, dtype=torch.bool), masks, Targets(wanted), settings
    )
    pixel_losses(decoder, weighed, masks, Targets(wanted), settings).sum().backward()
    assert features.grad is not None
    assert own.grad is not None
    assert own.grad.abs().amax(dim=1).min() > 0
    through_logits = features.grad[:, DIM:].abs().max()
    assert (through_logits > 0) == (name == "paper")


def test_weights_learnt_by_repeatability_take_nothing_from_eq_3():
    decoded, masks, wanted = batch()
    logits = torch.randn(PIXELS, 3, generator=torch.Generator().manual_seed(1), requires_grad=True)
    features = torch.cat([decoded, logits], dim=1)
    targets = Targets(wanted, repeatability_logits=torch.zeros(MASKS))
    settings = replace(DistillSettings(), detach_granularity=False)
    valid = torch.ones_like(masks, dtype=torch.bool)
    weighed = weigh_levels(PlainDecoder(DIM), features, valid, masks, targets, settings)
    assert not weighed.omega.requires_grad
    assert weighed.entropy is None
    assert weighed.divergence is not None
    torch.testing.assert_close(weighed.omega, granularity_weights(logits.detach(), valid))


@pytest.mark.parametrize(("step", "half", "late"), [(0, 0.5, 0), (4, 0.5, 0), (5, 1.0, 1), (9, 1.0, 1)])
def test_entropy_counts_half_and_consistency_nothing_in_the_first_half(step: int, half: float, late: int):
    terms = Terms(torch.tensor(2.0), consistency=torch.tensor(3.0), entropy=torch.tensor(5.0))
    settings = replace(PAPER, steps=10, entropy_weight=0.1, consistency_weight=0.01)
    assert float(terms.total(settings, step)) == pytest.approx(2 + 0.1 * half * 5 + 0.01 * late * 3)
    by_repeatability = Terms(torch.tensor(2.0), consistency=torch.tensor(3.0), divergence=torch.tensor(7.0))
    assert float(by_repeatability.total(settings, step)) == pytest.approx(2 + 7 + 0.01 * late * 3)


def test_the_released_programs_weights_over_time():
    """λ_e = 0.001 and λ_c = 0 in the first half, 0.002 and 0.1 in the second."""
    released = PRESETS["released"].distill
    for step, entropy, consistency in (
        (0, 0.001, 0.0),
        (14_999, 0.001, 0.0),
        (15_000, 0.002, 0.1),
        (29_999, 0.002, 0.1),
    ):
        alone = [
            float(Terms(zero, consistency=c, entropy=e).total(released, step))
            for zero in [torch.tensor(0.0)]
            for e, c in ((torch.tensor(1.0), zero), (zero, torch.tensor(1.0)))
        ]
        assert alone == pytest.approx([entropy, consistency])


def test_means_are_sums_over_the_number_of_channels_and_levels():
    decoder = PlainDecoder(DIM)
    assert Units.of(replace(PAPER, units="sums"), decoder) == Units(1.0, 1.0, 1.0)
    means = Units.of(replace(PAPER, units="means", feature_dim=16), decoder)
    assert (means.distance, means.entropy, means.variance) == (1 / DIM, 1 / 3, 1 / 16)
    decoded, masks, wanted = batch()
    logits = torch.zeros(PIXELS, 3)
    for settings in (PAPER, MIXTURE):
        sums, averaged = (
            losses_of(decoded, logits, masks, wanted, replace(settings, units=units))
            for units in ("sums", "means")
        )
        torch.testing.assert_close(averaged, sums / DIM)
