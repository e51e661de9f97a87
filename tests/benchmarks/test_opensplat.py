import numpy as np
import pytest
import torch
from benchmarks.opensplat import build, projection

from gags.capture.camera import Camera


def test_the_matrix_given_to_opensplat_is_our_camera():
    """A pixel lies (x / w + 1) · width / 2 from the left edge, as ours; depths are in our order."""
    rng = np.random.default_rng(0)
    viewmat = np.eye(4)
    viewmat[:3, :3], viewmat[:3, 3] = np.linalg.qr(rng.normal(size=(3, 3)))[0], (0.1, -0.2, 4)
    camera = Camera(viewmat, np.array([[480.0, 0, 324.2], [0, 470, 208], [0, 0, 1]]), 648, 420)
    points = rng.uniform(-1, 1, (50, 3))
    (u, v), depths = camera.project(points)[0].T, camera.project(points)[1]
    homogeneous = torch.from_numpy(np.column_stack([points, np.ones(50)])).float()
    x, y, z, w = (homogeneous @ projection(camera, near=1.0).T).numpy().T
    np.testing.assert_allclose((x / w + 1) * 324, u, rtol=1e-4, atol=1e-2)
    np.testing.assert_allclose((y / w + 1) * 210, v, rtol=1e-4, atol=1e-2)
    assert (np.argsort(z / w) == np.argsort(depths)).all()


def test_a_folder_that_is_no_checkout_is_named(tmp_path):
    with pytest.raises(SystemExit, match=r"gsplat_cpu\.cpp is not there: --peer wants the folder"):
        build(tmp_path, "native")
