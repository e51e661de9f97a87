"""Things that were found in another way: found anew, unless what is found could not be kept."""

import shutil

import numpy as np
import pytest

from gags.capture import read_saved_capture
from gags.distill.field import splats_hash
from gags.embed.description import Descriptions
from gags.gaussians.ply import load_ply
from gags.store import stamp
from gags.things.find import things_of_scene
from gags.things.things import Things
from gags.workspace import Workspace


@pytest.fixture
def workspace(finished_once, tmp_path):
    """A scene with a single thing, as another way found it in the same masks."""
    workspace = Workspace(shutil.copytree(finished_once, tmp_path / "ws"))
    items = Descriptions(workspace, read_saved_capture(workspace.capture).train)
    former = Things.build(np.arange(20), np.zeros(20, np.int64), [np.arange(5)])
    former.embeddings = np.zeros((1, items[0][1].embeddings.shape[1]), np.float16)
    hashed = splats_hash(load_ply(workspace.splats))
    former.save(workspace.things, stamp(hashed, items.stamps()), hashed)
    return workspace


def things_of(workspace: Workspace) -> Things:
    gaussians = load_ply(workspace.splats)
    capture = read_saved_capture(workspace.capture)
    return things_of_scene(workspace, capture, gaussians, splats_hash(gaussians))[0]


def test_they_are_found_anew_once(workspace, monkeypatch):
    found = things_of(workspace)
    assert len(found) > 1
    monkeypatch.setattr("gags.things.find.find_things", None)
    assert len(things_of(workspace)) == len(found)


def test_they_stay_where_nothing_can_be_kept(workspace, monkeypatch):
    monkeypatch.setattr(Workspace, "is_writable", lambda _: False)
    assert len(things_of(workspace)) == 1


def test_they_stay_without_masks(workspace):
    shutil.rmtree(workspace.root / "features")
    assert len(things_of(workspace)) == 1
