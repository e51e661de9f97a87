"""From calibrated photos to pinhole ones: sizes, names, where pixels go."""

import cv2
import numpy as np
import pycolmap
import pytest
from tests.helpers.made_capture import write_photo as write_photo_file
from tests.helpers.wide import SIZE as WIDE
from tests.helpers.wide import WIDE_LENSES, photo_of

from gags.capture import load_capture
from gags.capture.formats.colmap_files import lens_of_model
from gags.capture.lens import Lens
from gags.capture.settings import UndistortSettings
from gags.capture.undistort import pinhole_intrinsics, pinhole_of, seen_pixels, undistort
from gags.poses.bare import BarePhoto
from gags.poses.undistorted import lens_of, result_name, undistorted_points, write_capture

KEEP = UndistortSettings(border="keep")

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


@pytest.mark.parametrize("model", WIDE_LENSES)
def test_wide_lenses_of_colmap(model):
    original = pycolmap.Camera(model=model, width=WIDE[0], height=WIDE[1], params=WIDE_LENSES[model])
    lens = lens_of(original)
    assert lens == lens_of_model(model, *WIDE, WIDE_LENSES[model])
    pinhole = pinhole_of(lens)
    xy = np.random.default_rng(0).uniform([100, 60], [300, 240], (50, 2))
    rays = np.array([original.cam_from_img(point) for point in xy])
    expected = rays * [pinhole.fx, pinhole.fy] + [pinhole.cx, pinhole.cy]
    np.testing.assert_allclose(undistorted_points(xy, lens, pinhole.K), expected, atol=1e-4)


def test_a_fisheye_is_written_as_a_pinhole_with_a_mask(tmp_path):
    """One photo in a model with two points: one that its picture shows, and one that is beyond it."""
    params = [*WIDE_LENSES["DIVISION"][:4], 0.4]  # its corners lie outside of the photo
    original = pycolmap.Camera(model="DIVISION", width=WIDE[0], height=WIDE[1], params=params, camera_id=1)
    model = pycolmap.Reconstruction()
    model.add_camera_with_trivial_rig(original)
    pinhole = pinhole_of(lens_of(original), KEEP)
    corner = [-pinhole.cx / pinhole.fx, -pinhole.cy / pinhole.fy]  # at depth 1
    half = [0.5 * value for value in corner]
    keypoints = [original.img_from_cam([*half, 1.0]), np.array([-80.0, 160.0])]
    for number, name in ((1, "a.png"), (2, "b.png")):
        image = pycolmap.Image(
            name=name,
            camera_id=1,
            image_id=number,
            points2D=pycolmap.Point2DList([pycolmap.Point2D(xy) for xy in keypoints]),
        )
        model.add_image_with_trivial_frame(image, pycolmap.Rigid3d())
        write_photo_file(tmp_path / "photos" / name, photo_of(original))
    for index in range(2):
        track = pycolmap.Track([pycolmap.TrackElement(1, index), pycolmap.TrackElement(2, index)])
        model.add_point3D(np.array([*half, 1.0]), track)
    photos = [BarePhoto(name, tmp_path / "photos" / name, *WIDE) for name in ("a.png", "b.png")]
    write_capture(model, photos, tmp_path / "out", KEEP)
    capture = load_capture(tmp_path / "out", test_every=0)
    view = capture.views[0]
    assert view.lens is None
    assert (view.camera.width, view.camera.height) == (pinhole.width, pinhole.height)
    np.testing.assert_allclose(view.camera.K, pinhole.K)
    seen = seen_pixels(lens_of(original), pinhole.K, (pinhole.width, pinhole.height))
    mask = cv2.imread(str(tmp_path / "out" / "masks" / "a.png.png"), cv2.IMREAD_GRAYSCALE)
    np.testing.assert_array_equal(mask, seen * np.uint8(255))
    assert (view.image()[~seen] == 0).all()
    assert len(capture.points) == 1  # the other one is beyond all pictures
    written = pycolmap.Reconstruction(str(tmp_path / "out" / "sparse" / "0"))
    np.testing.assert_allclose(
        written.image(1).points2D[0].xy, np.array(half) * pinhole.fx + pinhole.K[:2, 2]
    )
    write_capture(pycolmap.Reconstruction(str(tmp_path / "out" / "sparse" / "0")), photos, tmp_path / "again")
    assert not (tmp_path / "again" / "masks").exists()
