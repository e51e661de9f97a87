"""The reader of Record3D's recordings."""

import json

import numpy as np
import pytest
from tests.helpers.heard import Heard
from tests.helpers.made_capture import pose, write_record3d

from gags.capture import load_capture
from gags.capture.formats.record3d import MOST_FRAMES
from gags.errors import CaptureError


@pytest.mark.parametrize("layout", [{}, {"photos": "rgbd", "metadata": "metadata"}])
def test_cameras(tmp_path, layout):
    write_record3d(tmp_path, 12, **layout)
    capture = load_capture(tmp_path, require_points=False)
    assert capture.format == "record3d"
    for view in capture:
        np.testing.assert_allclose(view.camera.viewmat, pose(int(view.stem)), atol=1e-9)
        np.testing.assert_allclose(view.camera.K, [[50, 0, 19], [0, 52, 16], [0, 0, 1]])


def test_intrinsics_of_each_frame(tmp_path):
    write_record3d(tmp_path, 2, perFrameIntrinsicCoeffs=[[50, 50, 20, 15], [60, 61, 21, 14]])
    capture = load_capture(tmp_path, require_points=False)
    np.testing.assert_allclose(capture["1"].camera.K, [[60, 0, 21], [0, 61, 14], [0, 0, 1]])


def test_long_recordings_are_thinned(tmp_path):
    write_record3d(tmp_path, 2)
    metadata = json.loads((tmp_path / "metadata.json").read_text())
    count = 2 * MOST_FRAMES
    metadata["poses"] = [metadata["poses"][0]] * count
    (tmp_path / "metadata.json").write_text(json.dumps(metadata))
    for index in range(2, count):
        (tmp_path / "rgb" / f"{index}.jpg").symlink_to(tmp_path / "rgb" / "0.jpg")
    heard = Heard()
    capture = load_capture(tmp_path, require_points=False, progress=heard)
    numbers = sorted(int(view.stem) for view in capture)
    assert len(numbers) == MOST_FRAMES
    assert (numbers[0], numbers[-1]) == (0, count - 1)
    assert max(np.diff(numbers)) <= 3
    assert heard.said == [f"{tmp_path} has {count} frames; reading {MOST_FRAMES} of them, evenly spaced"]
    assert heard.warned == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"poses": "none"}, "is no metadata"),
        ({"poses": [[1, 2, 3]]}, "7 numbers"),
        ({"poses": [[0, 0, 0, 0, 1, 2, 3]]}, "is no rotation"),
        ({"K": None}, "has no intrinsics"),
        ({"w": 0}, "is no camera"),
    ],
)
def test_damaged_metadata(tmp_path, change, message):
    write_record3d(tmp_path, 1, **change)
    with pytest.raises(CaptureError, match=message):
        load_capture(tmp_path, require_points=False)


def test_a_packed_recording_has_to_be_unpacked(tmp_path):
    (tmp_path / "walk.r3d").write_bytes(b"PK")
    with pytest.raises(CaptureError, match="unpack it"):
        load_capture(tmp_path / "walk.r3d")
