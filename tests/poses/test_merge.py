"""Several captures of one place become one: in the frame of the one with poses, or all found together."""

import json
import shutil
from dataclasses import replace

import cv2
import numpy as np
import pytest
from tests.helpers.alignment import similarity
from tests.helpers.heard import Heard
from tests.helpers.made_capture import write_colmap
from tests.helpers.textured import HEIGHT, WIDTH, photo
from tests.helpers.textured import camera as textured_camera
from tests.poses.test_points import write_posed

from gags import cli
from gags.capture import load_capture, read_saved_capture, save_capture
from gags.capture.photos import read_photo
from gags.capture.settings import UndistortSettings
from gags.errors import CaptureError
from gags.poses import PoseSettings, merge, poses
from gags.poses.merge import merge_captures
from gags.poses.points import pinhole_photos
from gags.poses.visits import read_visits, visit_names
from gags.progress import SILENT

ANGLES = {"first": np.linspace(-0.6, 0.5, 6), "second": np.linspace(-0.35, 0.75, 5)}


@pytest.fixture(scope="module")
def visits(tmp_path_factory):
    """Two visits of the room: `first` with its poses and without points, `second` photos alone."""
    folder, cameras = tmp_path_factory.mktemp("visits"), {}
    for visit, angles in ANGLES.items():
        cameras[visit] = [textured_camera(angle) for angle in angles]
        images = folder / visit / "images" if visit == "first" else folder / visit
        images.mkdir(parents=True)
        for index, camera in enumerate(cameras[visit]):
            cv2.imwrite(str(images / f"view {index:02d}.png"), photo(camera)[..., ::-1])
    write_posed(folder / "first", cameras["first"])
    return folder, cameras


@pytest.fixture(scope="module")
def merged(visits):
    """What the command made of the two."""
    folder, _ = visits
    command = ["poses", str(folder / "first"), str(folder / "second"), "--out", str(folder / "merged")]
    assert cli.main([*command, "--debug"]) == 0
    return load_capture(folder / "merged")


def test_the_second_visit_is_placed_in_the_frame_of_the_first(visits, merged):
    _, cameras = visits
    for index, camera in enumerate(cameras["first"]):
        view = merged[f"first/view {index:02d}"]
        np.testing.assert_allclose(view.camera.viewmat, camera.viewmat, atol=1e-9)
        np.testing.assert_allclose(view.camera.K, camera.K)
    spread = np.linalg.norm(np.std([c.position for c in cameras["first"]], axis=0))
    for index, camera in enumerate(cameras["second"]):  # without any alignment
        found = merged[f"second/view {index:02d}"].camera
        between = found.viewmat[:3, :3] @ camera.viewmat[:3, :3].T
        assert np.degrees(np.arccos(np.clip((np.trace(between) - 1) / 2, -1, 1))) < 0.5
        assert np.linalg.norm(found.position - camera.position) < 0.02 * spread
        assert found.K[0, 0] == pytest.approx(camera.K[0, 0], rel=0.02)


def test_points_of_the_merged_capture_lie_on_the_walls(merged):
    points = merged.points
    off = np.min(np.abs([points[:, 2], points[:, 1] - 2, points[:, 0] + 2]), axis=0)
    assert len(points) > 500
    assert np.median(off) < 0.02


def test_each_holds_out_what_it_held_out(merged):
    """`test_filenames` of the first; every 8th of the second, which has no list."""
    assert [view.name for view in merged.test] == ["first/view 03.png", "second/view 00.png"]


def test_one_line_says_how_many_of_each(visits, merged, tmp_path):
    folder, _ = visits
    record = json.loads((folder / "merged/matching/record.json").read_text())
    assert record["summary"].startswith(
        "6 of 6 photos of first, 5 of 5 photos of second placed in one frame, "
    )
    assert len(record["photos"]) == 11
    assert not (folder / "merged/matching/posed").exists()
    heard, before = Heard(), (folder / "merged/sparse/0/images.bin").stat().st_mtime_ns
    poses([folder / "first", folder / "second"], folder / "merged", progress=heard)
    assert heard.said[-1] == f"Poses: done already, {record['summary']}"
    assert (folder / "merged/sparse/0/images.bin").stat().st_mtime_ns == before


def test_photos_alone_are_placed_together(visits, tmp_path):
    folder, cameras = visits
    merge_captures([folder / "first" / "images", folder / "second"], tmp_path / "out")
    capture = load_capture(tmp_path / "out")
    true = [*cameras["first"], *cameras["second"]]
    assert [view.name for view in capture] == [
        *(f"images/view {i:02d}.png" for i in range(6)),
        *(f"second/view {i:02d}.png" for i in range(5)),
    ]
    found = np.array([view.camera.position for view in capture])
    positions = np.array([camera.position for camera in true])
    scale, R, t = similarity(found, positions)
    distances = np.linalg.norm(scale * found @ R.T + t - positions, axis=1)
    assert distances.max() < 0.02 * np.linalg.norm(positions.std(axis=0))
    assert len({view.camera.K[0, 0] for view in capture}) == 2  # a camera for each visit


def test_a_scene_of_gags_gives_the_frame(visits, merged, tmp_path):
    """`capture.json` of a scene that was made of smaller photos; it is named last."""
    folder, cameras = visits
    (tmp_path / "ws").mkdir()
    small = load_capture(folder / "merged", max_size=240)
    names = [view.name for view in small if view.name.startswith("first")]
    small.views = [view for view in small.views if view.name in names]
    save_capture(small, tmp_path / "ws" / "capture.json")
    out = poses([folder / "second", tmp_path / "ws"], tmp_path / "out")
    capture = load_capture(out)
    view = capture["ws/first/view 02"]
    assert (view.camera.width, view.camera.K[0, 0]) == (320, pytest.approx(300.0))  # that of its photo
    np.testing.assert_allclose(view.camera.viewmat, cameras["first"][2].viewmat, atol=1e-9)
    position = capture["second/view 01"].camera.position
    assert np.linalg.norm(position - cameras["second"][1].position) < 0.05
    assert len(read_saved_capture(tmp_path / "ws")) == 6


def write_stranger(folder, count=4):
    """Photos of something else: other blobs."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(5)
    coarse = rng.integers(0, 255, (90, 120, 3), np.uint8)
    for index in range(count):
        image = cv2.resize(
            coarse[:, index * 3 : index * 3 + 90], (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC
        )
        cv2.imwrite(str(folder / f"{index}.png"), image)
    return folder


@pytest.mark.parametrize("posed", [True, False])
def test_captures_that_share_nothing_leave_nothing(visits, tmp_path, posed):
    folder, _ = visits
    first = folder / "first" if posed else folder / "first" / "images"
    stranger = write_stranger(tmp_path / "stranger")
    with pytest.raises(
        CaptureError, match=r"stranger cannot be merged with the rest .*0 of 4 photos of strang"
    ) as e:
        merge_captures([first, stranger], tmp_path / "out")
    assert "\n" not in str(e.value)
    assert not (tmp_path / "out").exists()


def test_what_is_wrong_is_told_before_anything_is_written(visits, tmp_path):
    folder, _ = visits
    first = folder / "first"
    for sources, message in (
        ([first], "one capture alone cannot be merged; name two or more"),
        ([first, tmp_path / "nowhere"], "nowhere is not there"),
        ([first, folder / "second", folder / "second" / ".." / "second"], "is named twice"),
    ):
        with pytest.raises(CaptureError, match=message):
            merge_captures(sources, tmp_path / "out")
    (tmp_path / "walk.mp4").write_bytes(b"no video")
    with pytest.raises(CaptureError, match=r"no frame of .*walk.mp4 can be read"):
        merge_captures([first, tmp_path / "walk.mp4"], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_poses_that_are_wrong_cannot_give_a_frame(visits, tmp_path):
    folder, cameras = visits
    shutil.copytree(folder / "first", tmp_path / "first")
    rng, wrong = np.random.default_rng(0), []
    for camera in cameras["first"]:  # every camera is turned by 25° about an axis of its own
        axis, turned = rng.normal(size=3), np.eye(4)
        turned[:3, :3] = cv2.Rodrigues(np.radians(25) * axis / np.linalg.norm(axis))[0]
        wrong.append(replace(camera, viewmat=turned @ camera.viewmat))
    write_posed(tmp_path / "first", wrong)
    with pytest.raises(CaptureError, match=r"\d % of the matches fit the poses, too few .*first/images\)"):
        merge_captures([tmp_path / "first", folder / "second"], tmp_path / "out")


def test_a_stopped_run_goes_on_and_other_settings_start_over(visits, merged, tmp_path, monkeypatch):
    folder, _ = visits
    shutil.copytree(folder / "merged", tmp_path / "merged")
    shutil.rmtree(tmp_path / "merged" / "sparse")
    monkeypatch.setattr("gags.poses.database.photo_keypoints", lambda *_: pytest.fail("found again"))
    sources = [folder / "first", folder / "second"]
    merge_captures(sources, tmp_path / "merged")
    again = load_capture(tmp_path / "merged")
    assert len(again) == len(merged)
    with pytest.raises(pytest.fail.Exception, match="found again"):
        merge_captures(sources, tmp_path / "merged", PoseSettings(max_features=2000))


def test_names_of_folders(tmp_path):
    (tmp_path / "walk.mp4").write_bytes(b"")
    paths = [tmp_path / "a" / "room", tmp_path / "b" / "Room", tmp_path / "c" / "room", tmp_path / "walk.mp4"]
    assert visit_names(paths) == ["room", "Room_2", "room_3", "walk"]


def write_video(path, angles):
    """A walk along the room, six frames a photo."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 30.0, (WIDTH, HEIGHT))
    for angle in angles:
        for _ in range(6):
            writer.write(photo(textured_camera(angle))[..., ::-1])
    writer.release()


def test_one_mask_of_all_holds_for_the_frames_of_a_video(visits, tmp_path):
    folder, _ = visits
    write_video(tmp_path / "walk.avi", np.linspace(-0.35, 0.5, 5))
    mask = np.full((HEIGHT, WIDTH), 255, np.uint8)
    mask[:60] = 0
    cv2.imwrite(str(tmp_path / "mask.png"), mask)
    out = merge_captures(
        [folder / "first", tmp_path / "walk.avi"], tmp_path / "out", masks=str(tmp_path / "mask.png")
    )
    capture = load_capture(out)
    assert len(capture) == 11
    assert {view.name.split("/")[0] for view in capture} == {"first", "walk"}
    for view in capture:
        kept = view.kept()
        assert kept is not None
        assert not kept[:58].any()


def test_360_videos_are_refused_like_photos(visits, tmp_path, monkeypatch):
    """Frames come after the folder is made: it goes, too."""
    folder, _ = visits
    write_video(tmp_path / "round.avi", np.linspace(-0.35, 0.5, 5))
    frames = lambda photos: ([path for path, *_ in photos if path.name.startswith("frame")], [])  # noqa: E731
    monkeypatch.setattr("gags.poses.panoramas.panoramas_among", frames)
    with pytest.raises(CaptureError, match=r"round.avi: 5 photos are 360° panoramas"):
        merge_captures([folder / "first", tmp_path / "round.avi"], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def write_round(folder, names=("a.png", "b.png", "c.png"), size=(200, 150)):
    """Photos of a fisheye with poses."""
    params = [70.0, size[0] / 2, size[1] / 2, 0.01]
    rng = np.random.default_rng(0)
    write_colmap(
        folder,
        list(names),
        model="SIMPLE_RADIAL_FISHEYE",
        params=params,
        size=size,
        photo=lambda _: cv2.resize(rng.integers(0, 255, (12, 16, 3), np.uint8), size),
    )


def test_a_scene_of_smaller_fisheye_photos_gives_whole_ones(tmp_path):
    """Its photos are larger than the lens that it keeps: no corner of them may be cut out."""
    write_round(tmp_path / "c")
    small, whole = load_capture(tmp_path / "c", downscale=2), load_capture(tmp_path / "c")
    views = [merge._full_size(view) for view in small]
    (photo, *_) = pinhole_photos(views, tmp_path / "out", SILENT)
    expected = cv2.resize(whole.views[0].image(), (photo.width, photo.height)).astype(float)
    written = read_photo(photo.path).astype(float)
    assert abs(photo.width - whole.views[0].camera.width) <= 2
    assert np.abs(written - expected).mean() < 4


def test_posed_captures_are_read_as_the_settings_say(tmp_path):
    for name in ("one", "two"):
        write_round(tmp_path / name)
    settings = PoseSettings(undistort=UndistortSettings(fov=60.0))
    visits = read_visits([tmp_path / "one", tmp_path / "two"], settings)
    for visit in visits:
        assert visit.capture is not None
        camera = visit.capture.views[0].camera
        assert 2 * np.degrees(np.arctan(camera.width / 2 / camera.K[0, 0])) == pytest.approx(60, abs=1)
