"""Which pinhole camera a wide photo becomes, and its picture, against a sky that is known everywhere."""

import numpy as np
import pycolmap
import pytest
from tests.helpers.made_capture import LENSES
from tests.helpers.wide import SIZE, WIDE_LENSES, panorama, photo_of, picture, pixel_centres

from gags.capture.formats.colmap_files import lens_of_model
from gags.capture.lens import Lens, panorama_lens, pixels_of
from gags.capture.panorama import looking
from gags.capture.settings import UndistortSettings
from gags.capture.undistort import pinhole_intrinsics, pinhole_of, seen_pixels, undistort

KEEP = UndistortSettings(border="keep")


def rays_of(pinhole: Lens) -> np.ndarray:
    """Rays of all its pixels. [H, W, 3]"""
    xy = (pixel_centres((pinhole.width, pinhole.height)) - pinhole.K[:2, 2]) / pinhole.K[[0, 1], [0, 1]]
    return np.concatenate([xy, np.ones_like(xy[..., :1])], axis=-1)


def angles(pinhole: Lens) -> tuple[float, float]:
    """Angles of view across and down, degrees."""
    ends = [
        np.degrees(np.arctan(middle / focal) + np.arctan((side - middle) / focal))
        for side, middle, focal in (
            (pinhole.width, pinhole.cx, pinhole.fx),
            (pinhole.height, pinhole.cy, pinhole.fy),
        )
    ]
    return ends[0], ends[1]


def inside(lens: Lens, pinhole: Lens) -> np.ndarray:
    """Whether each pixel of a picture comes from inside the photo. bool [H, W]"""
    pixels = pixels_of(lens, rays_of(pinhole)[..., :2])
    return ((pixels >= 0) & (pixels <= SIZE)).all(axis=-1)


@pytest.mark.parametrize("model", WIDE_LENSES)
def test_undistorted_photo_shows_what_the_pinhole_sees(model):
    lens = lens_of_model(model, *SIZE, WIDE_LENSES[model])
    camera = pycolmap.Camera(model=model, width=SIZE[0], height=SIZE[1], params=WIDE_LENSES[model])
    photo = photo_of(camera)
    pinhole = pinhole_of(lens)
    assert pinhole.distortion == ()
    assert inside(lens, pinhole).all()
    flat = undistort(photo, lens, pinhole.K, (pinhole.width, pinhole.height))
    assert flat.shape == (pinhole.height, pinhole.width, 3)
    difference = np.abs(flat.astype(float) - picture(rays_of(pinhole)))
    assert difference.mean() < 1.5
    assert np.percentile(difference, 99) < 6
    np.testing.assert_array_equal(undistort(photo, lens), flat)  # what is not given is `pinhole_of`
    assert seen_pixels(lens, pinhole.K, (pinhole.width, pinhole.height)) is None


def test_fisheye_keeps_120_degrees_or_what_the_photo_has():
    """An equidistant fisheye: r px from its axis are r / f radians."""
    round_ = Lens(400, 400, fx=400 / np.pi, fy=400 / np.pi, cx=200.0, cy=200.0, projection="fisheye")
    across, down = angles(pinhole_of(round_))
    assert 119 < across <= 120
    assert 119 < down <= 120
    flat = Lens(400, 300, fx=230.0, fy=230.0, cx=200.0, cy=150.0, projection="fisheye")
    across, down = angles(pinhole_of(flat))
    assert across == pytest.approx(np.degrees(400 / 230), abs=0.4)
    assert down == pytest.approx(np.degrees(300 / 230), abs=0.4)
    narrow = pinhole_of(flat, UndistortSettings(fov=60.0))
    assert angles(narrow) == pytest.approx((60, 60), abs=0.5)
    assert narrow.fx == pytest.approx(230, rel=1e-3)  # as sharp as the photo on its axis, and no sharper
    wide = pinhole_of(flat)
    assert wide.width * wide.height == pytest.approx(400 * 300, rel=0.02)  # as many pixels as the photo


@pytest.mark.parametrize("model", WIDE_LENSES)
def test_no_wider_picture_of_this_shape_would_do(model):
    lens = lens_of_model(model, *SIZE, WIDE_LENSES[model])
    pinhole = pinhole_of(lens)
    wider = Lens(pinhole.width, pinhole.height, pinhole.fx * 0.97, pinhole.fy * 0.97, pinhole.cx, pinhole.cy)
    across, down = angles(pinhole)
    assert not inside(lens, wider).all() or max(across, down) > 119


def test_what_reaches_beyond_the_photo_is_black_and_marked():
    """Seen through a pincushion, a rectangle's corners lie outside of the photo, its middle lines inside."""
    lens = lens_of_model("DIVISION", *SIZE, [210.0, 214, 190, 160, 0.4])
    pinhole = pinhole_of(lens, KEEP)
    cropped = pinhole_of(lens)
    K, size = pinhole.K, (pinhole.width, pinhole.height)
    seen = seen_pixels(lens, K, size)
    assert seen is not None
    assert seen.shape == (size[1], size[0])
    assert angles(cropped) < angles(pinhole)
    flat = undistort(np.full((300, 400, 3), 200, np.uint8), lens, K, size)
    assert (flat[seen] == 200).all()
    assert (flat[~seen] == 0).all()
    assert 0.02 < (~seen).mean() < 0.5
    assert (seen != inside(lens, pinhole)).mean() < 1e-4  # on the border itself, rounding decides
    corners = seen[[0, 0, -1, -1], [0, -1, 0, -1]]
    assert not corners.any()


def test_a_polynomial_is_used_up_to_where_it_turns_back():
    """θ − 0.2 θ³ is largest at 1.291 rad, so a photo of more shows the outside a second time."""
    lens = Lens(600, 600, fx=200.0, fy=200.0, cx=300.0, cy=300.0, distortion=(-0.2,), projection="fisheye")
    turn = np.degrees((1 / 0.6) ** 0.5)
    pinhole = pinhole_of(lens, UndistortSettings(fov=170.0, border="keep"))
    assert angles(pinhole) == pytest.approx((2 * turn, 2 * turn), abs=0.6)
    seen = seen_pixels(lens, pinhole.K, (pinhole.width, pinhole.height))
    assert seen is not None
    beyond = np.linalg.norm(rays_of(pinhole)[..., :2], axis=-1) > np.tan(np.radians(turn))
    assert (seen == ~beyond).mean() > 0.999
    assert beyond.any()
    cropped = pinhole_of(lens, UndistortSettings(fov=170.0))
    assert (np.linalg.norm(rays_of(cropped)[..., :2], axis=-1) < np.tan(np.radians(turn))).all()


def test_a_circle_of_content_is_kept_to():
    lens = Lens(400, 400, fx=200.0, fy=200.0, cx=200.0, cy=200.0, projection="fisheye", radius=150.0)
    pinhole = pinhole_of(lens)
    pixels = pixels_of(lens, rays_of(pinhole)[..., :2])
    assert np.linalg.norm(pixels - 200, axis=-1).max() <= 150
    assert np.linalg.norm(pixels - 200, axis=-1).max() > 147
    assert lens.resized(200, 200).radius == 75


@pytest.mark.parametrize("model", [m for m in LENSES if "PINHOLE" not in m])
def test_perspective_lenses_stay_what_they_were_unless_asked(model):
    lens = lens_of_model(model, 200, 150, LENSES[model])
    usual = pinhole_of(lens)
    np.testing.assert_array_equal(usual.K, pinhole_intrinsics(lens))
    assert (usual.width, usual.height) == (200, 150)
    narrow = pinhole_of(lens, UndistortSettings(fov=20.0))
    assert angles(narrow) == pytest.approx((20, 20), abs=0.5)
    photo = photo_of(pycolmap.Camera(model=model, width=200, height=150, params=LENSES[model]))
    for settings in (UndistortSettings(fov=20.0), KEEP):
        pinhole = pinhole_of(lens, settings)
        K, size = pinhole.K, (pinhole.width, pinhole.height)
        flat, seen = undistort(photo, lens, K, size), seen_pixels(lens, K, size)
        where = np.ones(flat.shape[:2], bool) if seen is None else seen
        assert np.abs(flat.astype(float) - picture(rays_of(pinhole)))[where].mean() < 1.5


def test_a_pinhole_is_never_changed():
    lens = Lens(200, 150, fx=210.0, fy=220.0, cx=90.0, cy=80.0)
    assert pinhole_of(lens, UndistortSettings(fov=20.0)) is lens
    photo = np.zeros((150, 200, 3), np.uint8)
    assert undistort(photo, lens) is photo
    assert seen_pixels(lens) is None


@pytest.mark.parametrize(
    ("lens", "message"),
    [
        (Lens(400, 300, 150.0, 150.0, -30.0, 150.0, projection="fisheye"), r"axis.*outside of the photo"),
        (
            Lens(400, 300, 150.0, 150.0, 200.0, 150.0, (1e300,), projection="fisheye"),
            "nothing is left|px are",
        ),
        (Lens(400, 300, 150.0, 150.0, 200.0, 150.0, (-1e9,), projection="fisheye"), "nothing is left|px are"),
    ],
)
def test_where_nothing_is_left(lens, message):
    with pytest.raises(ValueError, match=message):
        pinhole_of(lens)


@pytest.mark.parametrize("direction", [(0.0, 0.0), (135.0, 0.0), (180.0, 20.0), (0.0, 90.0), (-90.0, -35.0)])
def test_views_of_a_panorama_show_the_sky_there(direction):
    """By hand: a view to the right and up by these degrees turns about y, then about its own x."""
    lens = looking(panorama_lens(1200, 600), direction)
    right, up = np.radians(direction)
    forward = [np.sin(right) * np.cos(up), -np.sin(up), np.cos(right) * np.cos(up)]
    np.testing.assert_allclose(lens.R_lens_picture @ [0, 0, 1], forward, atol=1e-12)
    np.testing.assert_allclose(
        lens.R_lens_picture @ [1, 0, 0], [np.cos(right), 0, -np.sin(right)], atol=1e-12
    )
    K = np.array([[150.0, 0, 150], [0, 150, 150], [0, 0, 1]])
    flat = undistort(panorama(600), lens, K, (300, 300))
    pinhole = Lens(300, 300, fx=150.0, fy=150.0, cx=150.0, cy=150.0)
    truth = picture(rays_of(pinhole) @ lens.R_lens_picture.T)
    difference = np.abs(flat.astype(float) - truth)
    assert difference.mean() < 1
    assert difference.max() < 12  # at a pole, where rays of all longitudes meet in one pixel
