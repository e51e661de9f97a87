"""Scenes come into memory when they are asked, and leave it when it runs short."""

import os
import shutil
import weakref
from pathlib import Path

import pytest
import torch
from tests.helpers.blobs import ToyEncoder

from gags.serve.pool import MEMORY_OF_FILES, ScenePool, SceneUnreadable
from gags.workspace import Workspace


@pytest.fixture
def folders(finished: Path, tmp_path: Path, monkeypatch) -> dict[str, Path]:
    monkeypatch.setattr("gags.serve.pool.load_encoder", lambda name: ToyEncoder())
    return {name: Path(shutil.copytree(finished, tmp_path / name)) for name in "abc"}


def needed(folder: Path) -> int:
    workspace = Workspace(folder)
    files = (workspace.splats, workspace.field, workspace.things, workspace.capture)
    return MEMORY_OF_FILES * sum(path.stat().st_size for path in files if path.exists())


def test_a_scene_is_loaded_once(folders):
    pool = ScenePool(folders, 10**12)
    assert pool.loaded == []
    scene = pool.get("a")
    assert pool.get("a") is scene
    assert pool.get("b").encoder is scene.encoder
    assert pool.loaded == ["a", "b"]


def test_what_was_asked_longest_ago_leaves(folders):
    pool = ScenePool(folders, 2 * needed(folders["a"]) + 10)
    first = pool.get("a")
    pool.get("b")
    pool.get("a")
    pool.get("c")
    assert pool.loaded == ["a", "c"]
    assert pool.get("a") is first


def test_one_scene_is_held_however_small_the_budget(folders):
    pool = ScenePool(folders, 1)
    pool.get("a")
    pool.get("b")
    assert pool.loaded == ["b"]


@pytest.mark.parametrize(("there", "host"), [(100, 900), (900, 100)])
def test_scenes_on_a_gpu_count_against_its_memory(folders, monkeypatch, there, host):
    """It is asked for at the first scene: a service of libraries alone needs no GPU."""
    asked = []

    def device(progress):
        asked.append(progress)
        return torch.device("cuda:1")

    monkeypatch.setattr("gags.serve.pool.scene_device", device)
    monkeypatch.setattr("gags.serve.pool.available_bytes", lambda: host)
    monkeypatch.setattr("gags.serve.pool.free_bytes", {torch.device("cuda:1"): there}.__getitem__)
    pool, given = ScenePool(folders), ScenePool(folders, 70)
    assert asked == []
    for each in (pool, given, pool):
        each.get("a")
    assert (pool.budget, given.budget) == (50, 70)
    assert len(asked) == 1


def test_memory_of_scenes_that_leave_is_free_at_once(folders):
    """Parts of a scene know it; so it would stay until Python looks for such circles."""
    pool = ScenePool(folders, 1)
    first = weakref.ref(pool.get("a").gaussians.means)
    second = weakref.ref(pool.get("b").gaussians.means)
    assert first() is None
    assert not pool.make_room("b")
    assert pool.make_room("c")
    assert pool.loaded == []
    assert second() is None


def test_a_changed_scene_is_loaded_again(folders):
    pool = ScenePool(folders, 10**12)
    scene = pool.get("a")
    os.utime(Workspace(folders["a"]).field, ns=(1, 1))
    assert pool.get("a") is not scene


def test_a_scene_that_is_damaged_meanwhile_is_said_and_can_be_mended(folders):
    pool = ScenePool(folders, 10**12)
    pool.get("a")
    splats = Workspace(folders["a"]).splats
    content = splats.read_bytes()
    splats.write_bytes(content[:-100])
    with pytest.raises(SceneUnreadable, match=r"splats\.ply"):
        pool.get("a")
    assert pool.loaded == []
    splats.write_bytes(content)
    assert pool.get("a").workspace.root == folders["a"]


def test_a_scene_that_was_moved_away_is_said(folders, tmp_path):
    pool = ScenePool(folders, 10**12)
    pool.get("a")
    folders["a"].rename(tmp_path / "elsewhere")
    with pytest.raises(SceneUnreadable, match="is not a gags scene"):
        pool.get("a")


def test_an_unknown_scene_is_a_key_error(folders):
    with pytest.raises(KeyError):
        ScenePool(folders).get("nowhere")
