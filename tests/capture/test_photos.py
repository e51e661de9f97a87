"""Photos of every kind become RGB uint8; damaged ones are one clear error."""

import numpy as np
import pytest
from PIL import Image

from gags.capture.photos import listed, photo_size, read_photo
from gags.errors import CaptureError

RGB = np.random.default_rng(0).integers(0, 256, (6, 5, 3), dtype=np.uint8)
GREY = RGB[..., 0]


def check(path, expected):
    image = read_photo(path)
    assert image.dtype == np.uint8
    assert image.flags["C_CONTIGUOUS"]
    np.testing.assert_array_equal(image, expected)
    assert photo_size(path) == (5, 6)


@pytest.mark.parametrize("suffix", ["png", "bmp", "tif", "ppm"])
def test_rgb(tmp_path, suffix):
    Image.fromarray(RGB).save(tmp_path / f"a.{suffix}")
    check(tmp_path / f"a.{suffix}", RGB)


def test_grey_becomes_rgb(tmp_path):
    Image.fromarray(GREY).save(tmp_path / "a.png")
    check(tmp_path / "a.png", np.stack([GREY] * 3, axis=-1))


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_16_bits_are_scaled_not_clipped(tmp_path, suffix):
    deep = np.array([[0, 128, 257, 32896, 65535]] * 6, dtype=np.uint16)
    Image.fromarray(deep).save(tmp_path / f"a.{suffix}")
    check(
        tmp_path / f"a.{suffix}", np.array([[[0] * 3, [0] * 3, [1] * 3, [128] * 3, [255] * 3]] * 6, np.uint8)
    )


def test_transparent_parts_become_black(tmp_path):
    alpha = np.zeros((6, 5, 1), np.uint8)
    alpha[2:, :3] = 255
    alpha[0, 4] = 128
    Image.fromarray(np.concatenate([RGB, alpha], axis=-1)).save(tmp_path / "a.png")
    expected = np.where(alpha == 255, RGB, 0)
    expected[0, 4] = np.round(RGB[0, 4] * (128 / 255))
    image = read_photo(tmp_path / "a.png")
    np.testing.assert_allclose(image.astype(int), expected, atol=1)
    np.testing.assert_array_equal(image[1:], expected[1:])


def test_grey_with_alpha_and_palette(tmp_path):
    alpha = np.full((6, 5), 255, np.uint8)
    Image.fromarray(np.stack([GREY, alpha], axis=-1)).save(tmp_path / "la.png")
    check(tmp_path / "la.png", np.stack([GREY] * 3, axis=-1))
    palette = Image.fromarray(GREY // 128).convert("P")
    palette.putpalette([10, 20, 30, 200, 210, 220])
    palette.save(tmp_path / "p.png")
    check(tmp_path / "p.png", np.array([[10, 20, 30], [200, 210, 220]], np.uint8)[GREY // 128])


def test_exif_orientation_is_not_applied(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by 90°
    Image.fromarray(np.full((6, 5, 3), 90, np.uint8)).save(tmp_path / "a.jpg", exif=exif)
    assert photo_size(tmp_path / "a.jpg") == (5, 6)
    assert read_photo(tmp_path / "a.jpg").shape == (6, 5, 3)


@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_truncated_photo(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    noise = np.random.default_rng(1).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    path.write_bytes(path.read_bytes()[:3000])
    assert photo_size(path) == (80, 60)  # the header is whole
    with pytest.raises(CaptureError, match=rf"photo .*a\.{suffix} cannot be read \(.*truncated"):
        read_photo(path)


@pytest.mark.parametrize("content", [b"", b"not a photo", b"\xff\xd8\xff\xe0" + b"x" * 50])
@pytest.mark.parametrize("read", [photo_size, read_photo])
def test_no_photo_at_all(tmp_path, read, content):
    (tmp_path / "a.jpg").write_bytes(content)
    with pytest.raises(CaptureError, match=r"photo .*a\.jpg cannot be read"):
        read(tmp_path / "a.jpg")


def test_missing_photo(tmp_path):
    with pytest.raises(CaptureError, match=r"photo .*a\.jpg is not there"):
        read_photo(tmp_path / "a.jpg")


def test_floating_point_photo(tmp_path):
    Image.fromarray(RGB[..., 0].astype(np.float32)).save(tmp_path / "a.tif")
    with pytest.raises(CaptureError, match="floating-point"):
        read_photo(tmp_path / "a.tif")


def test_listed():
    assert listed(["a"]) == "a"
    assert listed(["a", "b", "c"]) == "a, b, c"
    assert listed(["a", "b", "c", "d", "e"]) == "a, b, c and 2 more"
