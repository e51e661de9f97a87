"""Files of a scene that are damaged, of another scene or in the way: told in one line, or made again.

A fast share of `tools/campaign/scene.py`, which tries all files, damages and commands.
"""

import contextlib
import errno
import io
import json
import os
import shutil
import threading
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from tools.campaign.damage import DAMAGES, NotPossibleError

from gags import cli, files, models, pipeline, scene
from gags.capture import load_capture
from gags.capture.saved import read_capture_of
from gags.embed.description import Description
from gags.errors import CaptureError
from gags.files import temporary_path
from gags.files.locks import locked
from gags.pipeline.kept import check_names
from gags.workspace import Workspace
from tests.helpers.toy_capture import ColorEncoder, ColorSegmenter, write_capture

FAST = ["--reconstruct.steps", "30", "--distill.steps", "30", "--describe.min-area", "6"]
FAST += ["--describe.prompts-per-patch", "1"]
PHOTO = "features/view_02.png.safetensors"
FILES = ["config.toml", "capture.json", "splats.ply", PHOTO, "field.safetensors", "things.safetensors"]


def stand_in(patch: pytest.MonkeyPatch) -> None:
    for module in (pipeline, scene):
        patch.setattr(module, "load_encoder", lambda name, progress=None: ColorEncoder())
    patch.setattr(pipeline, "load_segmenter", lambda name, progress=None: ColorSegmenter())
    patch.setattr(models, "ensure", lambda name, progress=None: None)


@pytest.fixture(autouse=True)
def _stand_in(monkeypatch):
    stand_in(monkeypatch)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Two finished scenes of other photos, made by `gags run`."""
    root = tmp_path_factory.mktemp("made")
    with pytest.MonkeyPatch.context() as patch:
        stand_in(patch)
        for name, views in (("one", 6), ("other", 5)):
            capture = write_capture(root / name / "capture", views)
            assert cli.main(["run", str(capture), "--out", str(root / name / "ws"), *FAST]) == 0
    return root


@pytest.fixture(scope="module")
def right(made) -> str:
    """What the scene answers."""
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(io.StringIO()) as printed:
        stand_in(patch)
        assert cli.main(["locate", str(made / "one" / "ws"), "red ball", "--json"]) == 0
    return printed.getvalue()


@pytest.fixture
def workspace(made, tmp_path) -> Path:
    return Path(shutil.copytree(made / "one" / "ws", tmp_path / "ws"))


def content(workspace: Path) -> dict[str, bytes]:
    kept = (path for path in workspace.rglob("*") if path.is_file() and "report" not in path.parts)
    return {path.relative_to(workspace).as_posix(): path.read_bytes() for path in kept}


def damage(workspace: Path, made: Path, file: str, kind: str) -> None:
    try:
        DAMAGES[kind](workspace / file, made / "other" / "ws" / file, np.random.default_rng(0))
    except NotPossibleError:
        pytest.skip("makes no sense for this file, or cannot be done here")


def said(capsys) -> tuple[str, str]:
    """stdout, and the one line that says why a command failed; empty if it did not."""
    printed = capsys.readouterr()
    assert "please report it" not in printed.err
    assert "[Errno" not in printed.err
    lines = [line for line in printed.err.splitlines() if line.startswith("gags ")]
    assert len(lines) <= 1
    return printed.out, lines[0] if lines else ""


KINDS = ["flipped", "swapped", "folder", "loop", "pipe", "newer", "not_finite", "other_shape", "huge_values"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("file", FILES)
def test_asking_a_damaged_scene(workspace, made, right, capsys, file, kind):
    """The right answer, or one line that names the file; all else stays as it is."""
    ask = ["locate", str(workspace), "red ball", "--json"]
    damage(workspace, made, file, kind)
    before = content(workspace)
    code = cli.main(ask)
    out, line = said(capsys)
    if code == 0:
        assert out == right
        # No answer needs them, or they are found anew; a bit of a record may be one of the time that it took.
        assert file in (PHOTO, "things.safetensors") or (file, kind) == ("config.toml", "flipped")
    else:
        assert code == 1
        named = "splats.ply" if (file, kind) == ("config.toml", "swapped") else file.rpartition("/")[2]
        assert named in line  # by the other scene's records, the Gaussians are wrong
        assert ";" in line  # what to do
    after = content(workspace)
    assert {k: v for k, v in after.items() if k != file} == {k: v for k, v in before.items() if k != file}
    if kind == "newer":
        assert after.get(file) == before.get(file)


@pytest.mark.parametrize("kind", ["missing", "truncated", "scrambled", "swapped", "other_shape"])
@pytest.mark.parametrize("file", [name for name in FILES if name != "config.toml"])
def test_run_makes_again_what_is_damaged(workspace, made, capsys, file, kind):
    damage(workspace, made, file, kind)
    expected = content(made / "one" / "ws")
    assert cli.main(["run", str(made / "one" / "capture"), "--out", str(workspace), *FAST]) == 0
    err = capsys.readouterr().err
    if kind != "missing" and file != "things.safetensors":
        assert file.rpartition("/")[2] in err
    found = content(workspace)
    assert found.keys() == expected.keys()
    for name in ("splats.ply", PHOTO, "field.safetensors", "things.safetensors"):
        assert found[name] == expected[name], name


@pytest.mark.parametrize("kind", ["flipped", "scrambled", "missing"])
def test_damaged_masks_of_any_photo_leave_the_answer_as_it_is(workspace, made, right, capsys, kind):
    damage(workspace, made, "features/view_01.png.safetensors", kind)
    assert cli.main(["locate", str(workspace), "red ball", "--json"]) == 0
    assert capsys.readouterr().out == right


def test_a_field_whose_masks_changed_is_made_again(workspace, made, capsys):
    path = workspace / PHOTO
    described = Description.load(path)
    described.embeddings = described.embeddings[::-1].copy()
    described.save(path)
    before = (workspace / "field.safetensors").read_bytes()
    assert cli.main(["distill", str(workspace), *FAST[2:4]]) == 0
    assert "masks or embeddings have changed" in capsys.readouterr().err
    assert (workspace / "field.safetensors").read_bytes() != before
    assert cli.main(["distill", str(workspace), *FAST[2:4]]) == 0
    assert "done already" in capsys.readouterr().err


def test_two_photos_in_each_others_place_are_noticed(workspace, capsys):
    first, second = workspace / PHOTO, workspace / PHOTO.replace("02", "03")
    content_of_first = first.read_bytes()
    first.write_bytes(second.read_bytes())
    second.write_bytes(content_of_first)
    assert cli.main(["distill", str(workspace), "--distill.steps", "31"]) == 1
    assert "it is of the photo view_03.png" in said(capsys)[1]


def test_without_config_the_scene_is_started_over(workspace, made, capsys):
    """As its message says; what else is in the folder is not taken for something else than a scene."""
    (workspace / "config.toml").write_text("= broken")
    run = ["run", str(made / "one" / "capture"), "--out", str(workspace), *FAST]
    assert cli.main(run) == 1
    assert "config.toml cannot be read" in (line := said(capsys)[1])
    assert "delete it to start this scene over" in line
    (workspace / "config.toml").unlink()
    assert cli.main(run) == 0
    (workspace / "thesis.tex").write_text("important")
    (workspace / "config.toml").unlink()
    assert cli.main(run) == 1
    assert "holds files that are not a gags scene" in capsys.readouterr().err


def test_masks_that_are_being_written_are_not_those_of_another_scene(workspace):
    """As another process sees it that reads while the first photo's masks are written."""
    features = workspace / "features"
    for path in features.iterdir():
        path.unlink()
    temporary_path(features / "view_01.png.safetensors").touch()
    assert len(read_capture_of(Workspace(workspace))) == 6
    (features / "other.png.safetensors").touch()
    with pytest.raises(CaptureError, match="none of its 6 photos is among the 1 that have masks"):
        read_capture_of(Workspace(workspace))


def test_leftovers_of_a_killed_run_are_removed(workspace, made):
    for name in (".splats.77.tmp.ply", "features/.view_02.png.77.tmp.safetensors", ".lock"):
        (workspace / name).write_text("half")
    assert cli.main(["things", str(workspace)]) == 0
    assert not list(workspace.rglob(".*"))


@pytest.mark.parametrize("command", ["run", "reconstruct", "describe", "distill", "things"])
def test_a_second_run_in_one_folder_is_refused(workspace, made, capsys, command):
    before = content(workspace)
    words = {"run": [str(made / "one" / "capture"), "--out", str(workspace)]}
    words["reconstruct"] = words["run"]
    ready, done = threading.Event(), threading.Event()

    def hold():
        with locked(workspace / ".lock", "never"):
            ready.set()
            done.wait(60)

    thread = threading.Thread(target=hold)
    thread.start()
    ready.wait(60)
    try:
        assert cli.main([command, *words.get(command, [str(workspace)])]) == 1
        assert "is being worked on by another gags process; wait" in said(capsys)[1]
        assert cli.main(["locate", str(workspace), "red ball"]) == 0  # what only reads needs no lock
    finally:
        done.set()
        thread.join()
    assert content(workspace) == before


def test_a_scene_that_may_only_be_read(workspace, made, capsys, monkeypatch, tmp_path):
    def refuse(*names):
        if str(workspace) in str(names):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(names[0]))
        return os.rename(*names)

    monkeypatch.setattr(files, "os", SimpleNamespace(**{**vars(os), "replace": refuse}))
    query = ["query", str(workspace), "red ball", "--view", "view_01"]
    assert cli.main(query) == 1
    line = said(capsys)[1]
    assert "answers/view_01/red-ball_relevancy.npy cannot be written: it lies on a read-only file" in line
    assert "--out" in line
    assert cli.main([*query, "--out", str(tmp_path / "answers")]) == 0
    capsys.readouterr()
    labels = str(made / "one" / "capture" / "labels")
    before = content(workspace)
    assert cli.main(["evaluate", str(workspace), "--labels", labels]) == 0
    printed = capsys.readouterr()
    assert "the figures are not kept" in printed.err
    assert "Every answer" not in printed.out
    assert "mIoU" in printed.out
    assert content(workspace) == before


@pytest.mark.parametrize(("length", "fits"), [(243, True), (244, False)])
def test_names_of_photos_are_checked_before_the_work(tmp_path, length, fits):
    capture = load_capture(write_capture(tmp_path / "capture", 3))
    view = capture.views[0]
    object.__setattr__(view, "name", "x" * (length - 4) + ".png")  # .safetensors makes it 12 bytes longer
    workspace = Workspace.create(tmp_path / "ws")
    if fits:
        check_names(workspace, capture)
        return
    with pytest.raises(CaptureError, match=r"is too long: .* takes 255 bytes; use a shorter name"):
        check_names(workspace, capture)


def test_names_that_are_no_text_are_refused(tmp_path):
    capture = load_capture(write_capture(tmp_path / "capture", 3))
    object.__setattr__(capture.views[1], "name", "caf\udce9.png")
    with pytest.raises(CaptureError, match=r"photo caf\\udce9\.png is no UTF-8; rename it"):
        check_names(Workspace.create(tmp_path / "ws"), capture)


def test_checksums_are_on_record(workspace):
    record = Workspace.open(workspace).record("reconstruct")
    assert record is not None
    said_by_itself = json.loads((workspace / "capture.json").read_text())["checksum"]
    assert record.checksums["capture.json"] == said_by_itself
    assert record.checksums["splats.ply"].startswith("crc32:")
