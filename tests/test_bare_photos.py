"""`gags run` and `gags reconstruct` on photos without poses: found in the scene's folder, and kept there."""

import json
import shutil

import pytest

from gags import cli, pipeline
from gags.capture import read_saved_capture
from gags.errors import CaptureError
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

    def find(source, out, settings, progress=None):
        assert settings == PoseSettings()
        calls.append((source, out))
        shutil.copytree(toy, out, dirs_exist_ok=True)
        return out

    monkeypatch.setattr(pipeline, "find_poses", find)
    return calls


def test_captures_stay_as_they_are(toy, asked, tmp_path):
    assert pipeline.with_poses(toy, tmp_path / "ws") == toy
    assert pipeline.with_poses(tmp_path / "nowhere", tmp_path / "ws") == tmp_path / "nowhere"
    assert asked == []
    assert not (tmp_path / "ws").exists()


def test_photos_and_videos_get_poses(toy, asked, tmp_path):
    heard = Heard()
    photos, video = toy / "images", tmp_path / "walk.mp4"
    video.write_bytes(b"")
    a, b = tmp_path / "a" / "poses", tmp_path / "b" / "poses"
    assert pipeline.with_poses(photos, a.parent, progress=heard) == a
    assert pipeline.with_poses(video, b.parent, progress=heard) == b
    assert asked == [(photos, a), (video, b)]
    assert heard.said[0] == f"{photos} holds no poses: finding them first; they are kept in {a}"


def test_existing_gaussians_need_their_own_poses(toy, asked, tmp_path):
    with pytest.raises(CaptureError, match="holds no poses, and Gaussians that exist need those"):
        pipeline.with_poses(toy / "images", tmp_path / "a", adopting=True)


def test_a_folder_without_photos_is_no_capture(tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    assert cli.main(["reconstruct", str(tmp_path / "empty"), "--out", str(tmp_path / "ws")]) == 1
    assert "holds neither a COLMAP model" in capsys.readouterr().err


def test_reconstruct_keeps_the_poses_in_the_scene(toy, asked, tmp_path):
    command = ["reconstruct", str(toy / "images"), "--out", str(tmp_path / "ws"), "--reconstruct.steps", "2"]
    assert cli.main([*command, "--debug"]) == 0
    assert asked == [(toy / "images", tmp_path / "ws" / "poses")]
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

    def find(source, out, settings, *, images, progress):
        asked.append((source, out, images))
        write_colmap(out, ["a.png", "b.png"], photo=lambda index: plain_photo(index))
        return out

    monkeypatch.setattr(pipeline, "find_points", find)
    settings = pipeline.CaptureSettings(images="images_2", test_every=0)
    capture = pipeline.read_capture(tmp_path / "capture", settings, find_poses_in=tmp_path / "ws")
    assert asked == [(tmp_path / "capture", tmp_path / "ws" / "poses", "images_2")]
    assert (len(capture.points), capture.root) == (5, tmp_path / "ws" / "poses")


def test_photos_without_poses_have_no_copies_to_choose_from(toy, asked, tmp_path, capsys):
    command = ["reconstruct", str(toy / "images"), "--out", str(tmp_path / "ws"), "--images", "images_2"]
    assert cli.main(command) == 1
    assert "--images images_2 chooses between copies of posed photos" in capsys.readouterr().err
    assert asked == []
