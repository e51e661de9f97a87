"""LangSplat's autoencoder: layers, loss by hand, what comes back."""

from itertools import pairwise

import pytest
import torch
from torch import nn
from torch.nn.functional import normalize

from gags.compare.methods import autoencoder
from gags.compare.methods.autoencoder import (
    Autoencoder,
    AutoencoderSettings,
    reconstruction_loss,
    train_autoencoder,
)
from gags.progress import SILENT


def _embeddings() -> torch.Tensor:
    """Ten things seen eight times each, with a little noise. [80, 48]"""
    rng = torch.Generator().manual_seed(0)
    things = normalize(torch.randn(10, 48, generator=rng), dim=-1)
    return normalize(things.repeat(8, 1) + 0.02 * torch.randn(80, 48, generator=rng), dim=-1)


def test_embeddings_come_back():
    embeddings = _embeddings()
    net = train_autoencoder(embeddings, AutoencoderSettings(steps=600), 0, SILENT)
    codes = net.encode_all(embeddings)
    assert codes.shape == (80, 3)
    torch.testing.assert_close(codes.norm(dim=-1), torch.ones(80))
    decoded = net.decode(codes)
    torch.testing.assert_close(decoded.norm(dim=-1), torch.ones(80))
    cosines = (decoded * embeddings).sum(-1)
    assert cosines.min() > 0.9
    assert net.cosine(embeddings) == pytest.approx(cosines.mean().item(), abs=1e-5)


def test_layers_are_those_of_the_paper():
    """Batch norm stands after every hidden layer of the encoder, before its ReLU; the decoder has none."""
    net = Autoencoder(512)
    assert _shapes(net.encoder) == list(pairwise([512, 256, 128, 64, 32, 3]))
    assert _shapes(net.decoder) == list(pairwise([3, 16, 32, 64, 128, 256, 256, 512]))
    kinds = [type(layer) for layer in net.encoder]
    assert kinds == 4 * [nn.Linear, nn.BatchNorm1d, nn.ReLU] + [nn.Linear]
    assert [layer.num_features for layer in net.encoder if isinstance(layer, nn.BatchNorm1d)] == [
        *(256, 128, 64, 32),
    ]
    assert [type(layer) for layer in net.decoder] == 6 * [nn.Linear, nn.ReLU] + [nn.Linear]


def _shapes(layers: nn.Sequential) -> list[tuple[int, int]]:
    return [(layer.in_features, layer.out_features) for layer in layers if isinstance(layer, nn.Linear)]


def test_loss_is_the_mean_square_and_a_thousandth_of_the_cosine_distance():
    wanted = torch.tensor([[1.0, 0, 0, 0], [0, 1.0, 0, 0]])
    decoded = torch.tensor([[0.6, 0.8, 0, 0], [0, 1.0, 0, 0]])
    squares = (0.4**2 + 0.8**2) / 8  # of two rows of four numbers
    cosine_distance = ((1 - 0.6) + 0) / 2
    assert reconstruction_loss(decoded, wanted).item() == pytest.approx(squares + 0.001 * cosine_distance)


def test_defaults_are_the_published_ones():
    settings = AutoencoderSettings()
    assert (settings.rate, settings.batch) == (7e-4, 64)
    # 100 passes over 1000 embeddings in batches of 64: 1562.5 steps.
    assert settings.steps_for(1000) == 1563
    assert AutoencoderSettings(steps=7).steps_for(1000) == 7


def test_codes_do_not_depend_on_their_neighbours_after_training():
    net = train_autoencoder(_embeddings(), AutoencoderSettings(steps=20), 0, SILENT)
    together = net.encode_all(_embeddings())
    torch.testing.assert_close(net.encode(_embeddings()[:1]), together[:1])


def test_cosines_are_those_of_decoded_codes(monkeypatch):
    """Of blended codes, too, which are shorter than 1, down to 0; in several goes."""
    net = train_autoencoder(_embeddings(), AutoencoderSettings(steps=20), 0, SILENT)
    codes = net.encode_all(_embeddings()) * torch.linspace(0, 1, 80)[:, None]
    texts = _embeddings()[:5]
    expected = net.decode(codes) @ texts.T
    torch.testing.assert_close(net.cosines(codes, texts), expected, atol=1e-5, rtol=0)
    monkeypatch.setattr(autoencoder, "ASKED_AT_ONCE", 7)
    torch.testing.assert_close(net.cosines(codes, texts), expected, atol=1e-5, rtol=0)


def test_a_scene_of_one_mask_is_no_error():
    one = _embeddings()[:1]
    net = train_autoencoder(one, AutoencoderSettings(steps=30), 0, SILENT)
    assert torch.isfinite(net.decode(net.encode(one))).all()


def test_the_same_seed_gives_the_same_codes():
    short = AutoencoderSettings(steps=5)
    first, again, other = (train_autoencoder(_embeddings(), short, seed, SILENT) for seed in (0, 0, 1))
    assert torch.equal(first.encode(_embeddings()), again.encode(_embeddings()))
    assert not torch.equal(first.encode(_embeddings()), other.encode(_embeddings()))
