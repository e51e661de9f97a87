"""Photos of every kind become RGB uint8; damaged ones are one clear error."""

import cv2
import numpy as np
import pytest
from PIL import Image

from gags.capture import photos
from gags.capture.photos import (
    SUFFIXES,
    check_whole,
    listed,
    map_folders,
    photo_size,
    photos_in,
    read_photo,
    unreadable_photos,
    why_unreadable,
)
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


@pytest.mark.parametrize("suffix", ["png", "tif"])
@pytest.mark.parametrize("channels", [3, 4])
def test_16_bits_of_colours(tmp_path, suffix, channels):
    """Written by OpenCV, which puts blue first."""
    deep = np.random.default_rng(2).integers(0, 65536, (6, 5, channels), dtype=np.uint16)
    deep[..., 3:] = 65535
    cv2.imwrite(str(tmp_path / f"a.{suffix}"), deep)
    expected = deep[..., 2::-1].astype(float) / 257
    assert np.abs(read_photo(tmp_path / f"a.{suffix}") - expected).max() <= 1


def test_heic(tmp_path):
    heif = pytest.importorskip("pillow_heif")
    heif.register_heif_opener()
    smooth = cv2.resize(RGB, (64, 48), interpolation=cv2.INTER_CUBIC)
    Image.fromarray(smooth).save(tmp_path / "a.HEIC", quality=95)
    assert photo_size(tmp_path / "a.HEIC") == (64, 48)
    assert np.abs(read_photo(tmp_path / "a.HEIC").astype(int) - smooth).mean() < 6
    assert photos_in(tmp_path, deep=True) == [tmp_path / "a.HEIC"]
    check_whole(tmp_path / "a.HEIC")


def test_heic_without_the_extra(tmp_path, monkeypatch):
    monkeypatch.setattr(photos, "readable_suffixes", lambda: SUFFIXES)
    (tmp_path / "a.heic").write_bytes(b"x")
    (tmp_path / "b.dng").write_bytes(b"x")
    assert photos_in(tmp_path, deep=True) == []
    left = unreadable_photos(tmp_path, deep=True)
    assert [path.name for path in left] == ["a.heic", "b.dng"]
    assert "without the extra heif (a.heic, b.dng); pip install 'gags[heif]'" in why_unreadable(left)
    assert "convert them to JPEG" in why_unreadable(left[1:])
    with pytest.raises(CaptureError, match="without the extra heif"):
        read_photo(tmp_path / "a.heic")


def test_which_files_are_photos(tmp_path):
    pictures = [
        "a.jpg",
        "in/B.PNG",
        "masks/a.png",
        "depth_maps/a.png",
        "in/masks_2/a.png",
        "@eaDir/a.jpg/t.jpg",
    ]
    pictures += [
        ".hidden.jpg",
        ".trash/c.jpg",
        "__MACOSX/._a.jpg",
        "in/._B.PNG",
        "normals/a.png",
        "#recycle/d.jpg",
    ]
    for name in pictures:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(RGB).save(tmp_path / name)
    (tmp_path / "folder.jpg").mkdir()
    (tmp_path / "loop.jpg").symlink_to(tmp_path / "loop.jpg")
    names = [path.relative_to(tmp_path).as_posix() for path in photos_in(tmp_path, deep=True)]
    assert names == ["a.jpg", "in/B.PNG"]
    maps = [path.relative_to(tmp_path).as_posix() for path in map_folders(tmp_path)]
    assert maps == ["depth_maps", "in/masks_2", "masks", "normals"]
    assert photos_in(tmp_path, deep=False) == [tmp_path / "a.jpg"]
    assert len(photos_in(tmp_path / "masks", deep=True)) == 1  # asked for by name
    (tmp_path / "carnival" / "masks").mkdir(parents=True)
    Image.fromarray(RGB).save(tmp_path / "carnival" / "masks" / "venice.jpg")
    assert len(photos_in(tmp_path / "carnival", deep=True)) == 1  # nothing else is there


def test_listed():
    assert listed(["a"]) == "a"
    assert listed(["a", "b", "c"]) == "a, b, c"
    assert listed(["a", "b", "c", "d", "e"]) == "a, b, c and 2 more"
