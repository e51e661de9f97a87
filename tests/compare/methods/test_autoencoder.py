"""The autoencoder brings embeddings back through three numbers."""

from itertools import pairwise

import torch
from torch.nn.functional import normalize

from gags.compare.methods.autoencoder import Autoencoder, AutoencoderSettings, train_autoencoder
from gags.progress import SILENT

SETTINGS = AutoencoderSettings(steps=400, batch=32)


def _embeddings() -> torch.Tensor:
    """Ten things seen eight times each, with a little noise. [80, 48]"""
    chance = torch.Generator().manual_seed(0)
    things = normalize(torch.randn(10, 48, generator=chance), dim=-1)
    return normalize(things.repeat(8, 1) + 0.02 * torch.randn(80, 48, generator=chance), dim=-1)


def test_embeddings_come_back():
    embeddings = _embeddings()
    net = train_autoencoder(embeddings, SETTINGS, 0, SILENT)
    codes = net.encode(embeddings)
    assert codes.shape == (80, 3)
    torch.testing.assert_close(codes.norm(dim=-1), torch.ones(80))
    decoded = net.decode(codes)
    torch.testing.assert_close(decoded.norm(dim=-1), torch.ones(80))
    assert (decoded * embeddings).sum(-1).min() > 0.95


def test_layers_are_those_of_the_paper():
    net = Autoencoder(512)
    shapes = [tuple(p.shape) for name, p in net.named_parameters() if name.endswith("weight")]
    wide = [512, 256, 128, 64, 32, 3, 16, 32, 64, 128, 256, 256, 512]
    assert shapes == [(b, a) for a, b in pairwise(wide)]


def test_the_same_seed_gives_the_same_codes():
    short = AutoencoderSettings(steps=5)
    first, again, other = (train_autoencoder(_embeddings(), short, seed, SILENT) for seed in (0, 0, 1))
    assert torch.equal(first.encode(_embeddings()), again.encode(_embeddings()))
    assert not torch.equal(first.encode(_embeddings()), other.encode(_embeddings()))
