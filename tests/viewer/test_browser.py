"""The viewer as a person uses it, in a headless Chromium: ask, keep, click, cut out, two browsers at once."""

import io
import re
import shutil
import time

import numpy as np
import pytest
from PIL import Image
from tests.helpers.blobs import WORDS, ToyEncoder, make_scene
from tests.helpers.finished_scene import write_scene

from gags import scene as scene_module
from gags.gaussians.ply import load_ply
from gags.scene import Scene

pytest.importorskip("viser", reason="needs the extra `view`")
sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright, of the extra `dev`")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs chromium or google-chrome on the PATH")

PATIENCE = 120.0  # seconds; a step takes one or two where nothing else runs
SIZE = (1200, 800)
ARGUMENTS = ("--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader")
LAYER = re.compile(r"^[01]\.\d\d · \d+$")


@pytest.fixture(scope="module")
def viewer(tmp_path_factory):
    from gags.viewer.server import Viewer

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scene_module, "load_encoder", lambda name, progress=None: ToyEncoder())
        scene = Scene.load(write_scene(tmp_path_factory.mktemp("viewer")))
        with Viewer(scene, words=WORDS, port=18080) as viewer:
            yield viewer


@pytest.fixture(scope="module")
def chromium():
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=list(ARGUMENTS), timeout=1000 * PATIENCE
        )
        yield browser
        browser.close()


@pytest.fixture
def page(viewer, chromium):
    page = _open(viewer, chromium)
    yield page
    page.context.close()


def _open(viewer, chromium):
    page = chromium.new_context(viewport={"width": SIZE[0], "height": SIZE[1]}).new_page()
    page.set_default_timeout(1000 * PATIENCE)
    page.goto(viewer.url)
    page.locator("form input").wait_for()
    _wait(lambda: np.ptp(_middle(page)) > 100, "the scene is drawn")
    _wait_until_all_is_shown(_session(viewer), page)
    return page


def _wait_until_all_is_shown(session, page) -> None:
    """Progress notes lie over the scene and cameras appear in it; pictures from before differ for good."""
    _wait(session.started.is_set, "everything is loaded")
    mark = session._client.add_notification("Everything was sent", "")  # messages come in order
    page.get_by_text("Everything was sent").wait_for()
    mark.remove()
    for title in ("Everything was sent", "Getting ready to answer", "Finding things"):
        page.get_by_text(title).wait_for(state="detached")
    _wait(lambda: _changed(_middle(page), _middle(page)) == 0, "the picture is still")


def _wait(condition, what: str) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, f"waited too long until {what}"
        time.sleep(0.2)


def _middle(page) -> np.ndarray:
    """Pixels of the left and middle of the page, where there is no panel. uint8 [H, W, 3]"""
    clip = {"x": 100, "y": 100, "width": 650, "height": 600}
    return np.asarray(Image.open(io.BytesIO(page.screenshot(clip=clip))).convert("RGB"))


def _changed(before: np.ndarray, after: np.ndarray) -> float:
    """Share of the pixels that differ clearly."""
    return float((abs(before.astype(int) - after).max(axis=-1) > 25).mean())


def _session(viewer):
    return viewer.sessions[max(viewer.sessions)]


def _place_of(viewer, session, word: str) -> tuple[float, float]:
    """Where the middle of a ball is in the page, in px."""
    from gags.viewer.cameras import browser_camera
    from gags.viewer.picking import rotation_matrices

    toy = make_scene(12)
    camera = session._client.camera
    seen = browser_camera(
        rotation_matrices(np.asarray(camera.wxyz)[None])[0],
        session._position(),
        camera.fov,
        camera.image_width,
        camera.image_height,
    )
    (x, y), _ = seen.project(toy.gaussians.means.numpy()[toy.owner == WORDS.index(word)].mean(axis=0))
    return x * SIZE[0] / camera.image_width, y * SIZE[1] / camera.image_height


def test_ask_keep_click_cut_out_delete_undo(viewer, page, tmp_path):
    session = _session(viewer)
    places = {word: _place_of(viewer, session, word) for word in WORDS[1:]}
    word = min(places, key=lambda word: places[word][0])  # the leftmost ball, clear of the panel
    plain = _middle(page)
    page.locator("form input").fill(word)
    page.get_by_text(re.compile(r"^Score [01]\.\d\d, \d+ Gaussians\.$")).wait_for()
    _wait(lambda: _changed(plain, _middle(page)) > 0.05, "the answer is coloured")

    page.locator("form input").press("Enter")
    page.get_by_text(LAYER).wait_for()
    assert page.locator("form input").input_value() == ""
    assert [layer.text for layer in session.state.layers] == [word]
    page.get_by_text("hide / show").click()
    _wait(lambda: _changed(plain, _middle(page)) < 0.01, "the hidden layer is gone from the colours")

    page.mouse.click(*places[word])
    page.get_by_text(re.compile(rf"^{word} \([01]\.\d\d\)$")).first.wait_for()
    _wait(lambda: _changed(plain, _middle(page)) > 0.05, "the thing is highlighted")
    with page.expect_download() as download:
        page.get_by_role("button", name="Cut out").click()
    download.value.save_as(tmp_path / "cut.ply")
    truth = make_scene(12).owner == WORDS.index(word)
    cut = load_ply(tmp_path / "cut.ply")
    assert 0.8 * truth.sum() < len(cut) < 1.25 * truth.sum()
    assert "ws-" in download.value.suggested_filename

    page.get_by_role("button", name="Delete", exact=True).click()
    _wait(lambda: (~session.state.alive).sum() == len(cut), "the thing is deleted")
    page.get_by_role("button", name="Undo").click()
    _wait(lambda: session.state.alive.all(), "the thing is back")
    with page.expect_download() as download:
        page.get_by_role("button", name="Save picture").click()
    download.value.save_as(tmp_path / "view.png")
    camera = session._client.camera
    assert Image.open(tmp_path / "view.png").size == (camera.image_width, camera.image_height)


def test_errors_are_shown_in_the_page_that_made_them(viewer, page, chromium):
    other = _open(viewer, chromium)
    page.locator("form input").press("Enter")
    page.get_by_text("type a text that is not empty").wait_for()
    # Key by key: what is put into the box at once, just as the answer to Enter comes, the page may not send.
    page.locator("form input").press_sequentially("tractor")
    page.get_by_text('Nothing in the scene matches "tractor"').first.wait_for()
    page.locator("form input").press("Enter")
    page.get_by_text(LAYER).wait_for()
    page.get_by_role("button", name="Cut out").click()
    page.get_by_text("nothing is selected").wait_for()

    assert other.get_by_text(LAYER).count() == 0
    assert other.get_by_text("That did not work").count() == 0
    other.locator("form input").fill(WORDS[1])
    other.get_by_text(re.compile(r"^Score \d")).wait_for()
    other.context.close()
    _wait(lambda: len(viewer.sessions) == 1, "the other browser is gone")
    page.locator("form input").fill(WORDS[2])
    page.get_by_text(re.compile(r"^Score \d")).wait_for()
