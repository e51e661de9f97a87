"""Rotations, against OpenCV's."""

import cv2
import numpy as np

from gags.capture.camera import rotations


def test_rotations_of_unit_quaternions():
    vectors = np.random.default_rng(0).normal(size=(2, 3, 3))
    angles = np.linalg.norm(vectors, axis=-1, keepdims=True)
    quats = np.concatenate([np.cos(angles / 2), np.sin(angles / 2) * vectors / angles], axis=-1)
    found = rotations(quats)
    assert found.shape == (2, 3, 3, 3)
    for vector, matrix in zip(vectors.reshape(-1, 3), found.reshape(-1, 3, 3), strict=True):
        np.testing.assert_allclose(matrix, cv2.Rodrigues(vector)[0], atol=1e-12)
    np.testing.assert_array_equal(rotations(np.array([1.0, 0, 0, 0])), np.eye(3))
