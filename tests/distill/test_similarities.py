"""The largest cosine with the phrases that count, from the two largest of all."""

import numpy as np
import pytest
import torch

from gags.distill.similarities import Similarities, two_largest


@pytest.fixture
def cosines() -> torch.Tensor:
    # Few different values, so that many are equal.
    return torch.from_numpy(np.random.default_rng(0).integers(-5, 6, (400, 7)).astype(np.float32) / 10)


def test_two_largest_are_those_of_a_sort(cosines):
    largest, which, second, which_second = two_largest(cosines)
    ordered = cosines.sort(dim=1, descending=True).values
    assert torch.equal(largest, ordered[:, 0])
    assert torch.equal(second, ordered[:, 1])
    rows = torch.arange(len(cosines))
    assert torch.equal(cosines[rows, which.long()], largest)
    assert torch.equal(cosines[rows, which_second.long()], second)
    assert bool((which != which_second).all())


def test_of_one_vector_the_largest_is_the_second(cosines):
    largest, which, second, which_second = two_largest(cosines[:, :1])
    assert torch.equal(largest, cosines[:, 0])
    assert torch.equal(second, largest)
    assert not which.any()
    assert not which_second.any()


@pytest.mark.parametrize("excluded", [[], [3], [0, 6], [1, 2, 3], [0, 1, 2, 3, 4, 5]])
def test_the_largest_of_those_that_count(cosines, excluded):
    counted = torch.ones(7, dtype=torch.bool)
    counted[excluded] = False
    asked = []

    def of_rows(rows: torch.Tensor) -> torch.Tensor:
        asked.append(len(rows))
        return cosines[rows]

    found = Similarities(*two_largest(cosines), of_rows).largest_of(counted)
    assert torch.equal(found, cosines[:, counted].amax(dim=1))
    # All cosines are needed of those Gaussians alone whose two nearest vectors do not count.
    assert sum(asked) < len(cosines)
    assert bool(asked) == (len(excluded) > 1)
