"""Structure from motion on a room with exact truth: poses, resume, account, bad input."""

import json
import shutil

import cv2
import numpy as np
import pytest
from tests.helpers.alignment import similarity
from tests.helpers.heard import Heard
from tests.helpers.made_capture import CAPTURES
from tests.helpers.textured import WIDTH, photo, write_photos
from tests.helpers.textured import camera as textured_camera

from gags import cli
from gags.capture import load_capture
from gags.errors import CaptureError
from gags.poses import PoseSettings, find_poses, mapping, poses

COUNT = 8


@pytest.fixture(scope="session")
def room(tmp_path_factory):
    """Photos, their true cameras, and what was found from the photos."""
    folder = tmp_path_factory.mktemp("room")
    cameras = write_photos(folder / "photos", COUNT)
    (folder / "photos" / "test.txt").write_text("# held out\nview 03.png\n")
    assert cli.main(["poses", str(folder / "photos"), "--out", str(folder / "found"), "--debug"]) == 0
    return folder, cameras


def errors(capture, truth) -> tuple[np.ndarray, np.ndarray]:
    """Of every view, after the best similarity: angle in degrees, and distance over the cameras' spread."""
    found = np.array([view.camera.position for view in capture])
    true = np.array([camera.position for camera in truth])
    scale, R, t = similarity(found, true)
    distances = np.linalg.norm(scale * found @ R.T + t - true, axis=1) / np.linalg.norm(true.std(axis=0))
    angles = []
    for view, camera in zip(capture, truth, strict=True):
        between = view.camera.viewmat[:3, :3] @ R.T @ camera.viewmat[:3, :3].T
        angles.append(np.degrees(np.arccos(np.clip((np.trace(between) - 1) / 2, -1, 1))))
    return np.array(angles), distances


def test_poses_are_those_the_photos_were_taken_from(room):
    folder, cameras = room
    capture = load_capture(folder / "found")
    assert [view.name for view in capture] == [f"view {i:02d}.png" for i in range(COUNT)]
    assert [view.name for view in capture.test] == ["view 03.png"]
    angles, distances = errors(capture, cameras)
    assert angles.max() < 0.5
    assert distances.max() < 0.02
    focal = capture.views[0].camera.K[0, 0]
    assert focal == pytest.approx(cameras[0].K[0, 0], rel=0.03)  # not given, found
    assert len({view.camera.K[0, 0] for view in capture}) == 1  # one camera took all


def test_points_lie_on_the_walls_and_have_their_colours(room):
    folder, cameras = room
    capture = load_capture(folder / "found")
    scale, R, t = similarity(
        np.array([view.camera.position for view in capture]), np.array([c.position for c in cameras])
    )
    points = scale * capture.points @ R.T + t
    off = np.min(np.abs([points[:, 2], points[:, 1] - 2, points[:, 0] + 2]), axis=0)
    assert len(points) > 200
    assert np.median(off) < 0.02
    view = capture["view 04"]
    xy, depth = view.camera.project(capture.points)
    inside = (depth > 0) & (xy > 4).all(axis=1) & (xy < np.array([WIDTH, 240]) - 4).all(axis=1)
    rows, columns = xy[inside].astype(int).T[::-1]
    difference = np.abs(view.image()[rows, columns].astype(int) - capture.points_rgb[inside])
    assert np.median(difference) < 25


def test_a_second_call_keeps_what_is_there(room):
    folder, _ = room
    heard, before = Heard(), (folder / "found/sparse/0/images.bin").stat().st_mtime_ns
    assert find_poses(folder / "photos", folder / "found", progress=heard) == folder / "found"
    assert heard.said[0].startswith(f"Poses: done already, {COUNT} of {COUNT} photos placed")
    assert (folder / "found/sparse/0/images.bin").stat().st_mtime_ns == before


def test_a_stopped_run_goes_on_with_the_database(room, tmp_path, monkeypatch):
    folder, cameras = room
    shutil.copytree(folder / "found", tmp_path / "found")
    shutil.rmtree(tmp_path / "found" / "sparse")
    asked = []
    monkeypatch.setattr("gags.poses.database.photo_keypoints", lambda *_: asked.append("keypoints"))
    monkeypatch.setattr("pycolmap.match_image_pairs", lambda *_: asked.append("matches"))
    find_poses(folder / "photos", tmp_path / "found")
    assert asked == []
    angles, distances = errors(load_capture(tmp_path / "found"), cameras)
    assert angles.max() < 0.5
    assert distances.max() < 0.02


def test_record_tells_of_every_photo(room):
    folder, _ = room
    record = json.loads((folder / "found/matching/record.json").read_text())
    assert record["mapper"] == "incremental"
    assert [row["name"] for row in record["photos"]] == [f"view {i:02d}.png" for i in range(COUNT)]
    assert all(
        row["group"] == 0 and row["features"] > 300 and row["matches"] > 60 for row in record["photos"]
    )


def test_photos_of_other_sizes_and_strangers(room, tmp_path):
    """A photo of another size gets a camera of its own; those that show something else are left out."""
    folder, _ = room
    shutil.copytree(folder / "photos", tmp_path / "photos")
    other = photo(textured_camera(0.05, 240, 180))
    cv2.imwrite(str(tmp_path / "photos" / "view 04.png"), other[..., ::-1])
    cv2.imwrite(str(tmp_path / "photos" / "wall.png"), np.full((240, 320, 3), 90, np.uint8))
    cv2.imwrite(str(tmp_path / "photos" / "wall 2.png"), np.full((240, 320, 3), 90, np.uint8))
    heard = Heard()
    capture = load_capture(find_poses(tmp_path / "photos", tmp_path / "found", progress=heard))
    assert len(capture) == COUNT
    assert (capture["view 04"].camera.width, capture["view 04"].camera.height) == (240, 180)
    assert len(heard.warned) == 1
    assert f"{COUNT} of {COUNT + 2} photos placed" in heard.warned[0]
    assert "2 show too little texture (wall 2.png, wall.png)" in heard.warned[0]


def test_too_few_photos_placed(tmp_path):
    for index in range(4):
        path = tmp_path / "photos" / f"{index}.png"
        path.parent.mkdir(exist_ok=True)
        cv2.imwrite(str(path), np.full((60, 80, 3), 40 * index, np.uint8))
    with pytest.raises(CaptureError, match=r"0 of 4 photos placed.*too few.*4 show too little texture"):
        find_poses(tmp_path / "photos", tmp_path / "found")
    assert not (tmp_path / "found" / "sparse").exists()


@pytest.mark.parametrize(
    ("format", "found"), [("record3d", "points"), ("nerfstudio", "poses"), (None, "poses")]
)
def test_points_for_poses_alone_else_poses(tmp_path, monkeypatch, format, found):
    for name in ("poses", "points"):
        monkeypatch.setattr(f"gags.poses.find.find_{name}", lambda *given, name=name, **_: (name, *given))
    CAPTURES[format or "nerfstudio"](tmp_path / "in", 3)
    source = tmp_path / "in" if format else tmp_path / "in" / "images"
    heard, settings = Heard(), PoseSettings(seed=3)
    assert poses(source, tmp_path / "out", settings, heard) == (
        found,
        source,
        tmp_path / "out",
        settings,
        heard,
    )
    said = [f"{source} has poses, but no points: finding these"]
    assert heard.said == (said if found == "points" else [])


def test_a_capture_of_somebody_else_is_not_overwritten(room, tmp_path):
    folder, _ = room
    shutil.copytree(folder / "found/sparse", tmp_path / "found/sparse")
    with pytest.raises(CaptureError, match=r"not made here \(sparse\); choose another --out"):
        find_poses(folder / "photos", tmp_path / "found")


def test_changed_settings_start_over(room, tmp_path):
    folder, _ = room
    shutil.copytree(folder / "found", tmp_path / "found")
    heard = Heard()
    settings = PoseSettings(matching="sequential", overlap=3, neighbours=5, seed=1)
    find_poses(folder / "photos", tmp_path / "found", settings, heard)
    assert "photos or settings have changed" in heard.said[0]
    capture = load_capture(tmp_path / "found")
    assert errors(capture, write_photos(tmp_path / "again", COUNT))[0].max() < 0.5


def test_the_global_mapper_places_what_the_other_one_places(room, tmp_path):
    """Its calibration changes the database that it works on, which is a copy."""
    folder, cameras = room
    database = tmp_path / "database.db"
    shutil.copyfile(folder / "found" / "matching" / "database.db", database)
    before = database.read_bytes()
    settings = PoseSettings(mapper="global")
    model, *_ = mapping.place_photos(database, COUNT, settings)
    again, *_ = mapping.place_photos(database, COUNT, settings)
    assert database.read_bytes() == before
    found, true = np.zeros((COUNT, 3)), np.array([camera.position for camera in cameras])
    for image in model.images.values():
        row = int(image.name[-6:-4])
        found[row] = image.projection_center()
        np.testing.assert_allclose(again.image(image.image_id).projection_center(), found[row], atol=1e-6)
    scale, R, t = similarity(found, true)
    distances = np.linalg.norm(scale * found @ R.T + t - true, axis=1) / np.linalg.norm(true.std(axis=0))
    assert model.num_reg_images() == COUNT
    assert distances.max() < 0.04


def test_small_collections_may_give_small_models():
    assert [mapping.mapper_options(count, 0).min_model_size for count in (3, 12, 20, 400)] == [3, 3, 5, 10]


def test_a_video_becomes_a_capture(tmp_path):
    """Every second frame is blurred; the sharp ones are taken, and placed."""
    cameras = [textured_camera(angle) for angle in np.linspace(-0.6, 0.6, 9)]
    writer = cv2.VideoWriter(str(tmp_path / "walk.avi"), cv2.VideoWriter_fourcc(*"MJPG"), 10.0, (WIDTH, 240))
    for camera in cameras:
        frame = photo(camera)[..., ::-1]
        writer.write(frame)
        writer.write(cv2.GaussianBlur(frame, (0, 0), 4.0))
    writer.release()
    capture = load_capture(find_poses(tmp_path / "walk.avi", tmp_path / "found"))
    assert [view.name for view in capture] == [f"frame_{2 * i:06d}.jpg" for i in range(9)]
    angles, distances = errors(capture, cameras)
    assert angles.max() < 1
    assert distances.max() < 0.04


def test_a_video_that_is_too_short(tmp_path):
    writer = cv2.VideoWriter(str(tmp_path / "a.avi"), cv2.VideoWriter_fourcc(*"MJPG"), 10.0, (64, 48))
    for level in (50, 90, 130):
        writer.write(np.full((48, 64, 3), level, np.uint8))
    writer.release()
    with pytest.raises(CaptureError, match="gives only 2 sharp frames, and poses need 3; film for longer"):
        find_poses(tmp_path / "a.avi", tmp_path / "found")
