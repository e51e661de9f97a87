"""The pinhole camera at other sizes; rotations, against OpenCV's."""

import cv2
import numpy as np
import pytest

from gags.capture.camera import Camera, rotations


@pytest.mark.parametrize(
    ("size", "longest_side", "expected"),
    [
        ((1440, 1080), 240, (240, 180)),
        ((1080, 1440), 240, (180, 240)),
        ((200, 100), 240, (200, 100)),
        ((1000, 3), 100, (100, 1)),
    ],
)
def test_a_camera_within_a_longest_side(size, longest_side, expected):
    K = np.array([[500.0, 0, size[0] / 2], [0, 500, size[1] / 2], [0, 0, 1]])
    small = Camera(np.eye(4), K, *size).within(longest_side)
    assert (small.width, small.height) == expected
    np.testing.assert_allclose(small.K[:2, 2], [expected[0] / 2, expected[1] / 2])


def test_rotations_of_unit_quaternions():
    vectors = np.random.default_rng(0).normal(size=(2, 3, 3))
    angles = np.linalg.norm(vectors, axis=-1, keepdims=True)
    quats = np.concatenate([np.cos(angles / 2), np.sin(angles / 2) * vectors / angles], axis=-1)
    found = rotations(quats)
    assert found.shape == (2, 3, 3, 3)
    for vector, matrix in zip(vectors.reshape(-1, 3), found.reshape(-1, 3, 3), strict=True):
        np.testing.assert_allclose(matrix, cv2.Rodrigues(vector)[0], atol=1e-12)
    np.testing.assert_array_equal(rotations(np.array([1.0, 0, 0, 0])), np.eye(3))
