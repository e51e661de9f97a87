"""Photos of a fisheye lens without poses: the lens is calibrated with the poses."""

import cv2
import numpy as np
import pytest
from tests.helpers import room
from tests.helpers.alignment import similarity

from gags.capture import load_capture
from gags.poses import PoseSettings, find_poses

SIDE, FOCAL = 360, 125.0  # 165° across, 233° across the diagonal


@pytest.mark.slow
def test_a_room_is_found_from_photos_of_a_fisheye(tmp_path):
    truth = room.fisheye_viewmats(9)
    (tmp_path / "photos").mkdir()
    for index, viewmat in enumerate(truth):
        image = room.fisheye_photo(viewmat, SIDE, FOCAL)
        cv2.imwrite(str(tmp_path / "photos" / f"{index}.png"), image[..., ::-1])
    settings = PoseSettings(camera_model="SIMPLE_RADIAL_FISHEYE", max_features=1000)
    capture = load_capture(find_poses(tmp_path / "photos", tmp_path / "out", settings))
    assert len(capture) == 9
    places = np.stack([-viewmat[:3, :3].T @ viewmat[:3, 3] for viewmat in truth])
    found = np.stack([view.camera.position for view in capture])
    scale, R, t = similarity(found, places)
    np.testing.assert_allclose(scale * found @ R.T + t, places, atol=0.02)  # of 2.4 across
    camera = capture.views[0].camera
    across = 2 * np.degrees(np.arctan(camera.width / 2 / camera.K[0, 0]))
    assert across == pytest.approx(120, abs=2)
    # What the pinhole picture shows is what the room looks like through a pinhole there.
    xy = np.stack(np.meshgrid(np.arange(camera.width), np.arange(camera.height)), axis=-1) + 0.5
    rays = np.concatenate(
        [(xy - camera.K[:2, 2]) / camera.K[0, 0], np.ones((camera.height, camera.width, 1))], axis=-1
    )
    shown = room.colours(places[4], rays @ truth[4][:3, :3])
    blurred = [cv2.GaussianBlur(image, (0, 0), 4) for image in (shown, capture.views[4].image())]
    assert np.abs(blurred[0].astype(float) - blurred[1]).mean() < 4
