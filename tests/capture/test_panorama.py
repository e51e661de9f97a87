"""Panoramas: which photos are some, into which directions they are cut."""

import cv2
import numpy as np
import pytest
from tests.helpers.wide import panorama

from gags.capture.lens import panorama_lens
from gags.capture.panorama import (
    about_panoramas,
    check_panorama,
    directions,
    panoramas_among,
    pinhole_of_view,
    view_name,
)
from gags.capture.settings import PanoramaSettings
from gags.errors import CaptureError


def written(folder, images, suffix=".jpg"):
    """Photos on disk, as `panoramas_among` takes them."""
    paths = [folder / f"{index}{suffix}" for index in range(len(images))]
    for path, image in zip(paths, images, strict=True):
        cv2.imwrite(str(path), image[..., ::-1])
    return [(path, image.shape[1], image.shape[0]) for path, image in zip(paths, images, strict=True)]


def test_directions_are_even_and_named_so_that_they_sort():
    eight = directions(PanoramaSettings())
    assert list(eight) == [f"yaw{yaw:03d}" for yaw in range(0, 360, 45)] == sorted(eight)
    assert eight["yaw135"] == (135.0, 0.0)
    cube = directions(PanoramaSettings(around=4, poles="both"))
    assert cube == {
        "yaw000": (0.0, 0.0), "yaw090": (90.0, 0.0), "yaw180": (180.0, 0.0), "yaw270": (270.0, 0.0),
        "up": (0.0, 90.0), "down": (0.0, -90.0),
    }  # fmt: skip
    assert list(directions(PanoramaSettings(around=7)))[1] == "yaw051"
    assert len(directions(PanoramaSettings(around=36))) == 36
    assert view_name("walk/pano 1.JPG", "yaw045") == "walk/pano 1/yaw045.JPG"


def test_a_view_is_as_sharp_as_the_panorama_in_its_middle():
    lens = panorama_lens(2000, 1000)
    pinhole = pinhole_of_view(lens, PanoramaSettings(fov=60.0))
    assert pinhole.width == pinhole.height == round(2000 / np.pi * np.tan(np.pi / 6))
    assert pinhole.width / 2 / pinhole.fx == pytest.approx(np.tan(np.pi / 6))
    assert pinhole.fx == pytest.approx(2000 / (2 * np.pi), rel=2e-3)  # px a radian


@pytest.mark.parametrize("size", [(2000, 1001), (2000, 999), (2001, 1000)])
def test_rounding_of_sides_is_allowed_for(tmp_path, size):
    check_panorama(tmp_path / "a.jpg", *size)


@pytest.mark.parametrize("size", [(2000, 1500), (1000, 2000), (2000, 998)])
def test_other_shapes_are_one_line(tmp_path, size):
    with pytest.raises(CaptureError, match=r"a\.jpg is .*twice as wide as high.*--camera equirectangular"):
        check_panorama(tmp_path / "a.jpg", *size)


def test_panoramas_are_known_by_their_ends(tmp_path):
    whole = [panorama(64, cv2.Rodrigues(np.array([0.0, index, 0.2]))[0]) for index in range(3)]
    photos = written(tmp_path, whole)
    sure, wide = panoramas_among(photos)
    assert sure == wide == [path for path, _, _ in photos]
    assert "add --camera equirectangular" in about_panoramas(sure, wide, tmp_path)
    (tmp_path / "cut").mkdir()
    halves = [image[16:48, :64] for image in whole]  # as wide, but of less than the whole turn
    sure, wide = panoramas_among(written(tmp_path / "cut", halves))
    assert (len(sure), len(wide)) == (0, 3)
    assert "taken as ordinary ones" in about_panoramas(sure, wide, tmp_path)
    (tmp_path / "other").mkdir()
    assert panoramas_among(written(tmp_path / "other", [image[:48] for image in whole])) == ([], [])


def test_panoramas_are_known_by_what_their_files_say(tmp_path):
    noise = [np.random.default_rng(seed).integers(0, 255, (40, 80, 3), dtype=np.uint8) for seed in range(2)]
    photos = written(tmp_path, noise)
    note = b'<rdf:Description GPano:ProjectionType="equirectangular"/>'
    path = photos[0][0]
    data = path.read_bytes()
    path.write_bytes(data[:2] + b"\xff\xe1" + (len(note) + 2).to_bytes(2, "big") + note + data[2:])
    assert panoramas_among(photos[:1])[0] == [path]
    assert cv2.imread(str(path)) is not None
