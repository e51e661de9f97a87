import numpy as np
import pytest
from tests.helpers.scenes import HEIGHT, WIDTH, orbit_camera

from gags.reconstruct.depth import sparse_depth_loss

# Depths of the two points are 2 (the origin, in the middle of the picture) and 1.5.
POINTS = np.array([[0.0, 0, 0], [0.5, 0, 0.1]])


@pytest.fixture
def camera():
    return orbit_camera(0.0, radius=2.0, height=0.0)


@pytest.mark.parametrize(
    ("depth", "value", "slope"),
    [
        (2.0, 0.0, 0.0),
        (2.5, 0.25, 0.5),  # behind the surface: |2.5 − 2| / 2, slope 1 / 2
        (1.9, 0.05, -0.5),  # a little before it
        (1.5, 0.0, 0.0),  # something hides the point
        (0.0, 0.0, 0.0),  # nothing was hit
    ],
)
def test_one_point(camera, depth, value, slope):
    depths = np.full((HEIGHT, WIDTH), depth, np.float32)
    loss = sparse_depth_loss(depths, camera, POINTS[:1])
    assert loss.value == pytest.approx(value)
    assert loss.gradient[18, 24] == pytest.approx(slope)
    assert np.count_nonzero(loss.gradient) == (slope != 0)


def test_mean_over_the_points_in_view(camera):
    behind, outside = np.array([[5.0, 0, 0]]), np.array([[0.0, 9, 0]])
    depths = np.full((HEIGHT, WIDTH), 2.0, np.float32)
    depths[14, 24] = 3.0  # where the second point is: 18 − 48 · 0.1 / 1.5 = 14.8
    loss = sparse_depth_loss(depths, camera, np.concatenate([POINTS, behind, outside]))
    assert loss.value == pytest.approx((0 + 1.0) / 2)
    assert loss.gradient[14, 24] == pytest.approx(1 / 1.5 / 2)


def test_gradient_is_the_slope_of_the_value(camera):
    generator = np.random.default_rng(0)
    points = generator.uniform(-0.5, 0.5, (200, 3))
    depths = generator.uniform(1.5, 3.0, (HEIGHT, WIDTH)).astype(np.float32)
    loss = sparse_depth_loss(depths, camera, points)
    step = 1e-4 * np.sign(loss.gradient)
    change = sparse_depth_loss(depths + step, camera, points).value - loss.value
    assert change == pytest.approx(float((loss.gradient * step).sum()), rel=0.05)


def test_no_point_in_view_is_no_loss(camera):
    loss = sparse_depth_loss(np.ones((HEIGHT, WIDTH), np.float32), camera, np.array([[9.0, 0, 0]]))
    assert loss.value == 0
    assert not loss.gradient.any()
