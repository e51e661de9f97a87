"""Points for poses that are known, on a room with exact truth: where they lie, what stays, bad input."""

import json
from dataclasses import replace

import cv2
import numpy as np
import pytest
from tests.helpers.heard import Heard
from tests.helpers.textured import HEIGHT, WIDTH, write_photos

from gags import cli, pipeline
from gags.capture import load_capture
from gags.errors import CaptureError
from gags.poses import find_points

COUNT = 6


def write_posed(folder, cameras):
    """`transforms.json` without points, beside photos that are there already."""
    frames = []
    for index, camera in enumerate(cameras):
        pose = np.linalg.inv(camera.viewmat) @ np.diag([1.0, -1, -1, 1])
        frames.append({"file_path": f"images/view {index:02d}.png", "transform_matrix": pose.tolist()})
    K = cameras[0].K
    lens = {"fl_x": K[0, 0], "fl_y": K[1, 1], "cx": K[0, 2], "cy": K[1, 2], "w": WIDTH, "h": HEIGHT}
    names = {"test_filenames": ["images/view 03.png"]}
    (folder / "transforms.json").write_text(json.dumps(lens | names | {"frames": frames}))


@pytest.fixture(scope="module")
def posed(tmp_path_factory):
    """A capture with poses alone, one of its photos of a plain wall; and the true cameras."""
    folder = tmp_path_factory.mktemp("posed")
    cameras = write_photos(folder / "images", COUNT)
    cv2.imwrite(str(folder / "images" / f"view {COUNT:02d}.png"), np.full((HEIGHT, WIDTH, 3), 90, np.uint8))
    cameras.append(cameras[0])
    write_posed(folder, cameras)
    return folder, cameras


@pytest.fixture(scope="module")
def scene(posed, tmp_path_factory):
    """The scene's folder after the capture was read for it, and what was said."""
    heard, scene = Heard(), tmp_path_factory.mktemp("scene") / "ws"
    settings = pipeline.CaptureSettings(max_size=160)
    return scene, pipeline.read_capture(posed[0], settings, find_poses_in=scene, progress=heard), heard


def test_points_lie_on_the_walls_and_have_their_colours(scene, posed):
    _, capture, _ = scene
    points = capture.points
    off = np.min(np.abs([points[:, 2], points[:, 1] - 2, points[:, 0] + 2]), axis=0)
    assert len(points) > 500
    assert np.median(off) < 0.01
    assert np.percentile(off, 95) < 0.06
    view = load_capture(posed[0], require_points=False)["view 02"]
    xy, depth = view.camera.project(points.astype(np.float64))
    inside = (depth > 0) & (xy > 4).all(axis=1) & (xy < np.array([WIDTH, HEIGHT]) - 4).all(axis=1)
    rows, columns = xy[inside].astype(int).T[::-1]
    difference = np.abs(view.image()[rows, columns].astype(int) - capture.points_rgb[inside])
    assert np.median(difference) < 25


def test_poses_names_split_and_pixels_stay(scene, posed):
    folder, capture, heard = scene
    assert capture.root == folder / "poses"
    assert [view.name for view in capture] == [f"view {i:02d}.png" for i in range(COUNT + 1)]
    assert [view.name for view in capture.test] == ["view 03.png"]
    for view, camera in zip(capture, posed[1], strict=True):
        np.testing.assert_allclose(view.camera.viewmat, camera.viewmat, atol=1e-9)
        np.testing.assert_allclose(view.camera.K, np.diag([0.5, 0.5, 1]) @ camera.K)
    assert heard.said[0].endswith(
        f"has poses, but no points: finding some first; they are kept in {capture.root}"
    )
    assert heard.said[1].startswith(f"Points: {len(capture.points)} points for {COUNT + 1} photos, ")
    assert int(heard.said[1].split(", ")[1].split(" % of the matches fit")[0]) > 85
    assert heard.warned == []


def test_a_second_run_keeps_them(scene, posed):
    folder, capture, _ = scene
    heard, before = Heard(), (folder / "poses/sparse/0/points3D.bin").stat().st_mtime_ns
    again = pipeline.read_capture(posed[0], find_poses_in=folder, progress=heard)
    assert again.points_digest() == capture.points_digest()
    assert heard.said[1].startswith("Points: done already")
    assert (folder / "poses/sparse/0/points3D.bin").stat().st_mtime_ns == before


def test_the_command_keeps_poses_too(posed, tmp_path, capsys):
    assert cli.main(["poses", str(posed[0]), "--out", str(tmp_path / "found"), "--debug"]) == 0
    assert "has poses, but no points" in capsys.readouterr().err
    np.testing.assert_allclose(
        load_capture(tmp_path / "found").views[1].camera.viewmat, posed[1][1].viewmat, atol=1e-9
    )


def test_poses_that_do_not_fit_the_photos(posed, tmp_path):
    (tmp_path / "images").symlink_to(posed[0] / "images")
    write_posed(tmp_path, [posed[1][index] for index in (3, 0, 4, 1, 5, 2)])
    with pytest.raises(CaptureError, match=r"too few to go on: the poses are wrong.*gags poses .*images"):
        find_points(tmp_path, tmp_path / "found")
    assert not (tmp_path / "found" / "sparse").exists()


def test_photos_are_taken_from_the_folder_that_was_chosen(posed, tmp_path):
    with pytest.raises(CaptureError, match=r"no folder images_2 \(--images\); choose one of images"):
        find_points(posed[0], tmp_path / "found", images="images_2")


def test_photos_without_texture(posed, tmp_path):
    write_posed(tmp_path, posed[1][:4])
    (tmp_path / "images").mkdir()
    for index in range(4):
        image = np.full((HEIGHT, WIDTH, 3), 40 * index, np.uint8)
        cv2.imwrite(str(tmp_path / "images" / f"view {index:02d}.png"), image)
    with pytest.raises(CaptureError, match=r"0 points for 4 photos.*too little texture"):
        find_points(tmp_path, tmp_path / "found")


def test_inaccurate_poses_are_told(posed, tmp_path):
    """Every camera is turned by 1° about an axis of its own."""
    rng, off = np.random.default_rng(0), []
    for camera in posed[1][:COUNT]:
        axis = rng.normal(size=3)
        turn = np.eye(4)
        turn[:3, :3] = cv2.Rodrigues(np.radians(1) * axis / np.linalg.norm(axis))[0]
        off.append(replace(camera, viewmat=turn @ camera.viewmat))
    (tmp_path / "images").symlink_to(posed[0] / "images")
    write_posed(tmp_path, off)
    heard = Heard()
    capture = load_capture(find_points(tmp_path, tmp_path / "found", progress=heard))
    assert len(capture.points) > 100
    (warning,) = heard.warned
    assert "fit the poses: they are inaccurate; find poses and points anew: gags poses" in warning
    assert 20 <= int(warning.split(", ")[1].split(" %")[0]) < 60
