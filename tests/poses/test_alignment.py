"""The similarity that poses are compared by."""

import cv2
import numpy as np
import pytest
from tests.helpers.alignment import similarity


@pytest.mark.parametrize("scale", [0.3, 1.0, 7.0])
def test_similarity_is_found_again(scale):
    points = np.random.default_rng(1).normal(size=(20, 3))
    R, t = cv2.Rodrigues(np.array([0.4, 0.8, -0.2]))[0], np.array([1.0, -2.0, 3.0])
    found = similarity(points, scale * points @ R.T + t)
    assert found[0] == pytest.approx(scale)
    np.testing.assert_allclose(found[1], R, atol=1e-9)
    np.testing.assert_allclose(found[2], t, atol=1e-9)


def test_similarity_never_mirrors():
    points = np.random.default_rng(2).normal(size=(9, 3))
    _, R, _ = similarity(points, points * [1, 1, -1])
    assert np.linalg.det(R) == pytest.approx(1)
