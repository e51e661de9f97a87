"""Panoramas without poses: views on disk, rigs in COLMAP's database, and a room that is found again."""

import cv2
import numpy as np
import pycolmap
import pytest
from tests.helpers import room
from tests.helpers.alignment import similarity
from tests.helpers.heard import Heard
from tests.helpers.wide import panorama, picture, pixel_centres

from gags.capture import load_capture
from gags.capture.lens import turned_to
from gags.capture.settings import PanoramaSettings
from gags.errors import CaptureError
from gags.poses import PoseSettings, find_poses
from gags.poses.database import find_keypoints, open_database
from gags.poses.inputs import bare_photos
from gags.poses.mapping import mapper_options
from gags.poses.matching import photo_pairs, view_pairs
from gags.poses.panoramas import cut_panoramas, held_out_views, views_of
from gags.poses.rigs import by_panorama, hold_rigs

SETTINGS = PoseSettings(camera="equirectangular", panorama=PanoramaSettings(around=4))


def write_skies(folder, count=3, height=64):
    """Panoramas of the sky, each turned a little."""
    folder.mkdir()
    for index in range(count):
        image = panorama(height, cv2.Rodrigues(np.array([0.0, 0.3 * index, 0.1]))[0])
        cv2.imwrite(str(folder / f"pano {index}.png"), image[..., ::-1])
    return folder


def test_the_mask_of_a_panorama_is_cut_like_it(tmp_path):
    folder = write_skies(tmp_path / "photos")
    kept = np.full((64, 128), 255, np.uint8)
    kept[:, :64] = 0  # all that lies to the left of the middle, from behind on
    (folder / "masks").mkdir()
    cv2.imwrite(str(folder / "masks" / "pano 0.png"), kept)
    views = cut_panoramas(bare_photos(folder), tmp_path / "views", SETTINGS.panorama)
    shares = [view.kept().mean() for view in views[:4]]  # ahead, right, behind, left
    assert shares[0] == pytest.approx(0.5, abs=0.05)
    assert shares[1] == 1
    assert shares[2] == pytest.approx(0.5, abs=0.05)
    assert shares[3] == 0
    assert views[0].kept()[:, views[0].width * 3 // 4 :].all()
    assert views[2].kept()[:, : views[2].width // 4].all()  # behind, the left is what lies to the right


def test_views_are_written_once(tmp_path):
    photos = bare_photos(write_skies(tmp_path / "photos"))
    views = cut_panoramas(photos, tmp_path / "views", SETTINGS.panorama)
    assert [view.name for view in views[:5]] == [
        "pano 0/yaw000.jpg", "pano 0/yaw090.jpg", "pano 0/yaw180.jpg", "pano 0/yaw270.jpg",
        "pano 1/yaw000.jpg",
    ]  # fmt: skip
    assert all(view.path == tmp_path / "views" / view.name for view in views)
    view = views[5]
    fx, fy, cx, cy = view.pinhole
    assert (fx, cx, cy) == (fy, view.width / 2, view.height / 2)
    rays = np.concatenate(
        [(pixel_centres((view.width, view.height)) - cx) / fx, np.ones((view.height, view.width, 1))], axis=-1
    )
    R = cv2.Rodrigues(np.array([0.0, 0.3, 0.1]))[0]
    truth = picture(rays @ turned_to(view.direction).T @ R)
    assert np.abs(view.upright().astype(float) - truth).mean() < 3  # JPEG
    times = [view.path.stat().st_mtime_ns for view in views]
    cut_panoramas(photos, tmp_path / "views", SETTINGS.panorama)
    assert [view.path.stat().st_mtime_ns for view in views] == times
    (tmp_path / "views" / views[2].name).unlink()
    again = cut_panoramas(photos, tmp_path / "views", SETTINGS.panorama)
    assert all(view.path.is_file() for view in again)
    fewer = cut_panoramas(photos, tmp_path / "views", PanoramaSettings(around=3))
    assert len(fewer) == 9
    assert len(list((tmp_path / "views").rglob("*.jpg"))) == 9


def test_panoramas_are_not_taken_for_photos(tmp_path):
    folder = write_skies(tmp_path / "photos")
    photos = bare_photos(folder)
    with pytest.raises(CaptureError, match=r"3 photos are 360° panoramas \(pano 0\.png.*--camera equirect"):
        views_of(photos, folder, tmp_path / "views", PoseSettings())
    assert views_of(photos, folder, tmp_path / "views", PoseSettings(camera="perspective")) is photos
    with pytest.raises(CaptureError, match="360° panoramas"):
        find_poses(folder, tmp_path / "out")


def test_wide_photos_are_said_to_be_taken_as_ordinary(tmp_path):
    (tmp_path / "photos").mkdir()
    for index in range(3):
        image = panorama(96, cv2.Rodrigues(np.array([0.0, 0.3 * index, 0.1]))[0])[20:60, 10:90]
        cv2.imwrite(str(tmp_path / "photos" / f"{index}.png"), image)
    photos, heard = bare_photos(tmp_path / "photos"), Heard()
    assert views_of(photos, tmp_path / "photos", tmp_path / "views", PoseSettings(), heard) is photos
    assert len(heard.warned) == 1
    assert "3 photos are twice as wide as high" in heard.warned[0]


def test_photos_that_are_no_panoramas_are_one_line(tmp_path):
    (tmp_path / "photos").mkdir()
    for index in range(3):
        cv2.imwrite(str(tmp_path / "photos" / f"{index}.png"), np.zeros((30, 40, 3), np.uint8))
    with pytest.raises(CaptureError, match=r"0\.png is 40×30, and a 360° panorama is twice as wide as high"):
        find_poses(tmp_path / "photos", tmp_path / "out", SETTINGS)


def test_views_of_a_panorama_are_one_frame_of_a_rig(tmp_path):
    views = cut_panoramas(
        bare_photos(write_skies(tmp_path / "photos")), tmp_path / "views", SETTINGS.panorama
    )
    find_keypoints(views, tmp_path / "database.db", SETTINGS)
    options = mapper_options(len(views), 0)
    with open_database(tmp_path / "database.db") as database:
        (rig,) = database.read_all_rigs()
        cameras = {camera.camera_id: camera for camera in database.read_all_cameras()}
        frames, images = database.read_all_frames(), database.read_all_images()
        hold_rigs(options, database)
    assert [len(list(frame.data_ids)) for frame in frames] == [4, 4, 4]
    assert rig.num_sensors() == len(cameras) == 4
    assert all(camera.model == pycolmap.CameraModelId.PINHOLE for camera in cameras.values())
    assert [camera.params[0] for camera in cameras.values()] == [views[0].pinhole[0]] * 4
    by_name = {image.name: image for image in images}
    for view in views[:4]:
        camera = cameras[by_name[view.key].camera_id]
        if rig.is_ref_sensor(camera.sensor_id):
            assert view.direction == (0.0, 0.0)
            continue
        turn = rig.sensor_from_rig(camera.sensor_id)
        np.testing.assert_allclose(turn.rotation.matrix(), turned_to(view.direction).T, atol=1e-9)
        np.testing.assert_allclose(turn.translation, 0)
    assert not options.ba_refine_sensor_from_rig
    assert set(options.constant_cameras) == set(cameras)
    assert options.min_model_size == 3


def test_photos_without_panoramas_keep_colmaps_options(tmp_path):
    with open_database(tmp_path / "database.db") as database:
        options = mapper_options(40, 0)
        hold_rigs(options, database)
    assert options.min_model_size == 10
    assert options.ba_refine_sensor_from_rig


def test_views_are_compared_with_those_of_other_panoramas(tmp_path):
    photos = bare_photos(write_skies(tmp_path / "photos", 6, 32))
    views = cut_panoramas(photos, tmp_path / "views", SETTINGS.panorama)
    groups = list(by_panorama(views).values())
    assert [len(group) for group in groups] == [4] * 6
    everything = view_pairs(views, "exhaustive", photo_pairs("exhaustive", [], SETTINGS, known=24), 10)
    assert len(everything) == 24 * 23 // 2 - 6 * (4 * 3 // 2)
    near = view_pairs(views, "sequential", [(0, 1), (0, 23)], 1)
    # Each with the next panorama, and with the one 2 further on, in the same direction; and what was chosen.
    same = {
        (4 * i + way, 4 * (i + step) + way) for step in (1, 2) for i in range(6 - step) for way in range(4)
    }
    assert set(near) == same | {(0, 23)}


def test_of_every_eighth_panorama_all_views_are_held_out(tmp_path):
    photos = bare_photos(write_skies(tmp_path / "photos", 9, 32))
    views = cut_panoramas(photos, tmp_path / "views", PanoramaSettings(around=3))
    ways = ("yaw000", "yaw120", "yaw240")
    assert held_out_views(views, None) == [f"pano {i}/{way}" for i in (0, 8) for way in ways]
    listed = held_out_views(views, ["pano 3", "pano 5/yaw120"])
    assert listed == [*(f"pano 3/{way}" for way in ways), "pano 5/yaw120"]


def write_video(panoramas, video):
    """A walk past the panoramas of a folder, six frames each."""
    files = sorted(panoramas.iterdir())
    height, width = cv2.imread(str(files[0])).shape[:2]
    writer = cv2.VideoWriter(str(video), cv2.VideoWriter.fourcc(*"MJPG"), 30.0, (width, height))
    for file in files:
        for _ in range(6):
            writer.write(cv2.imread(str(file)))
    writer.release()
    return video


@pytest.mark.slow
@pytest.mark.parametrize("source", ["photos", "video"])
def test_a_room_is_found_from_panoramas_alone(tmp_path, source):
    truth = room.write_panoramas(tmp_path / "panos", 6, 256)
    settings = PoseSettings(camera="equirectangular", panorama=PanoramaSettings(around=6), max_features=800)
    given = (
        tmp_path / "panos" if source == "photos" else write_video(tmp_path / "panos", tmp_path / "walk.avi")
    )
    capture = load_capture(find_poses(given, tmp_path / "out", settings))
    assert len(capture) == 36
    first = {view.name.split("/")[0] for view in capture.views[:6]}
    assert {view.name.split("/")[0] for view in capture.test} == first
    assert first == {"pano 00"} if source == "photos" else min(first) < "frame_000006"
    found = np.stack([view.camera.position for view in capture]).reshape(6, 6, 3)
    assert np.ptp(found, axis=1).max() < 1e-6 * np.ptp(found)  # all views of a panorama are at one place
    places = np.stack([-viewmat[:3, :3].T @ viewmat[:3, 3] for viewmat in truth])
    scale, R, t = similarity(found[:, 0], places)
    np.testing.assert_allclose(scale * found[:, 0] @ R.T + t, places, atol=0.03)  # of 2.2 across
