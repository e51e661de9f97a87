"""Poses that lie in or around a folder of photos are found, whatever program wrote them."""

import pytest
from tests.helpers.heard import Heard
from tests.helpers.made_capture import CAPTURES, plain_photo, write_photo

from gags.capture.formats.nearby import poses_nearby
from gags.errors import CaptureError
from gags.poses.find import find_poses


@pytest.mark.parametrize(
    "file",
    ["transforms_val.json", "dense/0/sparse/cameras.bin", "poses_bounds.npy", "x/model.NVM", "cameras.xml"],
)
def test_files_in_the_folder(tmp_path, file):
    write_photo(tmp_path / "a.png", plain_photo(0))
    assert poses_nearby(tmp_path) == []
    (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / file).write_bytes(b"x")
    assert poses_nearby(tmp_path) == [tmp_path / file]
    heard = Heard()
    with pytest.raises(CaptureError, match="only 1 photo"):
        find_poses(tmp_path, tmp_path / "out", progress=heard)
    assert f"poses lie in {tmp_path / file} and are not used" in heard.warned[0]


@pytest.mark.parametrize("format", CAPTURES)
def test_the_capture_that_the_photos_belong_to(tmp_path, format):
    CAPTURES[format](tmp_path / "capture", 3)
    photos = {"polycam": "keyframes/images", "record3d": "rgb"}.get(format, "images")
    (found,) = poses_nearby(tmp_path / "capture" / photos)
    assert found.is_relative_to(tmp_path / "capture")
    (tmp_path / "capture" / "other").mkdir()
    assert poses_nearby(tmp_path / "capture" / "other") == []


def test_the_result_is_left_out(tmp_path):
    CAPTURES["colmap"](tmp_path / "out", 3)
    assert poses_nearby(tmp_path, ignore=tmp_path / "out") == []
