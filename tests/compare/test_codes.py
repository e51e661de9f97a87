"""GOI's codebook: k-means on known clusters, each term of the loss by hand."""

import math

import pytest
import torch
from torch.nn.functional import normalize

from gags.compare import codes as module
from gags.compare.codes import assignment_loss, codebook_loss, reading_loss, start_codes


def _rng():
    return torch.Generator().manual_seed(0)


def test_k_means_finds_clusters_weighted_by_pixels(monkeypatch):
    monkeypatch.setattr(module, "CODES", 3)
    centres = torch.eye(3, 8)
    embeddings = normalize(centres.repeat(40, 1) + 0.05 * torch.randn(120, 8, generator=_rng()), dim=1)
    counts = torch.ones(120)
    counts[0] = 1000  # one of the first cluster outweighs the others
    codes = start_codes(embeddings, counts, _rng())
    order = (codes @ centres.T).argmax(dim=0)
    assert sorted(order.tolist()) == [0, 1, 2]
    members = embeddings.view(40, 3, 8)
    torch.testing.assert_close(codes[order[1]], normalize(members[:, 1].sum(dim=0), dim=0))
    weighted = normalize(members[0, 0] * 1000 + members[1:, 0].sum(dim=0), dim=0)
    torch.testing.assert_close(codes[order[0]], weighted)


def test_few_or_repeated_embeddings_get_as_many_codes():
    embeddings = normalize(torch.randn(5, 4, generator=_rng()), dim=1)
    codes = start_codes(embeddings, torch.tensor([1, 2, 3, 4, 5]), _rng())
    assert (codes @ embeddings.T).max(dim=0).values.min() > 1 - 1e-6
    repeated = start_codes(embeddings[:1].repeat(4, 1), torch.ones(4), _rng())
    torch.testing.assert_close(repeated, embeddings[:1].repeat(4, 1))
    assert len(start_codes(normalize(torch.randn(900, 4), dim=1), torch.ones(900), _rng())) == 300


@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_codebook_loss_by_hand(temperature):
    cosines = torch.tensor([[0.9, 0.1], [0.2, 0.4]])
    expected = 0.0
    for row, share in zip(cosines.tolist(), (0.75, 0.25), strict=True):
        odds = [math.exp(temperature * value) for value in row]
        chances = [value / sum(odds) for value in odds]
        entropy = -sum(p * math.log(p) for p in chances)
        expected += share * (1 - max(row) + 0.3 * entropy)
    found = codebook_loss(cosines, torch.tensor([3, 1]), temperature)
    assert found.item() == pytest.approx(expected)


def test_assignment_and_reading_by_hand():
    logits = torch.tensor([[math.log(3.0), 0.0], [0.0, 0.0]])
    # softmax: (¾, ¼) and (½, ½); codes wanted: 0 and 1.
    expected = 50 * ((0.25**2 + 0.25**2) + (0.5**2 + 0.5**2)) / 4
    assert assignment_loss(logits, torch.tensor([0, 1])).item() == pytest.approx(expected)
    cosines = torch.tensor([[0.3, 0.7], [0.6, 0.5]])
    # Both choose code 0; the first pixel has embedding 1, the second embedding 0.
    assert reading_loss(logits, torch.tensor([1, 0]), cosines).item() == pytest.approx(1 - (0.6 + 0.3) / 2)
