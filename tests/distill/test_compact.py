"""Decoded Gaussians in two bytes a number, against decoding in single precision."""

import numpy as np
import pytest
import torch

from gags.distill.compact import DECODED_AT_ONCE, ONE_BY_ONE, CompactVectors
from gags.distill.decoder import DecoderShape, OneNet, PrincipalDecoder
from gags.distill.linear import apply_layers

COUNT = 2 * DECODED_AT_ONCE + 77


def principal() -> PrincipalDecoder:
    torch.manual_seed(0)
    decoder = PrincipalDecoder(DecoderShape(feature=8, hidden=16, rank=12, dim=40))
    decoder.basis.copy_(torch.linalg.qr(torch.randn(40, 12)).Q)
    return decoder.eval()


@pytest.mark.parametrize("texts", [1, 3, ONE_BY_ONE + 1])
@torch.no_grad()
def test_cosines_are_those_of_decoded_features(texts):
    decoder, features = principal(), torch.randn(COUNT, 8)
    vectors = torch.nn.functional.normalize(torch.randn(texts, 40), dim=-1)
    compact = CompactVectors.decoded(decoder, features)
    assert compact.numbers.nbytes + compact.scales.nbytes == COUNT * (2 * 12 + 4)
    wanted = decoder.embeddings(features) @ vectors.T
    torch.testing.assert_close(compact.products(decoder.fold(vectors)), wanted, atol=5e-5, rtol=0)
    torch.testing.assert_close(
        compact.rows(np.array([5, COUNT - 1])).norm(dim=1), torch.ones(2), atol=5e-5, rtol=0
    )


@torch.no_grad()
def test_decoders_whose_coordinates_are_the_embedding_are_kept_likewise():
    torch.manual_seed(0)
    decoder, features = OneNet(8, 24).eval(), torch.randn(50, 8)
    vectors = torch.nn.functional.normalize(torch.randn(2, 24), dim=-1)
    found = CompactVectors.decoded(decoder, features).products(decoder.fold(vectors))
    torch.testing.assert_close(found, decoder.similarities(features, vectors), atol=5e-5, rtol=0)


@torch.no_grad()
def test_a_feature_that_means_nothing_has_cosines_of_0():
    decoder = principal()
    for parameter in decoder.parameters():
        parameter.zero_()
    found = CompactVectors.decoded(decoder, torch.ones(3, 8)).products(torch.ones(12, 1))
    assert found.tolist() == [[0.0]] * 3


@torch.no_grad()
def test_layers_in_one_pass_are_layers():
    decoder, x = principal(), torch.randn(100, 8)
    torch.testing.assert_close(apply_layers(decoder.body, x), decoder.body(x))


@torch.no_grad()
def test_a_field_without_gaussians_has_no_products():
    compact = CompactVectors.decoded(principal(), torch.zeros(0, 8))
    assert compact.products(torch.ones(12, ONE_BY_ONE + 1)).shape == (0, ONE_BY_ONE + 1)
