"""Undistortion, against projections by pycolmap's own camera models."""

import numpy as np
import pycolmap
import pytest
from tests.helpers.made_capture import LENSES, SIZE, pose, write_colmap

from gags.capture import load_capture
from gags.capture.lens import Lens, rays_through
from gags.capture.undistort import pinhole_intrinsics, undistort
from gags.errors import CaptureError

DISTORTED = [model for model in LENSES if "PINHOLE" not in model]


BACKGROUND = 40.0


def dot_grid() -> np.ndarray:
    """World points on a plane across the view. [30, 3]"""
    x, y = np.meshgrid(np.linspace(-1.1, 1.1, 6), np.linspace(-0.8, 0.8, 5))
    return np.stack([x, y, 0.1 * x], axis=-1).reshape(-1, 3)


def photo_of_dots(camera: pycolmap.Camera, viewmat: np.ndarray) -> np.ndarray:
    """What `camera` sees of the grid: a soft white dot where COLMAP's camera model puts each point."""
    in_camera = dot_grid() @ viewmat[:3, :3].T + viewmat[:3, 3]
    x, y = np.meshgrid(np.arange(camera.width) + 0.5, np.arange(camera.height) + 0.5)
    image = np.full((camera.height, camera.width), BACKGROUND)
    for u, v in camera.img_from_cam(in_camera):
        image += 200 * np.exp(-((x - u) ** 2 + (y - v) ** 2) / (2 * 2.0**2))
    return np.repeat(image.clip(0, 255).round().astype(np.uint8)[..., None], 3, axis=-1)


def centroid(image: np.ndarray, xy: np.ndarray, radius: int) -> np.ndarray:
    """Centre of the dot near `xy`, in px with the first pixel's centre at 0.5."""
    column, row = np.floor(xy).astype(int)
    patch = image[row - radius : row + radius + 1, column - radius : column + radius + 1, 0].astype(float)
    weight = patch - BACKGROUND
    dy, dx = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    return np.array(
        [column + 0.5 + (weight * dx).sum() / weight.sum(), row + 0.5 + (weight * dy).sum() / weight.sum()]
    )


@pytest.mark.parametrize("downscale", [1.0, 2.0])
@pytest.mark.parametrize("model", LENSES)
def test_dots_lie_where_the_pinhole_camera_projects_them(tmp_path, model, downscale):
    size = (400, 300)
    params = [
        2 * p if i < (3 if model in ("SIMPLE_PINHOLE", "SIMPLE_RADIAL", "RADIAL") else 4) else p
        for i, p in enumerate(LENSES[model])
    ]
    camera = pycolmap.Camera(model=model, width=size[0], height=size[1], params=params)
    write_colmap(
        tmp_path,
        ["a.png"],
        model=model,
        params=params,
        size=size,
        photo=lambda i: photo_of_dots(camera, pose(i)),
    )
    view = load_capture(tmp_path, downscale=downscale, test_every=0).views[0]
    image = view.image()
    assert image.shape == (round(300 / downscale), round(400 / downscale), 3)
    assert (view.camera.width, view.camera.height) == image.shape[1::-1]

    projected, depth = view.camera.project(dot_grid())
    assert (depth > 0).all()
    radius = round(8 / downscale)
    margin = radius + 3
    seen = ((projected > margin) & (projected < np.array(image.shape[1::-1]) - margin)).all(axis=1)
    assert seen.sum() >= 12
    found = np.array([centroid(image, xy, radius) for xy in projected[seen]])
    np.testing.assert_allclose(found, projected[seen], atol=0.08)


@pytest.mark.parametrize("model", DISTORTED)
def test_undistorted_view_is_as_wide_as_the_photo_allows(tmp_path, model):
    write_colmap(tmp_path, ["a.png"], model=model)
    K = load_capture(tmp_path, test_every=0).views[0].camera.K
    camera = pycolmap.Camera(model=model, width=SIZE[0], height=SIZE[1], params=LENSES[model])

    def photo_pixels(zoom: float) -> np.ndarray:
        x, y = np.linspace(0, SIZE[0], 101), np.linspace(0, SIZE[1], 101)
        border = [*((u, v) for u in x for v in (0, SIZE[1])), *((u, v) for v in y for u in (0, SIZE[0]))]
        about_middle = (np.array(border) - np.array(SIZE) / 2) / zoom + np.array(SIZE) / 2
        rays = np.concatenate(
            [(about_middle - K[:2, 2]) / K[[0, 1], [0, 1]], np.ones((len(border), 1))], axis=1
        )
        return camera.img_from_cam(rays)

    def outside(pixels: np.ndarray) -> float:
        return max(float(-pixels.min()), float((pixels - np.array(SIZE)).max()))

    assert outside(photo_pixels(1.0)) < 0.05  # no black border
    assert outside(photo_pixels(0.97)) > 0.5  # and no wider view would do
    assert K[0, 0] / K[1, 1] == pytest.approx(camera.focal_length_x / camera.focal_length_y)
    middle = np.array([[*((np.array(SIZE) / 2 - K[:2, 2]) / K[[0, 1], [0, 1]]), 1.0]])
    np.testing.assert_allclose(camera.img_from_cam(middle)[0], np.array(SIZE) / 2, atol=1e-6)


def test_without_distortion_the_intrinsics_stay():
    lens = Lens(640, 480, 500.0, 510.0, 301.5, 222.25, (0.0, 0.0))
    np.testing.assert_array_equal(pinhole_intrinsics(lens), [[500, 0, 301.5], [0, 510, 222.25], [0, 0, 1]])


def test_resizing_scales_each_axis_by_itself():
    lens = Lens(640, 480, 500.0, 510.0, 301.5, 222.25, (0.1,)).resized(320, 120)
    assert lens == Lens(320, 120, 250.0, 127.5, 150.75, 55.5625, (0.1,))


def test_wild_distortion_is_an_error(tmp_path):
    write_colmap(tmp_path, ["a.png"], model="RADIAL", params=[100.0, 100.0, 75.0, -900.0, 5.0])
    with pytest.raises(CaptureError, match=r"a\.png.*-900.*calibrate"):
        load_capture(tmp_path, test_every=0)


def test_r8_bends_a_photo_as_the_polynomial_says():
    """A picture of the ray through each of its pixels, x as red and y as green, undistorted by the maps."""
    lens = Lens(120, 90, fx=100.0, fy=95.0, cx=58.0, cy=46.0, distortion=(-0.1, 0.02), radial8=0.8)
    columns, rows = np.meshgrid(np.arange(120) + 0.5, np.arange(90) + 0.5)
    rays = rays_through(lens, np.stack([columns, rows], -1))
    picture = np.zeros((90, 120, 3), np.uint8)
    picture[..., :2] = np.round(128 + 150 * rays)
    K = pinhole_intrinsics(lens)
    xy = (np.stack([columns, rows], -1) - K[:2, 2]) / K[[0, 1], [0, 1]]
    plain = Lens(120, 90, fx=100.0, fy=95.0, cx=58.0, cy=46.0, distortion=(-0.1, 0.02))
    assert "radial8" not in repr(lens)  # what is hashed of every other lens stays what it was

    def error(taken_by):
        found = (undistort(picture, taken_by)[..., :2].astype(float) - 128) / 150
        return np.abs(found - xy)[2:-2, 2:-2].max()

    assert error(lens) < 0.01  # 1 of 150 steps is 0.007
    assert error(plain) > 0.03
