"""A scene's files on a machine without the driver's disk."""

import json
import os
import tempfile
from pathlib import Path

import numpy as np
import pytest
from tests.helpers.made_capture import SIZE, write_colmap, write_photo

from gags.capture import load_capture, read_saved_capture, save_capture
from gags.errors import WorkspaceError
from gags.pipeline.settings import CaptureSettings, RunSettings
from gags.scale import copies
from gags.scale.copies import FOLDER, OwnCopy, inside, moved_path, read_array
from gags.scale.events import FileGone, FileMade
from gags.scale.jobs import SceneWork, files_of
from gags.scale.many import _works


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    return tmp_path / "tmp" / FOLDER


@pytest.fixture
def copy(tmp_path):
    return OwnCopy(("run", tmp_path / "scenes" / "desk"))


def _array(text):
    return np.frombuffer(text.encode(), np.uint8)


def _text(event):
    return event.content.tobytes().decode()


class Store:
    """Contents by key, and which were asked for."""

    def __init__(self, **contents):
        self.contents, self.asked = contents, []

    def __call__(self, keys):
        self.asked += keys
        return [_array(self.contents[key]) for key in keys]


def test_only_what_is_new_is_fetched_and_what_is_not_wanted_goes(copy):
    store = Store(a="A", b="B", c="C")
    copy.fill(
        {"scene/x.txt": ("1", "a"), "scene/features/y.txt": ("1", "b"), "capture/desk/p.jpg": ("1", "c")},
        store,
    )
    assert (copy.scene / "features" / "y.txt").read_text() == "B"
    assert store.asked == ["a", "b", "c"]
    copy.fill({"scene/x.txt": ("2", "b"), "capture/desk/p.jpg": ("1", "c")}, store)
    assert store.asked == ["a", "b", "c", "b"]
    assert (copy.scene / "x.txt").read_text() == "B"
    assert not (copy.scene / "features" / "y.txt").exists()
    copy.fill({"scene/features/y.txt": ("1", "b"), "capture/desk/p.jpg": ("1", "c")}, store)
    assert store.asked == ["a", "b", "c", "b", "b"]


def test_changes_are_told_with_the_records_last_and_the_paths_of_the_driver(copy, tmp_path):
    original = tmp_path / 'the "photos" ö'
    capture = {"root": str(original / "sub"), "options": {}, "views": []}
    files = {
        "scene/capture.json": ("1", "c"),
        "scene/same.txt": ("1", "s"),
        "scene/checkpoint.safetensors": ("1", "s"),
    }
    copy.fill(files, Store(c=json.dumps(capture), s="same"))
    copy.move_capture(original)
    here = copy.path("capture", original)
    moved = json.loads((copy.scene / "capture.json").read_text())
    assert moved == capture | {"root": str(here / "sub")}
    copy.remember()
    assert list(copy.changes([(here, original)])) == []

    (copy.scene / "capture.json").write_text(json.dumps(moved | {"views": [1]}))
    (copy.scene / "config.toml").write_text(f"adopted = {json.dumps(str(here / 'x'))}")
    (copy.scene / "zoo.txt").write_text("new")
    (copy.scene / ".zoo.7.tmp.txt").write_text("half")
    (copy.scene / "checkpoint.safetensors").unlink()
    made = list(copy.changes([(copy.scene, copy.of[1]), (here, original)]))
    assert [event.name for event in made] == [
        "capture.json",
        "zoo.txt",
        "config.toml",
        "checkpoint.safetensors",
    ]
    assert json.loads(_text(made[0])) == capture | {"views": [1]}
    assert json.loads(_text(made[2]).removeprefix("adopted = ")) == str(original / "x")
    assert made[3] == FileGone("checkpoint.safetensors")


def test_a_checkpoint_is_told_once_when_it_is_new_and_gone_when_it_is(copy):
    copy.fill({}, Store())
    copy.remember()
    assert copy.new_checkpoints() == []
    path = copy.scene / "field_checkpoint.safetensors"
    path.write_text("step 1")
    (event,) = copy.new_checkpoints()
    assert isinstance(event, FileMade)
    assert (event.name, _text(event)) == (path.name, "step 1")
    assert copy.new_checkpoints() == []
    path.write_text("step 22")
    assert [_text(event) for event in copy.new_checkpoints()] == ["step 22"]
    path.unlink()
    assert list(copy.changes([])) == [FileGone(path.name)]


def test_a_description_handed_over_is_neither_kept_nor_gone(copy):
    copy.fill({"scene/features/a.jpg.safetensors": ("1", "a")}, Store(a="old masks"))
    copy.remember()
    path = copy.scene / "features" / "a.jpg.safetensors"
    path.write_text("described")
    event = copy.handed_over(path)
    assert (event.name, _text(event)) == ("features/a.jpg.safetensors", "described")
    assert not path.exists()
    assert list(copy.changes([])) == []


@pytest.mark.parametrize("name", ["../x", "a/../../x", "/etc/passwd", ""])
def test_no_name_leads_out_of_the_folder(name, tmp_path):
    with pytest.raises(WorkspaceError, match="no name of a file"):
        inside(tmp_path, name)


def test_paths_move_with_their_folder_only(tmp_path):
    assert moved_path("/a/b/c", original=copies.Path("/a/b"), moved=copies.Path("/z")) == "/z/c"
    assert moved_path("/a/bc", original=copies.Path("/a/b"), moved=copies.Path("/z")) == "/a/bc"
    assert moved_path("poses", original=copies.Path("/a"), moved=copies.Path("/z")) == "poses"


def test_folders_of_workers_that_were_killed_are_removed_and_others_stay(copy, home, tmp_path):
    (home / "abandoned").mkdir()
    (home / "abandoned" / ".in_use").touch()
    other = OwnCopy(("run", tmp_path / "scenes" / "two"))
    assert not (home / "abandoned").exists()
    assert len(list(home.iterdir())) == 2
    copy.remove()
    other.remove()
    assert list(home.iterdir()) == []


def test_masks_outside_of_the_capture_come_along(copy, tmp_path):
    """The worker's capture.json names its own copies of photos and masks; the driver gets its paths back."""
    capture, masks = tmp_path / "room", tmp_path / "elsewhere" / "masks"
    write_colmap(capture, ["a.jpg", "b.jpg"])
    mask = np.full((SIZE[1], SIZE[0]), 255, np.uint8)
    mask[:, :50] = 0
    (tmp_path / "held_out.txt").write_text("b.jpg\n")
    write_photo(masks / "a.png", mask)
    write_photo(masks / "b.jpg.png", mask)
    made = tmp_path / "made"
    loaded = load_capture(capture, masks=str(masks), test_list=tmp_path / "held_out.txt")
    save_capture(loaded, made / "capture.json")
    before = (made / "capture.json").read_text()
    files = {"scene/capture.json": made / "capture.json"}
    for kind, root in (("capture", capture), ("masks", masks)):
        files |= {f"{kind}/{p.relative_to(root.parent).as_posix()}": p for p in files_of(root)}
    copy.fill(
        {name: ("1", path) for name, path in files.items()}, lambda paths: [read_array(p) for p in paths]
    )
    copy.move_capture(capture, masks)
    there = read_saved_capture(copy.scene)
    for view in there:
        assert view.mask is not None
        assert view.mask.is_relative_to(copy.path("masks", masks))
        kept = view.kept()
        assert kept is not None
        assert int((~kept[0]).sum()) == 50
    copy.remember()
    (copy.scene / "capture.json").touch()
    os.utime(copy.scene / "capture.json", (1, 1))
    moved = [(copy.path("capture", capture), capture), (copy.path("masks", masks), masks)]
    moved.append((copy.path("test_list", tmp_path / "held_out.txt"), tmp_path / "held_out.txt"))
    (event,) = copy.changes(moved)
    assert isinstance(event, FileMade)
    assert event.content.tobytes().decode() == before
    assert str(tmp_path / "held_out.txt") not in before  # the checksum holds whatever the list's place is


def test_masks_are_an_input_of_the_work(tmp_path):
    def work(masks: str) -> SceneWork:
        return _works([tmp_path / "room"], tmp_path / "out", RunSettings(), CaptureSettings(masks=masks))[0]

    (tmp_path / "room" / "keep").mkdir(parents=True)
    assert work("auto").masks is work("none").masks is work("keep").masks is None
    elsewhere = work(str(tmp_path / "elsewhere"))
    assert elsewhere.masks == tmp_path / "elsewhere"
    assert elsewhere.masks in elsewhere.inputs()
    assert work("gone").masks == Path("gone").absolute()  # told later, in one line
