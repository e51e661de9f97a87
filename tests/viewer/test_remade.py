"""A scene that is made anew while it is open: nothing of the former one is kept in its folder."""

import io
import json
import os
import shutil
import threading
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from tests.helpers.blobs import WORDS, ToyEncoder, make_scene
from tests.viewer.conftest import PATIENCE_MS

from gags import scene as scene_module
from gags.distill.field import LanguageField, splats_hash
from gags.embed.description import Description
from gags.errors import WorkspaceError
from gags.gaussians.ply import load_ply, save_ply
from gags.progress import Reporter
from gags.scene import Scene
from gags.things import find
from gags.viewer.kept import KeptList
from gags.workspace import Workspace

YELLOW = WORDS.index("yellow ball")
LEFT = make_scene(12).owner != YELLOW  # of the Gaussians, once the scene was made anew
PATIENCE = 120.0  # seconds


@pytest.fixture(autouse=True)
def toy_encoder(monkeypatch):
    monkeypatch.setattr(scene_module, "load_encoder", lambda name, progress=None: ToyEncoder())


@pytest.fixture
def root(finished_once, tmp_path):
    root = shutil.copytree(finished_once, tmp_path / "ws")
    (root / "things.safetensors").unlink(missing_ok=True)
    return root


def make_anew(root):
    """What `gags run` with other settings leaves: fewer Gaussians, their field, things and names."""
    workspace, rows = Workspace(root), torch.from_numpy(np.flatnonzero(LEFT))
    field = LanguageField.load(workspace.field)
    save_ply(load_ply(workspace.splats)[rows], workspace.splats)
    hashed = splats_hash(load_ply(workspace.splats))
    LanguageField(field.features[rows], field.decoder, "toy", hashed).save(workspace.field)
    KeptList(Scene.load(root), WORDS).pictures()


def contents(root):
    """Everything that is in the scene's folder, by name."""
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_a_scene_that_was_loaded_before_overwrites_nothing(root):
    former = Scene.load(root)
    make_anew(root)
    now = contents(root)
    assert "things.safetensors" in now
    assert [path.name for path in former.changed()] == ["splats.ply", "field.safetensors"]
    things = former.things()
    assert things.members.max() >= LEFT.sum()  # they are those of the former Gaussians
    kept = KeptList(former, WORDS)
    assert "yellow ball" in [thing.get("name") for thing in kept.listed().things]
    kept.pictures()
    assert contents(root) == now


@pytest.mark.parametrize(
    "change",
    [
        lambda scene: scene.rename(0, "cherry"),
        lambda scene: scene.teach("cherry", scene.capture.views[0], (32, 24)),
        lambda scene: scene.set_unit(1.0, 2.0),
        lambda scene: scene.set_up([0, 0, 1]),
        lambda scene: scene.forget_unit(),
    ],
    ids=["rename", "teach", "set_unit", "set_up", "forget_unit"],
)
def test_what_people_say_of_a_former_scene_is_refused(root, change):
    former = Scene.load(root)
    former.things()
    make_anew(root)
    Scene.load(root).set_unit(1.0, 3.0)
    now = contents(root)
    with pytest.raises(WorkspaceError, match=r"was made anew since it was loaded \(splats\.ply, .*; load it"):
        change(former)
    assert contents(root) == now


def test_other_things_of_the_same_gaussians_are_noticed(root):
    former = Scene.load(root)
    KeptList(former, WORDS).pictures()
    assert former.changed() == []
    for path in sorted((root / "features").iterdir())[:4]:  # described again, and some photos less
        path.unlink()
    KeptList(Scene.load(root), WORDS).pictures()
    now = contents(root)
    assert [path.name for path in former.changed()] == ["things.safetensors"]
    KeptList(former, [*WORDS, "lamp"]).pictures()
    assert contents(root) == now


def test_what_is_written_again_as_it_was_is_no_change(root):
    scene = Scene.load(root)
    scene.things()  # kept by this process itself
    for path in (root / "splats.ply", root / "field.safetensors", root / "things.safetensors"):
        path.write_bytes(path.read_bytes())
        os.utime(path, ns=(1, 1))
    assert scene.changed() == []
    moved = json.loads((root / "capture.json").read_text()) | {"root": "elsewhere"}
    (root / "capture.json").write_text(json.dumps(moved))  # as people do who moved their photos
    assert scene.changed() == []
    (root / "things.safetensors").unlink()
    assert scene.changed() == []
    (root / "field.safetensors").unlink()
    assert [path.name for path in scene.changed()] == ["field.safetensors"]


def test_masks_that_change_while_things_are_found_keep_these_out(root, monkeypatch):
    scene, finding = Scene.load(root), find.find_things

    def slowly(*asked, **more):
        found = finding(*asked, **more)
        path = sorted((root / "features").iterdir())[0]
        replace(Description.load(path), stamps={"embeddings": "of other settings"}).save(path)
        return found

    class Told(Reporter):
        def warn(self, message):
            told.append(message)

    told = []
    monkeypatch.setattr(find, "find_things", slowly)
    assert len(scene.things(Told()))
    assert told == [f"{root} was made anew meanwhile; the things found are not kept in it"]
    assert not (root / "things.safetensors").exists()


def test_things_are_not_kept_while_a_stage_works_on_the_scene(root):
    scene, held, ended = Scene.load(root), threading.Event(), threading.Event()

    def stage():
        with scene.workspace.lock():
            held.set()
            ended.wait(PATIENCE)

    worker = threading.Thread(target=stage)
    worker.start()
    try:
        assert held.wait(PATIENCE)
        assert len(scene.things())
    finally:
        ended.set()
        worker.join()
    assert not (root / "things.safetensors").exists()


@pytest.fixture
def viewer(root, monkeypatch):
    server = pytest.importorskip("gags.viewer.server", reason="needs the extra `view`")
    pytest.importorskip("websockets", reason="needs the extra `view`")
    monkeypatch.setattr(server, "WATCH_SECONDS", 0.1)
    with server.Viewer(Scene.load(root), words=WORDS, port=18980) as viewer:
        yield viewer


def _wait(condition, what):
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, f"waited too long until {what}"
        time.sleep(0.1)


def _picture(page):
    clip = {"x": 100, "y": 60, "width": 500, "height": 520}
    return np.asarray(Image.open(io.BytesIO(page.screenshot(clip=clip))).convert("RGB")).astype(int)


def _yellow(page):
    """Share of the picture that is yellow."""
    red, green, blue = np.moveaxis(_picture(page), -1, 0)
    return float(((red > 150) & (green > 130) & (blue < 110)).mean())


def test_the_page_says_so_and_shows_the_new_scene_when_asked(viewer, browser, root, capsys):
    page = browser.new_context(viewport={"width": 1000, "height": 700}).new_page()
    page.set_default_timeout(1000 * PATIENCE)
    wrong = []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.goto(viewer.url)
    page.locator("body[data-ready=true]").wait_for()
    page.locator("#things .name", has_text="yellow ball").first.wait_for()
    _wait(lambda: _yellow(page) > 0.002, "the yellow ball is drawn")
    assert page.evaluate("document.body.dataset.scene") == "same"

    make_anew(root)
    page.locator("body[data-scene=changed]").wait_for()
    page.get_by_text("The scene was made anew since it was loaded (splats.ply, field.safetensors").wait_for()
    _wait(lambda: "was made anew" in capsys.readouterr().out, "the terminal says so")
    now = contents(root)
    page.locator("#text").fill("yellow ball")  # what is shown is asked
    page.get_by_text("1 found, score").wait_for()
    refused = page.evaluate("gagsApp.backend.rename(1, 'cherry').then(() => '', (error) => error.message)")
    assert "was made anew since it was loaded" in refused
    for k in range(6):
        page.evaluate(f"notify('note {k}')")
    assert page.get_by_text("The scene was made anew").count() == 1  # other notes do not push it away
    assert contents(root) == now

    count = page.evaluate("gagsApp.scene.count")
    page.get_by_role("button", name="Show the new one").click()
    page.locator("body[data-scene=same]").wait_for()
    page.locator("body[data-ready=true]").wait_for()
    assert page.evaluate("gagsApp.scene.count") == LEFT.sum() < count
    page.locator("#things .name", has_text="red ball").first.wait_for()
    assert page.locator("#things .name", has_text="yellow ball").count() == 0
    _wait(lambda: np.ptp(_picture(page)) > 100, "the new scene is drawn")
    assert _yellow(page) < 0.0005
    thing = page.evaluate("gagsApp.things.listed[0].id")
    page.evaluate(f"gagsApp.backend.rename({thing}, 'cherry')")
    assert Scene.load(root).taught.names() == ["cherry"]
    page.context.close()
    assert wrong == []


def test_a_page_of_the_former_scene_gets_no_piece_of_the_new_one(viewer, browser, root):
    page = browser.new_page()
    page.set_default_timeout(2 * PATIENCE_MS)
    page.goto(viewer.url)
    page.locator("body[data-ready=true]").wait_for()
    _wait(lambda: page.evaluate("gagsApp.things.roots !== undefined"), "things are listed")
    make_anew(root)
    held = threading.Event()

    def stage():
        with Workspace(root).lock():
            held.set()
            ended.wait(PATIENCE)

    ended = threading.Event()
    worker = threading.Thread(target=stage)
    worker.start()
    assert held.wait(PATIENCE)
    asked = "gagsApp.backend._ask('reload').then(() => 'done', (error) => error.message)"
    try:
        assert "is being worked on by another gags process" in page.evaluate(asked)
    finally:
        ended.set()
        worker.join()
    assert page.evaluate(asked) == "done"
    chunk = "gagsApp.backend.splats(() => {}).then(() => '', (error) => error.message)"
    assert page.evaluate(chunk) == "The server shows another scene now: reload the page."
    page.evaluate("gagsApp.backend.socket.close()")  # and comes back to the new one
    page.get_by_text("The server shows another scene now: reload the page.").wait_for()
    page.context.close()


def test_a_row_of_other_things_is_not_renamed(viewer, browser, root):
    page = browser.new_page()
    page.set_default_timeout(2 * PATIENCE_MS)
    page.goto(viewer.url)
    page.locator("#things .name", has_text="red ball").first.wait_for()
    page.evaluate("gagsApp.backend.thingsMark = 'of others'")
    refused = page.evaluate("gagsApp.backend.rename(1, 'cherry').then(() => '', (error) => error.message)")
    assert refused == "the things were found anew since this page was loaded; reload the page"
    assert not (root / "taught.safetensors").exists()
    page.context.close()
