"""Which pixels a mask keeps, whatever it is stored as, and what resizing and undistorting make of that."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gags.capture.lens import Lens
from gags.capture.masks import kept_of_alpha, kept_of_mask, resized_kept, same_shape
from gags.capture.undistort import undistort, undistort_kept
from gags.errors import CaptureError

WIDTH, HEIGHT = 12, 8
KEPT = np.ones((HEIGHT, WIDTH), bool)
KEPT[2:5, 3:9] = False


def written(path: Path, picture: Image.Image) -> Path:
    picture.save(path)
    return path


def stored(mode: str, kept: np.ndarray) -> Image.Image:
    """A mask in a mode of Pillow, white where the photo is kept."""
    if mode == "I;16":
        return Image.fromarray(np.where(kept, 300, 0).astype(np.uint16))
    if mode == "RGBA":  # white everywhere, and transparent where it is ignored
        return Image.fromarray(np.dstack([np.full((*kept.shape, 3), 255), 255 * kept]).astype(np.uint8))
    grey = Image.fromarray(np.where(kept, 255, 0).astype(np.uint8))
    return grey.convert(mode)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "RGB", "P", "I;16", "RGBA"])
def test_black_is_ignored_in_every_mode(tmp_path, mode):
    path = written(tmp_path / "m.png", stored(mode, KEPT))
    assert np.array_equal(kept_of_mask(path, (WIDTH, HEIGHT)), KEPT)


def test_all_that_is_not_black_counts(tmp_path):
    picture = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    picture[0, 0], picture[1, 1] = (1, 0, 0), (0, 0, 255)
    kept = kept_of_mask(written(tmp_path / "m.png", Image.fromarray(picture)), (WIDTH, HEIGHT))
    assert list(zip(*np.nonzero(kept), strict=True)) == [(0, 0), (1, 1)]


def test_jpeg_keeps_black_only_nearly(tmp_path):
    kept = np.ones((64, 64), bool)
    kept[:, 21:] = False  # no border of JPEG's blocks of 8×8
    path = tmp_path / "m.jpg"
    stored("L", kept).save(path, quality=50)
    assert (np.asarray(Image.open(path))[:, 21:] > 0).any()
    assert np.array_equal(kept_of_mask(path, (64, 64)), kept)


@pytest.mark.parametrize("factor", [2, 3])
def test_a_smaller_mask_of_the_same_shape_is_enlarged(tmp_path, factor):
    path = written(tmp_path / "m.png", stored("L", KEPT))
    size = WIDTH * factor, HEIGHT * factor
    expected = KEPT.repeat(factor, axis=0).repeat(factor, axis=1)
    assert np.array_equal(kept_of_mask(path, size), expected)


def test_a_larger_mask_takes_the_nearest_pixels(tmp_path):
    large = KEPT.repeat(3, axis=0).repeat(3, axis=1)
    path = written(tmp_path / "m.png", stored("L", large))
    assert np.array_equal(kept_of_mask(path, (WIDTH, HEIGHT)), KEPT)


@pytest.mark.parametrize("size", [(12, 10), (8, 12), (24, 8), (120, 100)])
def test_another_shape_is_refused_with_the_name_of_the_mask(tmp_path, size):
    path = written(tmp_path / "m.png", stored("L", KEPT))
    with pytest.raises(CaptureError, match=rf"m\.png is 12×8, but its photo is {size[0]}×{size[1]}.*--masks"):
        kept_of_mask(path, size)


def test_sides_are_rounded_when_photos_are_made_smaller():
    assert same_shape((618, 411), (4946, 3286))
    assert same_shape((4946, 3286), (618, 411))
    assert same_shape((64, 48), (64, 48))
    assert not same_shape((64, 46), (64, 48))


def test_a_mask_of_the_raw_pixels_is_turned_with_its_photo(tmp_path):
    path = written(tmp_path / "m.png", stored("L", KEPT))
    assert np.array_equal(kept_of_mask(path, (HEIGHT, WIDTH), 6), KEPT.T[:, ::-1])
    upright = written(tmp_path / "u.png", stored("L", KEPT.T))
    assert np.array_equal(kept_of_mask(upright, (HEIGHT, WIDTH), 6), KEPT.T)


def test_transparent_pixels_of_a_photo_are_ignored_and_turned(tmp_path):
    photo = np.full((HEIGHT, WIDTH, 4), 90, np.uint8)
    photo[..., 3] = np.where(KEPT, 255, 0)
    photo[0, :2, 3] = 127, 128
    path = written(tmp_path / "p.png", Image.fromarray(photo))
    expected = KEPT.copy()
    expected[0, 0] = False
    assert np.array_equal(kept_of_alpha(path), expected)
    assert np.array_equal(kept_of_alpha(path, 3), expected[::-1, ::-1])


@pytest.mark.parametrize("content", [b"", b"no picture"])
def test_a_mask_that_cannot_be_read_is_named(tmp_path, content):
    (tmp_path / "m.png").write_bytes(content)
    with pytest.raises(CaptureError, match=r"mask: .*m\.png cannot be read"):
        kept_of_mask(tmp_path / "m.png", (WIDTH, HEIGHT))
    with pytest.raises(CaptureError, match=r"gone\.png is not there"):
        kept_of_mask(tmp_path / "gone.png", (WIDTH, HEIGHT))


def test_a_shrunk_pixel_counts_if_all_do_that_it_is_made_of():
    kept = np.ones((8, 12), bool)
    kept[3, 5] = False
    expected = np.ones((4, 6), bool)
    expected[1, 2] = False
    assert np.array_equal(resized_kept(kept, 6, 4), expected)
    uneven = resized_kept(kept, 5, 3)  # a pixel is 2.4 × 2.67
    assert list(zip(*np.nonzero(~uneven), strict=True)) == [(1, 2)]
    assert resized_kept(kept, 12, 8) is kept
    assert np.array_equal(resized_kept(kept, 24, 16), kept.repeat(2, axis=0).repeat(2, axis=1))


def test_if_no_pixel_would_be_left_the_nearest_decides():
    kept = np.zeros((9, 9), bool)
    kept[4, 4] = True
    expected = np.zeros((3, 3), bool)
    expected[1, 1] = True
    assert np.array_equal(resized_kept(kept, 3, 3), expected)


@pytest.mark.parametrize("radial8", [0.0, 0.01])
def test_what_is_kept_of_an_undistorted_photo_shows_nothing_that_is_ignored(radial8):
    lens = Lens(160, 120, fx=120, fy=120, cx=78, cy=61, distortion=(-0.2, 0.04), radial8=radial8)
    kept = np.ones((120, 160), bool)
    kept[20:70, 100:150] = False
    photo = np.where(kept[..., None], [0, 0, 255], [255, 0, 0]).astype(np.uint8)
    shown, still = undistort(photo, lens), undistort_kept(kept, lens)
    inside = (shown[..., 0] > 250) & (shown[..., 2] < 5)
    outside = (shown[..., 0] < 5) & (shown[..., 2] > 250)
    assert inside.sum() > 1500  # the lens bends it; it is still there
    assert not still[inside].any()
    assert (~still & outside).sum() < 0.15 * inside.sum()  # a border of a pixel or two
    assert not (still & (shown[..., 0] > 60)).any()
    assert undistort_kept(kept, Lens(160, 120, fx=120, fy=120, cx=78, cy=61)) is kept
