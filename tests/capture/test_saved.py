"""capture.json and the fingerprint."""

import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
from tests.helpers.made_capture import plain_photo, write_colmap, write_nerfstudio, write_photo

from gags.capture import load_capture, read_saved_capture, save_capture
from gags.errors import CaptureError

NAMES = [f"frame_{i:02}.png" for i in range(5)]


@pytest.fixture(params=["colmap", "nerfstudio"])
def root(request, tmp_path):
    root = tmp_path / "capture"
    root.mkdir()
    if request.param == "colmap":
        write_colmap(root, NAMES, model="OPENCV")
    else:
        write_nerfstudio(root, [f"images/{name}" for name in NAMES], k1=-0.1)
    return root


def test_loading_gives_the_same_capture(root, tmp_path):
    capture = load_capture(root, downscale=2, test_every=2)
    save_capture(capture, tmp_path / "ws" / "capture.json")
    for path in (tmp_path / "ws", tmp_path / "ws" / "capture.json"):
        loaded = read_saved_capture(path)
        assert (loaded.root, loaded.format, loaded.options) == (root, capture.format, capture.options)
        for view, original in zip(loaded, capture, strict=True):
            assert (view.name, view.path, view.split) == (original.name, original.path, original.split)
            assert (view.lens, view.photo_size) == (original.lens, original.photo_size)
            assert (view.camera.width, view.camera.height) == (100, 75)
            np.testing.assert_array_equal(view.camera.K, original.camera.K)
            np.testing.assert_array_equal(view.camera.viewmat, original.camera.viewmat)
            np.testing.assert_array_equal(view.image(), original.image())
        assert loaded.fingerprint() == capture.fingerprint()
        np.testing.assert_array_equal(loaded.points, capture.points)
        np.testing.assert_array_equal(loaded.points_rgb, capture.points_rgb)
    assert os.listdir(tmp_path / "ws") == ["capture.json"]


def test_people_can_read_it(root, tmp_path):
    save_capture(load_capture(root), tmp_path / "ws" / "capture.json")
    content = json.loads((tmp_path / "ws" / "capture.json").read_text())
    assert content["root"] == str(root)
    assert content["points"]["count"] in (2, 5)
    view = content["views"][1]
    assert (view["name"], view["file"], view["split"]) == (NAMES[1], f"images/{NAMES[1]}", "train")
    assert view["size"] == [200, 150]
    assert view["lens"]["distortion"][0] in (-0.1, -0.2)


def test_moved_photos(root, tmp_path):
    capture = load_capture(root)
    save_capture(capture, tmp_path / "capture.json")
    moved = root.rename(tmp_path / "elsewhere")
    with pytest.raises(CaptureError, match=r'5 of 5 photos .*no longer in .*capture .*set "root"'):
        read_saved_capture(tmp_path)
    content = json.loads((tmp_path / "capture.json").read_text())
    content["root"] = str(moved)  # as the message says
    (tmp_path / "capture.json").write_text(json.dumps(content))
    loaded = read_saved_capture(tmp_path)
    np.testing.assert_array_equal(loaded.points, capture.points)
    assert loaded.views[0].path == moved / "images" / NAMES[0]


def test_a_photo_that_changed_under_its_name_is_known(root, tmp_path):
    """Wherever the photos lie; a file of before remembers none, and knows no change."""
    save_capture(load_capture(root), tmp_path / "capture.json")
    loaded = read_saved_capture(tmp_path)
    assert loaded.changed_photos() == []
    write_photo(root / "images" / NAMES[3], 255 - plain_photo(3))
    assert loaded.changed_photos() == [NAMES[3]]
    assert load_capture(root).changed_photos() == []  # nothing was made of it
    assert load_capture(root).changed_photos(loaded) == [NAMES[3]]
    content = json.loads((tmp_path / "capture.json").read_text())
    for view in content["views"]:
        del view["sample"]
    del content["checksum"]
    (tmp_path / "capture.json").write_text(json.dumps(content))
    assert read_saved_capture(tmp_path).changed_photos() == []


@pytest.mark.parametrize("content", [None, "", "{}", '{"version": 1, "root": "."}', '{"version": "99"}'])
def test_damaged_file(tmp_path, content):
    if content is not None:
        (tmp_path / "capture.json").write_text(content)
    with pytest.raises(CaptureError, match=r"capture\.json .*gags"):
        read_saved_capture(tmp_path)


def test_an_unknown_format_is_an_error_that_names_the_file(root, tmp_path):
    save_capture(load_capture(root), tmp_path / "capture.json")
    content = json.loads((tmp_path / "capture.json").read_text())
    content["format"] = "bundler"
    (tmp_path / "capture.json").write_text(json.dumps(content))
    with pytest.raises(CaptureError, match=r"capture\.json says .*'bundler'.* known: colmap, nerf"):
        read_saved_capture(tmp_path)


def test_points_are_read_when_they_are_asked_for(root, tmp_path):
    capture = load_capture(root)
    save_capture(capture, tmp_path / "capture.json")
    loaded = read_saved_capture(tmp_path)
    points = root / ("points.ply" if loaded.format == "nerfstudio" else "sparse/0/points3D.bin")
    content = points.read_bytes()
    points.write_bytes(b"")
    assert loaded.fingerprint() == capture.fingerprint()  # needs no points: their hash is in the file
    points.write_bytes(content)
    np.testing.assert_array_equal(loaded.points, capture.points)
    points.write_bytes(b"")
    np.testing.assert_array_equal(loaded.points, capture.points)


def test_points_that_changed_behind_the_workspace(root, tmp_path):
    save_capture(load_capture(root), tmp_path / "capture.json")
    loaded = read_saved_capture(tmp_path)
    if loaded.format == "nerfstudio":
        ply = root / "points.ply"
        ply.write_text(ply.read_text().replace("-1.5", "-2.5"))
    else:
        shutil.rmtree(root / "sparse")
        write_colmap(root, NAMES, model="OPENCV", points=6)
    with pytest.raises(CaptureError, match=r"sparse points .* changed"):
        _ = loaded.points


def test_fingerprint_is_the_same_in_other_processes_and_places(root, tmp_path):
    fingerprint = load_capture(root).fingerprint()
    copy = tmp_path / "copy"
    shutil.copytree(root, copy, copy_function=shutil.copy)  # with new times
    code = "import sys; from gags.capture import load_capture; print(load_capture(sys.argv[1]).fingerprint())"
    for seed in ("1", "2"):
        environment = os.environ | {
            "PYTHONHASHSEED": seed,
            "PYTHONPATH": os.pathsep.join(p for p in sys.path if p),
        }
        done = subprocess.run(
            [sys.executable, "-c", code, str(copy)],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout.strip() == fingerprint


def test_fingerprint_follows_everything_a_stage_depends_on(tmp_path):
    write_colmap(tmp_path, NAMES)
    prints = {load_capture(tmp_path).fingerprint()}

    def changed(capture):
        prints.add(capture.fingerprint())
        return len(prints)

    assert changed(load_capture(tmp_path)) == 1
    assert changed(load_capture(tmp_path, downscale=2)) == 2
    assert changed(load_capture(tmp_path, test_every=2)) == 3
    write_photo(tmp_path / "images" / NAMES[1], plain_photo(9))
    assert changed(load_capture(tmp_path)) == 4
    shutil.rmtree(tmp_path / "sparse")
    write_colmap(tmp_path, NAMES, points=4)
    assert changed(load_capture(tmp_path)) == 5
    shutil.rmtree(tmp_path / "sparse")
    write_colmap(tmp_path, NAMES, model="RADIAL")
    assert changed(load_capture(tmp_path)) == 6


def test_a_capture_inside_the_scene_moves_with_it(tmp_path):
    write_colmap(tmp_path / "ws" / "poses", NAMES)
    save_capture(load_capture(tmp_path / "ws" / "poses"), tmp_path / "ws" / "capture.json")
    assert json.loads((tmp_path / "ws" / "capture.json").read_text())["root"] == "poses"
    (tmp_path / "ws").rename(tmp_path / "moved")
    capture = read_saved_capture(tmp_path / "moved")
    assert capture.root == tmp_path / "moved" / "poses"
    assert all(view.path.is_file() for view in capture)
    assert len(capture.points) == 5
