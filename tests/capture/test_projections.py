"""Formulas of lenses, against pycolmap's own camera models."""

import numpy as np
import pycolmap
import pytest
from tests.helpers.made_capture import LENSES
from tests.helpers.wide import SIZE, WIDE_LENSES

from gags.capture.formats.colmap_files import lens_of_model
from gags.capture.lens import Lens, panorama_lens, pixels_of, rays_through
from gags.capture.projections import FORMULAS, project
from gags.errors import CaptureError

ALL_LENSES = {
    model: [2 * p if i < 3 else p for i, p in enumerate(params)] for model, params in LENSES.items()
}
ALL_LENSES |= WIDE_LENSES


def rays(widest: float, count: int = 400) -> np.ndarray:
    """Random rays up to an angle from the axis, of random lengths. [count, 3]"""
    rng = np.random.default_rng(3)
    angle, around = rng.uniform(0, widest, count), rng.uniform(0, 2 * np.pi, count)
    unit = np.stack([np.sin(angle) * np.cos(around), np.sin(angle) * np.sin(around), np.cos(angle)], axis=-1)
    return unit * rng.uniform(0.5, 3, (count, 1))


@pytest.mark.parametrize("model", ALL_LENSES)
def test_rays_are_where_pycolmap_puts_them_and_come_back(model):
    camera = pycolmap.Camera(model=model, width=SIZE[0], height=SIZE[1], params=ALL_LENSES[model])
    lens = lens_of_model(model, *SIZE, ALL_LENSES[model])
    ahead = rays(0.5 if model in LENSES else 1.0)
    xy = ahead[:, :2] / ahead[:, 2:]
    pixels = pixels_of(lens, xy)
    np.testing.assert_allclose(pixels, camera.img_from_cam(ahead), atol=1e-6)
    np.testing.assert_allclose(rays_through(lens, pixels), xy, atol=1e-6)
    np.testing.assert_allclose(rays_through(lens, pixels), camera.cam_from_img(pixels), atol=1e-6)


@pytest.mark.parametrize("model", [m for m in WIDE_LENSES if "FISHEYE" in m or m == "EUCM"])
def test_fisheyes_see_to_their_sides(model):
    camera = pycolmap.Camera(model=model, width=SIZE[0], height=SIZE[1], params=WIDE_LENSES[model])
    lens = lens_of_model(model, *SIZE, WIDE_LENSES[model])
    wide = rays(1.56)
    seen = project(lens.projection, lens.distortion, wide) * [lens.fx, lens.fy] + [lens.cx, lens.cy]
    np.testing.assert_allclose(seen, camera.img_from_cam(wide), atol=1e-6)


def test_fisheyes_see_behind_themselves_by_the_angle():
    angle = np.radians(100)
    behind = np.array([[np.sin(angle), 0, np.cos(angle)], [0, -2 * np.sin(angle), 2 * np.cos(angle)]])
    radius = angle + 0.02 * angle**3 - 0.003 * angle**5
    seen = project("fisheye", (0.02, -0.003), behind)
    np.testing.assert_allclose(seen, [[radius, 0], [0, -radius]], atol=1e-12)


def test_panorama_is_by_longitude_and_latitude():
    camera = pycolmap.Camera(model="EQUIRECTANGULAR", width=800, height=400, params=[800, 400])
    lens = panorama_lens(800, 400)
    assert lens == lens_of_model("EQUIRECTANGULAR", 800, 400, [800, 400])
    everywhere = rays(np.pi)
    seen = project(lens.projection, (), everywhere) * [lens.fx, lens.fy] + [lens.cx, lens.cy]
    np.testing.assert_allclose(seen, camera.img_from_cam(everywhere), atol=1e-9)
    # By hand: ahead, to the right, behind, up.
    by_hand = project(lens.projection, (), np.array([[0.0, 0, 1], [1, 0, 0], [0.0, 0, -1], [0, -1, 0]]))
    np.testing.assert_allclose(by_hand, [[0, 0], [np.pi / 2, 0], [np.pi, 0], [0, -np.pi / 2]])


def test_pixels_to_which_no_ray_leads_have_none():
    """2.5 rad from the axis is behind the lens; at 0.5 of this polynomial's radii, rays turn back."""
    fisheye = Lens(400, 300, fx=100.0, fy=100.0, cx=200.0, cy=150.0, projection="fisheye")
    assert np.isnan(rays_through(fisheye, np.array([450.0, 150.0]))).all()
    np.testing.assert_allclose(rays_through(fisheye, np.array([200.0, 150.0])), [0, 0])
    turning = Lens(400, 300, fx=100.0, fy=100.0, cx=200.0, cy=150.0, distortion=(-0.3,), projection="fisheye")
    assert np.isnan(rays_through(turning, np.array([390.0, 150.0]))).all()  # its largest radius is 70 px


@pytest.mark.parametrize("model", WIDE_LENSES)
@pytest.mark.parametrize("change", ["less", "more", "nan", "inf", "no focal length"])
def test_wrong_parameters_are_no_camera(model, change):
    params = list(WIDE_LENSES[model])
    wrong = {
        "less": params[:-1],
        "more": [*params, 0.0],
        "nan": [*params[:-1], np.nan],
        "inf": [*params[:-1], np.inf],
        "no focal length": [0.0, *params[1:]],
    }
    with pytest.raises(ValueError, match="parameters"):
        lens_of_model(model, *SIZE, wrong[change])


@pytest.mark.parametrize(("model", "bends"), [("EUCM", [1.5, 1.0]), ("EUCM", [0.5, -1.0]), ("FOV", [3.2])])
def test_numbers_outside_of_a_model_are_no_camera(model, bends):
    with pytest.raises(ValueError, match="no camera"):
        lens_of_model(model, *SIZE, [150.0, 150, 200, 150, *bends])


def test_unknown_models_are_named():
    with pytest.raises(CaptureError, match=r"camera model KANNALA is unknown.*OPENCV_FISHEYE"):
        lens_of_model("KANNALA", *SIZE, [1.0])


def test_every_projection_is_that_of_a_model():
    made = {lens_of_model(model, *SIZE, params).projection for model, params in WIDE_LENSES.items()}
    assert made | {"equirectangular"} == set(FORMULAS)
