"""The codebook of LEGaussians: its loss by hand, its codes on made-up features."""

import math

import pytest
import torch
from torch.nn.functional import normalize

from gags.compare import codebook
from gags.compare.codebook import Hybrid, codebook_loss, nearest_codes, similarities, train_codebook


def test_the_constants_are_those_of_the_paper():
    assert (codebook.CODES, codebook.KEY_WEIGHT, codebook.RATE) == (64, 0.5, 1e-4)


FEATURES = Hybrid(torch.tensor([[2.0, 0.0], [0.0, 3.0]]), torch.tensor([[1.0, 0.0], [1.0, 0.0]]))
CODES = Hybrid(torch.tensor([[1.0, 0.0], [3.0, 4.0]]), torch.tensor([[0.0, 5.0], [0.6, 0.8]]))


def test_similarity_counts_keys_half_and_no_lengths():
    # Pixel 0: cosines 1 and .6 with the codes, of keys 0 and .6. Pixel 1: 0 and .8, of keys 0 and .6.
    expected = torch.tensor([[1.0, 0.6 + 0.3], [0.0, 0.8 + 0.3]])
    torch.testing.assert_close(similarities(FEATURES, CODES), expected)


def test_loss_by_hand():
    first, second = math.exp(1.0), math.exp(0.9)
    p0 = first / (first + second)
    first, second = math.exp(0.0), math.exp(1.1)
    p1 = first / (first + second)
    # Codes 0 and 1 are taken by half of the pixels each.
    balance = 0.5 * (p0 + p1) / 2 + 0.5 * (2 - p0 - p1) / 2
    distance = ((1 - 1.0) + 0.5 * (1 - 0.0) + (1 - 0.8) + 0.5 * (1 - 0.6)) / 2
    assert codebook_loss(FEATURES, CODES).item() == pytest.approx(distance + balance)
    assert balance == pytest.approx(0.5)  # an even use of two codes


def test_loss_without_dino_has_no_term_of_it():
    features = Hybrid(FEATURES.embeddings, torch.zeros(2, 0))
    codes = Hybrid(CODES.embeddings, torch.zeros(2, 0))
    assert codebook_loss(features, codes).item() == pytest.approx((0 + 0.2) / 2 + 0.5)


def test_uneven_use_costs_and_the_gradient_lowers_the_softmax_of_the_code_in_use():
    """All pixels take code 0: the balance is their mean softmax there, which is over a half."""
    embeddings = normalize(torch.tensor([[1.0, 0.2], [1.0, -0.1]]), dim=-1)
    features = Hybrid(embeddings, torch.zeros(2, 0))
    codes = Hybrid(torch.nn.Parameter(torch.tensor([[1.0, 0.0], [0.0, 1.0]])), torch.zeros(2, 0))
    similarity = similarities(features, codes)
    loss = codebook_loss(features, codes)
    expected = (1 - similarity[:, 0]).mean() + similarity.softmax(dim=-1)[:, 0].mean()
    assert loss.item() == pytest.approx(expected.item())
    loss.backward()
    # The code that nobody takes learns from the balance alone: it turns towards the pixels.
    gradient = codes.embeddings.grad
    assert gradient is not None
    assert gradient[1, 0] < 0


def test_the_nearest_code_has_the_largest_similarity(monkeypatch):
    monkeypatch.setattr(codebook, "ASSIGNED_AT_ONCE", 1)  # pixels in several goes, as in large scenes
    assert nearest_codes(FEATURES, CODES).tolist() == [0, 1]
    # Keys decide between codes that the encoder finds alike.
    codes = Hybrid(torch.tensor([[1.0, 0.0], [1.0, 0.0]]), torch.tensor([[0.0, 1.0], [1.0, 0.0]]))
    assert nearest_codes(FEATURES, codes).tolist() == [1, 1]


def _features(noise: float = 0.3) -> Hybrid:
    """Twenty kinds of pixels, 100 of each. [2000, 16] and [2000, 8]"""
    rng = torch.Generator().manual_seed(0)
    kinds = torch.arange(20).repeat_interleave(100)
    means = normalize(torch.randn(20, 24, generator=rng), dim=-1)[kinds]
    values = means + noise * torch.randn(2000, 24, generator=rng) / 24**0.5
    return Hybrid(values[:, :16].half(), values[:, 16:].half())


def test_training_brings_codes_to_their_pixels():
    features = _features().normalised()
    start, codes = (train_codebook(features, steps, 0) for steps in (0, 300))
    assert len(codes) == 64
    torch.testing.assert_close(codes.embeddings.norm(dim=-1), torch.ones(64))
    torch.testing.assert_close(codes.keys.norm(dim=-1), torch.ones(64))
    losses = [codebook_loss(features, book).item() for book in (start, codes)]
    assert losses[1] < losses[0] - 0.005
    mean = [similarities(features, book).amax(dim=-1).mean().item() for book in (start, codes)]
    assert mean[1] > mean[0]
    assert mean[1] > 1.35  # of 1.5


def test_pixels_of_a_kind_share_codes_and_kinds_do_not():
    """With noise this small, a code that has pixels of two kinds would be a mistake."""
    features = _features(noise=0.1)
    taken = nearest_codes(features, train_codebook(features, 100, 0))
    kinds = torch.arange(20).repeat_interleave(100)
    counts = torch.zeros(64, 20).index_put((taken, kinds), torch.ones(2000), accumulate=True)
    assert (counts.amax(dim=1).sum() / 2000) > 0.95


def test_the_same_seed_gives_the_same_codes():
    features = _features()
    first, again, other = (train_codebook(features, 5, seed) for seed in (0, 0, 1))
    assert torch.equal(first.embeddings, again.embeddings)
    assert torch.equal(first.keys, again.keys)
    assert not torch.equal(first.embeddings, other.embeddings)


def test_without_dino_codes_have_no_keys():
    features = Hybrid(_features().embeddings, torch.zeros(2000, 0))
    codes = train_codebook(features, 5, 0)
    assert codes.keys.shape == (64, 0)
