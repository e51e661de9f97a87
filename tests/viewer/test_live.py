"""The viewer as a person uses it, in a headless Chromium: ask, list, lasso, measure, rename, two browsers."""

import io
import threading
import time

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from tests.helpers.blobs import WORDS, ToyEncoder, make_scene
from tests.helpers.finished_scene import write_scene

from gags import scene as scene_module
from gags.distill.field import LanguageField, splats_hash
from gags.gaussians.ply import load_ply
from gags.scene import Scene
from gags.things.things import Things
from gags.workspace import Workspace

pytest.importorskip("fastapi", reason="needs the extra `view`")
pytest.importorskip("websockets", reason="needs the extra `view`")
PATIENCE = 120.0  # seconds; a step takes one or two where nothing else runs
SIZE = (1100, 760)
RED = WORDS.index("red ball")
PORT = 18480


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scene_module, "load_encoder", lambda name, progress=None: ToyEncoder())
        yield Scene.load(write_scene(tmp_path_factory.mktemp("live")))


@pytest.fixture(scope="module")
def viewer(scene):
    from gags.viewer.server import Viewer

    with Viewer(scene, words=WORDS, port=PORT) as viewer:
        yield viewer


@pytest.fixture
def page(viewer, browser):
    page = _open(viewer, browser)
    yield page
    page.context.close()
    assert page.wrong == []


def _open(viewer, browser):
    page = browser.new_context(viewport={"width": SIZE[0], "height": SIZE[1]}).new_page()
    page.set_default_timeout(1000 * PATIENCE)
    page.wrong = []
    page.on("pageerror", lambda error: page.wrong.append(str(error)))
    page.goto(viewer.url)
    page.locator("body[data-ready=true]").wait_for()
    _wait(lambda: np.ptp(_middle(page)) > 100, "the scene is drawn")
    return page


def _wait(condition, what: str) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, f"waited too long until {what}"
        time.sleep(0.1)


def _middle(page) -> np.ndarray:
    """Pixels of the middle of the picture. uint8 [H, W, 3]"""
    clip = {"x": 100, "y": 100, "width": 500, "height": 560}
    return np.asarray(Image.open(io.BytesIO(page.screenshot(clip=clip))).convert("RGB"))


def _changed(before: np.ndarray, after: np.ndarray) -> float:
    """Share of the pixels that differ clearly."""
    return float((abs(before.astype(int) - after).max(axis=-1) > 25).mean())


def _count(page) -> int:
    """How many Gaussians are selected."""
    return page.evaluate("gagsApp.history.now.selected ? gagsApp.history.now.selected.size : 0")


def _place(page, word: str) -> tuple[float, float, float]:
    """Where the middle of a ball is in the page, px, and about how large it is there."""
    toy = make_scene(12)
    means = toy.gaussians.means.numpy()[toy.owner == WORDS.index(word)].astype(float)
    project = "(p) => { const [x, y] = project(gagsApp.view.camera(), p); return [x, y]; }"
    places = np.array([page.evaluate(project, mean.tolist()) for mean in [means.mean(axis=0), *means[:20]]])
    return places[0, 0], places[0, 1], float(np.linalg.norm(places[1:] - places[0], axis=1).max())


def _row(page, name: str):
    return page.get_by_role("treeitem").filter(has_text=name).first


def test_a_text_glows_and_what_is_found_is_gone_to(page):
    plain = _middle(page)
    page.locator("#text").fill("red ball")
    page.get_by_text("1 found, score").wait_for()
    _wait(lambda: _changed(plain, _middle(page)) > 0.02, "the answer glows")
    page.locator("#text").press("Enter")
    _wait(lambda: _count(page) > 50, "the instance is selected")
    _wait(lambda: page.evaluate("gagsApp.controls.flight === null"), "the camera is there")
    x, y, _ = _place(page, "red ball")
    middle = page.evaluate("[gagsApp.canvas.clientWidth / 2, gagsApp.canvas.clientHeight / 2]")
    np.testing.assert_allclose([x, y], middle, atol=60)
    page.locator("#text").fill("tractor")
    page.get_by_text("Nothing in the scene matches “tractor”").wait_for()


def test_a_film_is_saved_with_and_without_what_a_text_matches(page, tmp_path):
    page.locator("#text").fill("red ball")
    page.locator("#text").press("Enter")
    page.locator("#layers .layer").wait_for()
    page.evaluate("gagsApp.controls.goTo(gagsApp.view.home, 0)")
    page.evaluate("() => { for (const one of document.querySelectorAll('details')) one.open = true; }")
    for label, value in (("width", 160), ("height", 96), ("seconds", 0.5), ("frames a second", 10)):
        page.get_by_label(label, exact=True).fill(str(value))
        page.get_by_label(label, exact=True).press("Tab")
    for _ in range(2):
        page.get_by_role("button", name="Add this view (K)").click()

    def film() -> list[np.ndarray]:
        with page.expect_download() as saved:
            page.get_by_role("button", name="Render as mp4").click()
        assert saved.value.suggested_filename.endswith("-film.mp4")
        saved.value.save_as(tmp_path / "film.mp4")
        reader, frames = cv2.VideoCapture(str(tmp_path / "film.mp4")), []
        while (read := reader.read())[0]:
            frames.append(read[1].astype(int))
        return frames

    plain = film()
    page.get_by_label("Show what texts match").check()
    glowing = film()
    assert len(plain) == len(glowing) == 5
    assert plain[0].shape == (96, 160, 3)
    x, y = page.evaluate(
        "(p) => { const [x, y] = project(gagsApp.view.camera(160, 96), p); return [x, y].map(Math.round); }",
        make_scene(12).gaussians.means[make_scene(12).owner == RED].mean(dim=0).tolist(),
    )
    changed = abs(glowing[2] - plain[2]).max(axis=-1)
    assert changed[y - 2 : y + 3, x - 2 : x + 3].mean() > 60
    assert (changed > 40).mean() < 0.2


def test_the_start_is_upright(page):
    top, foot = (page.evaluate(f"project(gagsApp.view.camera(), [0, 0, {z}])") for z in (1, 0))
    assert top[1] < foot[1]
    assert top[0] == pytest.approx(foot[0], abs=0.02 * abs(top[1] - foot[1]))


def test_the_list_selects_cuts_out_undoes_and_redoes(page, tmp_path):
    _row(page, "red ball").locator(".name").first.click()
    _wait(lambda: _count(page) > 50, "the thing is selected")
    count = _count(page)
    page.locator("summary").filter(has_text="Take away").click()
    with page.expect_download() as download:
        page.get_by_role("button", name="Save selection").click()
    download.value.save_as(tmp_path / "cut.ply")
    cut = load_ply(tmp_path / "cut.ply")
    assert len(cut) == count
    np.testing.assert_allclose(cut.means.mean(dim=0), [1, 1, 0.4], atol=0.15)
    page.evaluate("gagsApp.remove()")
    hidden = "gagsApp.hiddenFlags().reduce((a, b) => a + b, 0)"
    _wait(lambda: page.evaluate(hidden) == count, "the thing is deleted")
    page.evaluate("gagsApp.undo(false)")
    assert page.evaluate(hidden) == 0
    page.evaluate("gagsApp.undo(true)")
    assert page.evaluate(hidden) == count
    with page.expect_download() as download:
        page.get_by_role("button", name="Save scene with changes").click()
    download.value.save_as(tmp_path / "rest.ply")
    assert len(load_ply(tmp_path / "rest.ply")) == len(make_scene(12).gaussians) - count
    with page.expect_download() as download:
        page.get_by_role("button", name="Save picture").click()
    download.value.save_as(tmp_path / "view.png")
    assert Image.open(tmp_path / "view.png").size == (1920, 1080)


@pytest.mark.slow
def test_a_lasso_around_a_ball_holds_it_and_names_it(page):
    x, y, radius = _place(page, "blue ball")
    page.evaluate("gagsApp.setTool('lasso')")
    around = [
        (x + 1.3 * radius * np.cos(a), y + 1.3 * radius * np.sin(a)) for a in np.linspace(0, 2 * np.pi, 16)
    ]
    page.mouse.move(*around[0])
    page.mouse.down()
    for place in around[1:]:
        page.mouse.move(*place)
    page.mouse.up()
    _wait(lambda: _count(page) > 20, "the lasso selects")
    order = "Array.from(gagsApp.history.now.selected.rows(), (g) => gagsApp.splats.mean(g))"
    means = np.array(page.evaluate(order))
    centre = (
        make_scene(12).gaussians.means.numpy()[make_scene(12).owner == WORDS.index("blue ball")].mean(axis=0)
    )
    assert (np.linalg.norm(means - centre, axis=1) < 0.6).mean() > 0.5


def test_a_known_length_is_kept_in_the_scene(page, scene):
    page.locator("summary").filter(has_text="Measure").click()
    page.evaluate("gagsApp.setTool('measure')")
    for word in ("red ball", "green ball"):
        x, y, _ = _place(page, word)
        page.mouse.click(x, y)
    _wait(lambda: page.evaluate("gagsApp.measure.distances.length") == 1, "two points are measured")
    measured = page.evaluate("length(sub(...gagsApp.measure.distances[0]))")
    assert measured == pytest.approx(2, abs=0.6)  # the balls' centres are 2 apart, each 0.4 large
    page.get_by_label("Known length", exact=True).fill("50")
    page.get_by_label("Unit of the known length").fill("cm")
    page.get_by_role("button", name="Set the scale").click()
    _wait(lambda: scene.frame.unit is not None, "the unit is kept")
    assert scene.frame.unit.per_scene_unit == pytest.approx(50 / measured)
    page.get_by_text("50 cm").first.wait_for()
    scene.forget_unit()


def test_what_is_up_is_kept_in_the_scene(page, scene):
    page.evaluate("gagsApp.keepUp([0, 0.6, 0.8])")
    try:
        _wait(lambda: scene.frame.up is not None, "up is kept")
        np.testing.assert_allclose(scene.frame.up, [0, 0.6, 0.8])
    finally:
        scene.set_up(None)


@pytest.mark.slow
def test_a_corrected_name_is_found_in_every_browser(page, viewer, browser, scene):
    other = _open(viewer, browser)
    _row(page, "yellow ball").locator(".thing").hover()
    page.get_by_label("Rename yellow ball").click()
    page.get_by_label("New name of yellow ball").fill("Oma's lemon")
    page.get_by_label("New name of yellow ball").press("Enter")
    _wait(lambda: scene.taught.names() == ["Oma's lemon"], "the name is kept")
    try:
        for asking in (page, other):
            asking.locator("#text").fill("oma's lemon")
            asking.get_by_text("1 found, score").wait_for()
        _row(page, "Oma's lemon").wait_for()
        page.evaluate("gagsApp.history.go('x', {selected: null})")
        assert other.evaluate("gagsApp.history.steps.length") == 1  # what one does, the other does not see
    finally:
        scene.forget("Oma's lemon")
        other.context.close()


@pytest.mark.slow
def test_a_server_that_is_gone_is_said_and_comes_back(scene, browser):
    from gags.viewer.server import Viewer

    first = Viewer(scene, words=WORDS, port=PORT + 50)
    page = _open(first, browser)
    first.stop()
    page.get_by_text("The server is gone.").wait_for()
    page.locator("#text").fill("red ball")
    with Viewer(scene, words=WORDS, port=first.port) as second:
        assert second.port == first.port
        page.get_by_text("The server is back.").wait_for()
        page.locator("#text").fill("blue ball")
        page.get_by_text("1 found, score").wait_for()
    page.context.close()


@pytest.mark.slow
def test_what_was_not_answered_is_asked_again_when_the_server_is_back(scene, browser, monkeypatch):
    from gags.viewer import answers
    from gags.viewer.server import Viewer

    first = Viewer(scene, words=WORDS, port=PORT + 70)
    ended = threading.Event()
    things = answers.ANSWERS["things"]

    def late(*asked):
        assert ended.wait(PATIENCE)
        return things(*asked)

    monkeypatch.setitem(answers.ANSWERS, "things", late)
    page = browser.new_page()
    page.set_default_timeout(1000 * PATIENCE)
    page.goto(first.url)
    page.locator("body[data-server]").or_(page.get_by_text("are being found")).first.wait_for()
    _wait(lambda: page.evaluate("window.gagsApp?.splats?.arrived === gagsApp.scene.count"), "it arrived")
    first.stop()
    ended.set()
    page.get_by_text("The server is gone.").wait_for()
    with Viewer(scene, words=WORDS, port=first.port):
        _row(page, "red ball").first.wait_for()
    page.context.close()


@pytest.mark.slow
def test_a_scene_of_a_million_gaussians_opens(scene, browser, tmp_path):
    from gags.viewer.server import Viewer

    rows = torch.arange(1_000_000) % len(scene.gaussians)
    many = scene.gaussians[rows]
    many.means = many.means + 0.02 * torch.randn(many.means.shape, generator=torch.Generator().manual_seed(1))
    many.log_scales = many.log_scales - 1
    field = LanguageField(scene.field.features[rows], scene.field.decoder, "toy", splats_hash(many))
    large = Scene(Workspace.create(tmp_path / "large"), scene.capture, many, field)
    owner = make_scene(12).owner[rows.numpy()]
    large._things = Things.build(np.arange(len(rows)), owner, [np.arange(12)] * len(WORDS))
    with Viewer(large, words=WORDS, port=PORT + 90) as viewer:
        page = browser.new_page()
        page.set_default_timeout(3000 * PATIENCE)  # its things are found and framed meanwhile
        wrong = []
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.goto(viewer.url)
        _wait(lambda: page.evaluate("window.gagsApp?.splats?.arrived") == len(rows), "all are there")
        page.locator("#text").fill("red ball")
        page.get_by_text("1 found, score").wait_for()
        page.locator("#text").press("Enter")
        share = (owner == RED).mean()
        _wait(lambda: _count(page) > 0.8 * share * len(rows), "the instance is selected")
        assert _count(page) < 1.25 * share * len(rows)
        page.context.close()
        assert wrong == []


def test_no_name_becomes_markup(page, scene, viewer, browser):
    evil = "<img src=x onerror=alert(1)>"
    page.evaluate("(name) => gagsApp.backend.rename(1, name)", evil)
    try:
        other = _open(viewer, browser)
        other.get_by_text(evil).first.wait_for()
        assert other.locator("img[src=x]").count() == 0
        other.context.close()
    finally:
        scene.forget(evil)
