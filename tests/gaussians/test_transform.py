"""Gaussians moved as a whole: a camera that moves along sees the same picture."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.helpers.scenes import orbit_camera
from tests.helpers.varied import rotation, varied

from gags.gaussians import render
from gags.gaussians.transform import quaternions, transformed
from gags.render.reference import rotation_matrices


def _moved(A: np.ndarray) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = A, [0.4, -1.2, 2.0]
    return matrix


@pytest.mark.parametrize("scale", [1.0, 2.5])
@pytest.mark.parametrize("mirror", [1.0, -1.0])
@pytest.mark.parametrize("degree", [0, 1, 2, 3])
def test_a_camera_that_moves_along_sees_the_same(scale, mirror, degree):
    gaussians, camera = varied(degree=degree), orbit_camera(0.4)
    turn = rotation(degree) @ np.diag([1, 1, mirror])
    moved = transformed(gaussians, _moved(scale * turn))
    along = np.eye(4)
    along[:3, :3] = camera.viewmat[:3, :3] @ turn.T
    along[:3, 3] = scale * camera.viewmat[:3, 3] - along[:3, :3] @ [0.4, -1.2, 2.0]
    seen, before = (
        render(g, c).colors for g, c in ((moved, replace(camera, viewmat=along)), (gaussians, camera))
    )
    assert before.std() > 0.1
    torch.testing.assert_close(seen, before, atol=2e-3, rtol=0)


def test_stretching_changes_the_covariances():
    gaussians = varied(degree=0)
    A = np.array([[2.0, 0.3, 0], [0, 0.5, 0], [0.1, 0, 1.0]])
    moved = transformed(gaussians, _moved(A))

    def covariances(g):
        axes = rotation_matrices(g.quats.double()).numpy() * g.scales.double().numpy()[:, None]
        return axes @ axes.transpose(0, 2, 1)

    np.testing.assert_allclose(covariances(moved), A @ covariances(gaussians) @ A.T, atol=1e-7)
    np.testing.assert_allclose(moved.means, gaussians.means.numpy() @ A.T + [0.4, -1.2, 2.0], atol=1e-6)
    assert torch.equal(moved.logit_opacities, gaussians.logit_opacities)


def test_no_transform_changes_nothing_and_a_flat_one_is_refused():
    gaussians = varied()
    assert transformed(gaussians, np.eye(4)) is gaussians
    with pytest.raises(ValueError, match="cannot be undone"):
        transformed(gaussians, _moved(np.diag([1.0, 1.0, 0.0])))


def test_quaternions_give_their_rotations_again():
    turns = np.stack([rotation(seed) for seed in range(20)] + [np.eye(3), np.diag([1.0, -1, -1])])
    quats = quaternions(torch.from_numpy(turns))
    torch.testing.assert_close(rotation_matrices(quats), torch.from_numpy(turns), atol=1e-9, rtol=0)
