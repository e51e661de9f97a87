"""`gags run` and `gags reconstruct` on photos without poses: found in the scene's folder, and kept there."""

import json
import shutil

import cv2
import numpy as np
import pytest

import gags
from gags import cli, pipeline
from gags.capture import read_saved_capture
from gags.errors import CaptureError
from gags.pipeline import inputs
from gags.poses import PoseSettings
from tests.helpers.heard import Heard
from tests.helpers.made_capture import plain_photo, write_colmap, write_photo
from tests.helpers.toy_capture import write_capture


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    return write_capture(tmp_path_factory.mktemp("bare") / "balls")


@pytest.fixture
def asked(toy, monkeypatch) -> list[tuple]:
    """Structure from motion is replaced by the true poses; remembers what it was asked."""
    calls = []

    def find(source, out, settings, progress=None, masks="auto"):
        calls.append((source, out, settings))
        shutil.copytree(toy, out, dirs_exist_ok=True)
        return out

    monkeypatch.setattr(inputs, "find_poses", find)
    monkeypatch.setattr(inputs, "merge_captures", find)
    return calls


def test_captures_stay_as_they_are(toy, asked, tmp_path):
    assert pipeline.read_capture(toy, find_poses_in=tmp_path / "ws").root == toy
    assert asked == []
    assert not (tmp_path / "ws").exists()


def test_photos_and_videos_get_poses(toy, asked, tmp_path):
    heard, settings = Heard(), PoseSettings(mapper="global")
    photos, video = toy / "images", tmp_path / "walk.avi"
    writer = cv2.VideoWriter(str(video), cv2.VideoWriter_fourcc(*"MJPG"), 10.0, (64, 48))
    writer.write(np.full((48, 64, 3), 90, np.uint8))
    writer.release()
    a, b = tmp_path / "a" / "poses", tmp_path / "b" / "poses"
    assert pipeline.read_capture(photos, find_poses_in=a.parent, poses=settings, progress=heard).root == a
    assert pipeline.read_capture(video, find_poses_in=b.parent).root == b
    assert asked == [(photos, a, settings), (video, b, PoseSettings())]
    assert heard.said[0] == f"{photos} holds no poses: finding them first; they are kept in {a}"


def test_existing_gaussians_need_their_own_poses(toy, asked, tmp_path):
    with pytest.raises(CaptureError, match="holds no poses, and Gaussians that exist need the poses they"):
        pipeline.capture_of(toy / "images", require_points=False)
    with pytest.raises(CaptureError, match="are several captures, and Gaussians that exist need the poses"):
        pipeline.capture_of([toy, toy / "images"], require_points=False)


@pytest.mark.slow
def test_several_captures_become_one_scene(toy, asked, tmp_path):
    command = [
        "reconstruct",
        str(toy),
        str(toy / "images"),
        "--out",
        str(tmp_path / "ws"),
        "--test-every",
        "3",
    ]
    assert cli.main([*command, "--reconstruct.steps", "2", "--poses.seed", "5", "--debug"]) == 0
    assert asked == [((toy, toy / "images"), tmp_path / "ws" / "poses", PoseSettings(seed=5))]
    assert len(read_saved_capture(tmp_path / "ws").test) == 4


def test_a_wrong_value_is_told_as_the_option_is_called(tmp_path, capsys):
    assert cli.main(["run", str(tmp_path), "--out", str(tmp_path / "ws"), "--poses.max-size", "5"]) == 2
    assert "poses.max-size must be a whole number from 64 to 16384, got 5" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["run", "reconstruct", "poses", "run-many"])
@pytest.mark.parametrize("named", ["nowhere", "empty", "damaged", "note.txt", "broken.mp4", "one of two"])
def test_what_cannot_be_read_leaves_no_folder(toy, tmp_path, command, named, capsys):
    shutil.copytree(toy, tmp_path / "damaged")
    for path in [*(tmp_path / "damaged").glob("sparse/0/images.*"), tmp_path / "damaged/transforms.json"]:
        path.write_bytes(b"12345678")
    if command == "poses":  # it reads photos alone
        for path in (tmp_path / "damaged/images").iterdir():
            path.write_bytes(b"")
    (tmp_path / "empty").mkdir()
    for name in ("note.txt", "broken.mp4"):
        (tmp_path / name).write_text("no capture")
    if named == "one of two" and command == "run-many":
        pytest.skip("each of its captures is a scene of its own")
    paths = [tmp_path / named] if named != "one of two" else [toy, tmp_path / "nowhere"]
    out = tmp_path / "out"
    assert cli.main([command, *map(str, paths), "--out", str(out)]) == 1
    said = capsys.readouterr()
    assert f"gags {command}: " in said.err or "failed: " in said.out
    assert not out.exists()


def test_a_folder_without_photos_is_no_capture(tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    assert cli.main(["reconstruct", str(tmp_path / "empty"), "--out", str(tmp_path / "ws")]) == 1
    assert "holds neither a COLMAP model" in capsys.readouterr().err


def test_reconstruct_keeps_the_poses_in_the_scene(toy, asked, tmp_path):
    command = ["reconstruct", str(toy / "images"), "--out", str(tmp_path / "ws"), "--reconstruct.steps", "2"]
    assert cli.main([*command, "--debug"]) == 0
    assert asked == [(toy / "images", tmp_path / "ws" / "poses", PoseSettings())]
    assert json.loads((tmp_path / "ws" / "capture.json").read_text())["root"] == "poses"
    shutil.move(tmp_path / "ws", tmp_path / "elsewhere")
    capture = read_saved_capture(tmp_path / "elsewhere")
    assert len(capture) == 12
    assert all(view.path.is_file() for view in capture)
    assert len(capture.points) == 644


def test_points_are_found_in_the_copies_that_were_chosen(tmp_path, monkeypatch):
    """A capture with poses and no points: what is made for it holds only the chosen photos."""
    write_colmap(tmp_path / "capture", ["a.png", "b.png"], points=0)
    for index, name in enumerate(("a.png", "b.png")):
        write_photo(tmp_path / "capture" / "images_2" / name, plain_photo(index, (100, 75)))
    asked = []

    def find(source, out, settings, progress, *, images, masks):
        asked.append((source, out, images))
        write_colmap(out, ["a.png", "b.png"], photo=lambda index: plain_photo(index))
        return out

    monkeypatch.setattr(inputs, "find_points", find)
    settings = pipeline.CaptureSettings(images="images_2", test_every=0)
    capture = pipeline.read_capture(tmp_path / "capture", settings, find_poses_in=tmp_path / "ws")
    assert asked == [(tmp_path / "capture", tmp_path / "ws" / "poses", "images_2")]
    assert (len(capture.points), capture.root) == (5, tmp_path / "ws" / "poses")


def test_photos_without_poses_have_no_copies_to_choose_from(toy, asked, tmp_path, capsys):
    command = ["reconstruct", str(toy / "images"), "--out", str(tmp_path / "ws"), "--images", "images_2"]
    assert cli.main(command) == 1
    assert "--images images_2 chooses between copies of posed photos" in capsys.readouterr().err
    assert asked == []


@pytest.mark.parametrize("several", [False, True])
def test_lists_are_checked_before_poses_are_found(toy, asked, tmp_path, several):
    sources = [toy / "images", toy] if several else toy / "images"
    listed = tmp_path / "list.txt"
    photos = pipeline.CaptureSettings(test_list=listed)
    for text, message in ((None, "cannot be read"), ("view_99\n", r"names 1 views .*\(view_99\)")):
        if text is not None:
            listed.write_text(text)
        with pytest.raises(CaptureError, match=message):
            pipeline.capture_of(sources, photos)
    listed.write_text("images/view_03\n" if several else "view_03.JPG\n")
    assert pipeline.capture_of(sources, photos).capture is None


@pytest.mark.parametrize(
    ("chosen", "held_out"),
    [({"test_every": 2}, {"p0", "p2"}), ({"test_every": 0}, set()), ({"list": "p1.png\n"}, {"p1"})],
)
def test_panoramas_are_held_out_whole(tmp_path, monkeypatch, chosen, held_out):
    """What poses are found of are views, 4 a panorama: every second view would show what others show."""
    for index in range(4):
        write_photo(tmp_path / "photos" / f"p{index}.png", plain_photo(index, (200, 100)))

    def find(source, out, settings, progress=None, masks="auto"):
        write_colmap(out, [f"p{row}/yaw{turn:03d}.jpg" for row in range(4) for turn in (0, 90, 180, 270)])
        return out

    monkeypatch.setattr(inputs, "find_poses", find)
    if "list" in chosen:
        (tmp_path / "list.txt").write_text(chosen["list"])
        chosen = {"test_list": tmp_path / "list.txt"}
    photos = pipeline.CaptureSettings(camera="equirectangular", **chosen)
    capture = pipeline.read_capture(tmp_path / "photos", photos, find_poses_in=tmp_path / "ws")
    assert {view.name.split("/")[0] for view in capture.test} == held_out
    assert len(capture.test) == 4 * len(held_out)


def test_what_is_no_panorama_leaves_no_folder(toy, tmp_path):
    photos = pipeline.CaptureSettings(camera="equirectangular")
    for sources, message in (
        (toy / "images", "a 360° panorama is twice as wide as high"),
        ([toy / "images", toy], "panoramas cannot be merged"),
    ):
        with pytest.raises(CaptureError, match=message):
            gags.reconstruct(sources, tmp_path / "ws", photos=photos)
    assert not (tmp_path / "ws").exists()
