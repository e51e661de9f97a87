"""The first solution: principal directions."""

import pytest
import torch

from gags.distill.start import principal_basis, principal_features


def test_principal_basis_holds_the_energy_asked_for():
    torch.manual_seed(0)
    directions = torch.linalg.qr(torch.randn(30, 3)).Q
    strengths = torch.tensor([3.0, 2.0, 1.0])
    embeddings = (torch.randn(500, 3) * strengths) @ directions.T
    basis = principal_basis(embeddings, energy=0.9999)
    assert basis.shape == (30, 3)
    torch.testing.assert_close(basis.T @ basis, torch.eye(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(embeddings @ basis @ basis.T, embeddings, atol=1e-4, rtol=0)
    assert principal_basis(embeddings, energy=0.9).shape == (30, 2)  # 9 + 4 of 14 is 93 %
    assert principal_basis(embeddings, energy=1.0, max_rank=1).shape == (30, 1)


@pytest.mark.parametrize("feature_dim", [4, 9])
def test_principal_features_lead_back_to_coordinates(feature_dim):
    torch.manual_seed(0)
    coordinates = torch.randn(100, 4) + 2
    components, weight, bias = principal_features(coordinates, feature_dim)
    assert components.shape == (100, feature_dim)
    torch.testing.assert_close(components @ weight.T + bias, coordinates, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(components.mean(0), torch.zeros(feature_dim), atol=1e-4, rtol=0)
