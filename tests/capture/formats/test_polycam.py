"""The reader of Polycam's raw data."""

import json

import numpy as np
import pytest
from PIL import Image
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
    with pytest.raises(CaptureError, match=rf"101\.json.*{message}"):
        load_capture(tmp_path)
