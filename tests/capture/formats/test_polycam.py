"""The reader of Polycam's raw data."""

import json
import re

import numpy as np
import pytest
from PIL import Image
from tests.helpers.heard import Heard
from tests.helpers.made_capture import pose, write_polycam

from gags.capture import load_capture, read_saved_capture, save_capture
from gags.errors import CaptureError


def test_cameras_and_points(tmp_path):
    write_polycam(tmp_path, depth=2500)
    capture = load_capture(tmp_path, test_every=0)
    assert capture.format == "polycam"
    assert [view.name for view in capture] == ["100.jpg", "101.jpg", "102.jpg"]
    for index, view in enumerate(capture):
        np.testing.assert_allclose(view.camera.viewmat, pose(index), atol=1e-9)
        np.testing.assert_allclose(view.camera.K, [[50, 0, 19], [0, 52, 16], [0, 0, 1]])
    assert len(capture.points) == 3 * 8 * 6
    for index, view in enumerate(capture):
        own = capture.points[index * 48 : (index + 1) * 48]
        xy, z = view.camera.project(own)
        np.testing.assert_allclose(z, 2.5, atol=1e-5)
        np.testing.assert_allclose(xy[:2], [[2.5, 2.5], [7.5, 2.5]], atol=1e-3)  # middles of 5 px cells
        assert np.abs(capture.points_rgb[index * 48].astype(int) - (60 * index + 30)).max() <= 2


def test_corrected_cameras_count(tmp_path):
    write_polycam(tmp_path, 2, kind="corrected_", depth=1000)
    write_polycam(tmp_path, 3)
    assert len(load_capture(tmp_path)) == 2


def test_unsure_depth_is_left_out(tmp_path):
    folder = write_polycam(tmp_path, 1, depth=1000)
    (folder / "confidence").mkdir()
    confidence = np.zeros((6, 8), np.uint8)
    confidence[2, 3], confidence[4, 5] = 127, 255
    Image.fromarray(confidence).save(folder / "confidence" / "100.png")
    assert len(load_capture(tmp_path, test_every=0).points) == 2


def test_depth_beyond_the_range_of_the_lidar_is_left_out(tmp_path):
    folder = write_polycam(tmp_path, 1)
    (folder / "depth").mkdir()
    depth = np.full((6, 8), 5001, np.uint16)
    depth[1, 2], depth[3, 3] = 5000, 0
    Image.fromarray(depth).save(folder / "depth" / "100.png")
    (point,) = load_capture(tmp_path, test_every=0).points
    assert load_capture(tmp_path, test_every=0).views[0].camera.project(point)[1] == pytest.approx(5.0)


def test_saved_captures_find_their_points_again(tmp_path):
    write_polycam(tmp_path / "room", depth=2000)
    capture = load_capture(tmp_path / "room")
    save_capture(capture, tmp_path / "capture.json")
    np.testing.assert_array_equal(read_saved_capture(tmp_path / "capture.json").points, capture.points)


def test_without_depth_there_are_no_points(tmp_path):
    write_polycam(tmp_path)
    with pytest.raises(CaptureError, match=r"no sparse points.*gags poses"):
        load_capture(tmp_path)
    assert len(load_capture(tmp_path, require_points=False)) == 3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"t_00": None}, "is no camera of Polycam"),
        ({"fx": 0}, "is no camera"),
        ({"t_00": 7.0}, "holds no rotation"),
    ],
)
def test_damaged_cameras(tmp_path, change, message):
    folder = write_polycam(tmp_path, depth=1000)
    file = folder / "cameras" / "101.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    heard = Heard()
    assert [view.name for view in load_capture(tmp_path, progress=heard)] == ["100.jpg", "102.jpg"]
    assert re.search(rf"1 of 3 poses cannot be used: .*101\.json.*{message}.*; left out", heard.warned[0])
    for number in (100, 102):
        (folder / "cameras" / f"{number}.json").write_text(file.read_text())
    with pytest.raises(CaptureError, match=rf"100\.json.*{message}"):
        load_capture(tmp_path)


def change_camera(file, *without, **keys):
    values = {key: value for key, value in json.loads(file.read_text()).items() if key not in without}
    file.write_text(json.dumps(values | keys))


@pytest.mark.parametrize("raw", [True, False])
def test_newer_exports_do_not_say_how_large_photos_are(tmp_path, raw):
    folder = write_polycam(tmp_path, 3, kind="corrected_", depth=1000)
    if raw:
        write_polycam(tmp_path, 3)
    for file in (folder / "corrected_cameras").iterdir():
        change_camera(file, "width", "height")
    view = load_capture(tmp_path).views[1]
    assert (view.camera.width, view.camera.height) == (40, 30)
    np.testing.assert_allclose(view.camera.K, [[50, 0, 19], [0, 52, 16], [0, 0, 1]])


def test_a_corrected_photo_that_is_missing_is_left_out(tmp_path):
    folder = write_polycam(tmp_path, 4, kind="corrected_", depth=1000)
    write_polycam(tmp_path, 4)
    (folder / "corrected_images" / "101.jpg").unlink()
    heard = Heard()
    capture = load_capture(tmp_path, progress=heard)
    assert [view.name for view in capture] == ["100.jpg", "102.jpg", "103.jpg"]
    assert {view.path.parent.name for view in capture} == {"corrected_images"}
    assert "1 of 4 posed photos are not there (101.jpg; looked for " in heard.warned[0]
    for number in (100, 102):
        (folder / "corrected_images" / f"{number}.jpg").unlink()
    capture = load_capture(tmp_path, progress=heard)  # most are gone: as they were taken
    assert len(capture) == 4
    assert {view.path.parent.name for view in capture} == {"images"}
    assert "most corrected photos are not there" in heard.warned[-1]


def test_hidden_files_of_macos_are_passed_over(tmp_path):
    folder = write_polycam(tmp_path, 3, depth=1000)
    (folder / "cameras" / "._100.json").write_bytes(b"\0\5\26\7")
    (folder / "images" / "._100.jpg").write_bytes(b"\0\5\26\7")
    heard = Heard()
    assert len(load_capture(tmp_path, progress=heard)) == 3
    assert heard.warned == []


def test_a_damaged_depth_map_gives_no_points(tmp_path):
    folder = write_polycam(tmp_path, 3, depth=1000)
    (folder / "depth" / "101.png").write_bytes(b"no picture")
    heard = Heard()
    assert len(load_capture(tmp_path, progress=heard).points) == 2 * 48
    assert "no points of 101.png" in heard.warned[0]
