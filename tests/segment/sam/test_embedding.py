"""An image embedding is looked up between its cells, and never beyond them."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from gags.segment.sam.embedding import sampled


def test_between_cells_and_at_the_edge_by_hand() -> None:
    embedding = torch.tensor([[[0.0, 1.0, 2.0, 3.0], [10.0, 11.0, 12.0, 13.0]]])  # [1, 2, 4]
    shares = np.array([[0.125, 0.25], [0.25, 0.25], [0.125, 0.5], [0.0, 0.0], [1.0, 1.0], [1.3, -0.2]])
    expected = [0.0, 0.5, 5.0, 0.0, 13.0, 3.0]
    np.testing.assert_allclose(sampled(embedding, shares)[:, 0], expected, atol=1e-5)


@pytest.mark.parametrize("size", [(64, 64), (1, 7), (33, 48)])
def test_the_same_numbers_as_with_a_border(size: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    """`padding_mode="border"` is not asked for: before torch 2.13 Apple's GPU has no such thing."""
    modes: list[str] = []
    plain = functional.grid_sample

    def noted(*inputs: torch.Tensor, padding_mode: str, align_corners: bool) -> torch.Tensor:
        modes.append(padding_mode)
        return plain(*inputs, padding_mode=padding_mode, align_corners=align_corners)

    rng = np.random.default_rng(5)
    embedding = torch.from_numpy(rng.normal(size=(8, *size)).astype(np.float32))
    shares = rng.uniform(-0.1, 1.1, (500, 2)).astype(np.float32)
    places = torch.from_numpy(2 * shares - 1)[None, None]
    expected = plain(embedding[None], places, padding_mode="border", align_corners=False)[0, :, 0].T
    monkeypatch.setattr(functional, "grid_sample", noted)
    np.testing.assert_allclose(sampled(embedding, shares), expected.numpy(), atol=2e-5)
    assert modes == ["zeros"]
