"""From calibrated photos to pinhole ones: sizes, names, where pixels go."""

import cv2
import numpy as np
import pycolmap
import pytest

from gags.capture.lens import Lens
from gags.capture.undistort import pinhole_intrinsics, undistort
from gags.poses.undistorted import lens_of, result_name, undistorted_points

PARAMETERS = {
    "SIMPLE_PINHOLE": [200.0, 80.0, 61.0],
    "PINHOLE": [200.0, 210.0, 80.0, 61.0],
    "SIMPLE_RADIAL": [200.0, 80.0, 61.0, -0.1],
    "RADIAL": [200.0, 80.0, 61.0, -0.1, 0.02],
    "OPENCV": [200.0, 210.0, 80.0, 61.0, -0.1, 0.02, 0.003, -0.004],
}


def camera(model: str) -> pycolmap.Camera:
    return pycolmap.Camera(model=model, width=160, height=120, params=PARAMETERS[model])


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("a.jpg", "a.jpg"),
        ("a/b.JPEG", "a/b.JPEG"),
        ("a.png", "a.png"),
        ("a.b.webp", "a.b.jpg"),
        ("x.tif", "x.jpg"),
    ],
)
def test_names_of_the_result(name, written):
    assert result_name(name) == written


@pytest.mark.parametrize("model", PARAMETERS)
def test_lens_of_every_model(model):
    lens = lens_of(camera(model))
    fy = 210.0 if model in ("PINHOLE", "OPENCV") else 200.0
    assert (lens.width, lens.height, lens.fx, lens.fy, lens.cx, lens.cy) == (160, 120, 200.0, fy, 80.0, 61.0)
    assert lens.distortion == tuple(PARAMETERS[model][4 if model in ("PINHOLE", "OPENCV") else 3 :])


@pytest.mark.parametrize("model", PARAMETERS)
def test_points_go_where_colmap_says(model):
    """COLMAP's own model: from the pixel to the ray, then through the new pinhole."""
    original = camera(model)
    lens = lens_of(original)
    K = pinhole_intrinsics(lens)
    xy = np.random.default_rng(0).uniform([2, 2], [158, 118], (50, 2))
    rays = np.array([original.cam_from_img(point) for point in xy])
    expected = rays * [K[0, 0], K[1, 1]] + K[:2, 2]
    np.testing.assert_allclose(undistorted_points(xy, lens, K), expected, atol=1e-4)
    assert undistorted_points(np.zeros((0, 2)), lens, K).shape == (0, 2)


def test_points_stay_on_what_they_marked():
    """A dot drawn into a distorted photo is at its undistorted place afterwards; the size stays."""
    lens = Lens(160, 120, 150.0, 150.0, 82.0, 57.0, (-0.25, 0.05))
    photo = np.zeros((120, 160, 3), np.uint8)
    photo[59:62, 9:12] = 255  # middle at (10.5, 60.5)
    flat = undistort(photo, lens)
    assert flat.shape == photo.shape
    (x, y) = undistorted_points(np.array([[10.5, 60.5]]), lens, pinhole_intrinsics(lens))[0]
    moments = cv2.moments(flat[..., 0].astype(np.float32))
    found = np.array([moments["m10"], moments["m01"]]) / moments["m00"] + 0.5
    np.testing.assert_allclose(found, [x, y], atol=0.15)
    assert 1.5 < 10.5 - x < 2.5  # the lens does bend there
