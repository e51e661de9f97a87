"""Scenes that lack something, in the browser: no things, one Gaussian, no photos, no names."""

import io
import json
import shutil
import time

import numpy as np
import pytest
import torch
from PIL import Image
from tests.helpers.blobs import WORDS, ToyEncoder
from tests.viewer.conftest import PATIENCE_MS

import gags
from gags import scene as scene_module
from gags.distill.field import LanguageField, splats_hash
from gags.errors import ModelError
from gags.gaussians.ply import load_ply, save_ply
from gags.progress import Reporter
from gags.scene import Scene
from gags.viewer import export as export_module
from gags.viewer import run
from gags.viewer.kept import KeptList
from gags.workspace import Workspace

pytest.importorskip("fastapi", reason="needs the extra `view`")
pytest.importorskip("websockets", reason="needs the extra `view`")

PORT = 18780
ONE = 400  # a Gaussian of a ball


class Told(Reporter):
    def __init__(self):
        self.warnings = []

    def warn(self, message):
        self.warnings.append(message)


@pytest.fixture(autouse=True)
def toy_encoder(monkeypatch):
    monkeypatch.setattr(scene_module, "load_encoder", lambda name, progress=None: ToyEncoder())
    monkeypatch.setattr(export_module, "page_words", lambda: ["tractor"])
    monkeypatch.setattr(run, "in_notebook", lambda: True)  # so that `gags.view` comes back


@pytest.fixture
def root(finished_once, tmp_path):
    return shutil.copytree(finished_once, tmp_path / "ws")


@pytest.fixture
def no_masks(root):
    """Without masks no things are found."""
    shutil.rmtree(root / "features")
    (root / "things.safetensors").unlink(missing_ok=True)
    return root


@pytest.fixture
def one_gaussian(root):
    """A scene of a single Gaussian."""
    workspace = Workspace(root)
    gaussians, field = load_ply(workspace.splats)[torch.tensor([ONE])], LanguageField.load(workspace.field)
    save_ply(gaussians, workspace.splats)
    hashed = splats_hash(load_ply(workspace.splats))
    LanguageField(field.features[[ONE]], field.decoder, "toy", hashed).save(workspace.field)
    return root


@pytest.fixture
def no_photos(root):
    """The photos are not where they were."""
    saved = json.loads((root / "capture.json").read_text())
    (root / "capture.json").write_text(json.dumps(saved | {"root": "moved away"}))
    return root


@pytest.fixture
def no_encoder(root, monkeypatch):
    """Nothing embeds texts, so that no thing has a name."""

    def missing(name, progress=None):
        raise ModelError("the encoder toy is not on this machine; get it with `gags models`")

    monkeypatch.setattr(scene_module, "load_encoder", missing)
    return root


@pytest.fixture
def served(browser):
    """Opens a scene's folder through `gags view`."""
    opened = []

    def serve(root):
        viewer = gags.view(root, words=WORDS, port=PORT)
        opened.append(viewer)
        return _open(browser, viewer.url)

    yield serve
    for viewer in opened:
        viewer.stop()


@pytest.fixture
def exported(browser, tmp_path):
    """Opens the page that a scene's folder is exported as."""

    def export(root, progress=None):
        written = gags.export_page(root, tmp_path / "page.html", words=WORDS, progress=progress or Told())
        return _open(browser, written.path.as_uri())

    return export


def _open(browser, url):
    page = browser.new_context(viewport={"width": 900, "height": 640}).new_page()
    page.set_default_timeout(2 * PATIENCE_MS)
    page.wrong = []
    page.on("pageerror", lambda error: page.wrong.append(str(error)))
    page.goto(url)
    page.locator("body[data-ready=true]").wait_for()
    _is_drawn(page)
    return page


def _is_drawn(page):
    """Wait until the middle of the picture shows more than a background."""
    end = time.monotonic() + 2 * PATIENCE_MS / 1000
    while True:
        shot = page.screenshot(clip={"x": 60, "y": 60, "width": 480, "height": 520})
        if np.ptp(np.asarray(Image.open(io.BytesIO(shot)).convert("RGB"))) > 60:
            return
        assert time.monotonic() < end, "the scene is not drawn"
        time.sleep(0.2)


def _close(page):
    page.context.close()
    assert page.wrong == []


def _look_for(page, text, said):
    page.locator("#text").fill(text)
    page.locator("#answer").get_by_text(said).wait_for()


def test_without_things_a_server_answers_texts(no_masks, served):
    page = served(no_masks)
    page.get_by_text("No thing was found in this scene. Texts are answered all the same.").wait_for()
    _look_for(page, "red ball", "1 found, score")
    page.locator("#text").press("Enter")
    page.locator("#selected strong", has_text="red ball").wait_for()
    assert page.evaluate("gagsApp.history.now.selected.size") > 50
    _close(page)


def test_without_things_an_exported_page_says_that_it_answers_nothing(no_masks, exported):
    Scene.load(no_masks).things()
    told = Told()
    page = exported(no_masks, told)
    assert told.warnings == [f"{no_masks} has no things, so the page answers no word"]
    page.get_by_text("No thing was found in this scene. So this page answers no text").wait_for()
    _look_for(page, "red ball", "This page knows no things")
    _close(page)


def test_kept_pictures_of_no_things_are_read_again(no_masks):
    assert KeptList(Scene.load(no_masks), WORDS).pictures() == {}
    assert (no_masks / "viewer" / "pictures.safetensors").exists()
    assert KeptList(Scene.load(no_masks), WORDS).pictures() == {}


def test_one_gaussian_is_shown_and_selected(one_gaussian, served):
    page = served(one_gaussian)
    page.get_by_text("1 thing or part").wait_for()
    page.locator("#things .name").first.click()
    assert page.evaluate("gagsApp.history.now.selected.size") == 1
    page.evaluate("gagsApp.setMode('granularity')")
    page.locator("#legend .key").first.wait_for(state="attached")
    _look_for(page, "tractor", "Nothing in the scene matches “tractor”")
    _close(page)


def test_one_gaussian_is_exported(one_gaussian, exported):
    page = exported(one_gaussian)
    page.get_by_text("1 thing or part").wait_for()
    assert page.evaluate("gagsApp.scene.count") == 1
    _close(page)


def test_without_photos_a_scene_is_shown_and_asked(no_photos, served, capsys):
    page = served(no_photos)
    page.get_by_text("12 of 12 photos are no longer in").wait_for()
    _look_for(page, "red ball", "1 found, score")
    page.locator("#things .name", has_text="red ball").first.wait_for()
    assert page.locator("#things img").count() == 0
    _close(page)
    assert not (no_photos / "viewer" / "pictures.safetensors").exists()  # there are more once they are back


def test_without_photos_pictures_that_are_kept_are_shown(root, served):
    KeptList(Scene.load(root), WORDS).pictures()
    saved = json.loads((root / "capture.json").read_text())
    (root / "capture.json").write_text(json.dumps(saved | {"root": "moved away"}))
    page = served(root)
    page.locator("#things img").first.wait_for(state="attached")
    assert page.get_by_text("photos are no longer in").count() == 0
    _close(page)


def test_without_photos_a_page_is_exported(no_photos, exported):
    told = Told()
    page = exported(no_photos, told)
    (warning,) = told.warnings
    assert warning.startswith(f"12 of 12 photos are no longer in {no_photos / 'moved away'}")
    _look_for(page, "red ball", "1 found, score")
    _close(page)


def test_without_names_things_are_listed_by_number(no_encoder, served):
    page = served(no_encoder)
    page.get_by_text("The things have no names, and no text is answered: the encoder toy").wait_for()
    page.locator("#things .name", has_text="thing 1").first.click()
    assert page.evaluate("gagsApp.history.now.selected.size") > 50
    page.locator("#text").fill("red ball")
    page.locator(".notice", has_text="the encoder toy is not on this machine").first.wait_for()
    _close(page)
    assert not (no_encoder / "viewer" / "names.safetensors").exists()


def test_without_names_no_page_is_exported(no_encoder, tmp_path):
    with pytest.raises(ModelError, match=r"cannot become a page .* the encoder toy is not on") as told:
        gags.export_page(no_encoder, tmp_path / "page.html", words=WORDS)
    assert "\n" not in str(told.value)
    assert not (tmp_path / "page.html").exists()
