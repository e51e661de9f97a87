"""One browser, and one exported page, for all tests of the page."""

import shutil

import pytest
from tests.helpers.blobs import WORDS, ToyEncoder
from tests.helpers.finished_scene import write_scene

import gags
from gags import scene as scene_module
from gags.scene import Scene

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
ARGUMENTS = ("--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader")
PATIENCE_MS = 60_000  # for any one step; each takes a second or two where nothing else runs
NASTY = '<img src=x onerror="document.title=1">'
SIZE = {"width": 900, "height": 640}


@pytest.fixture(scope="session")
def browser():
    """A headless Chromium that draws in software."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright, of the extra `dev`")
    if CHROMIUM is None:
        pytest.skip("needs chromium or google-chrome on the PATH")
    with sync_api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path=CHROMIUM, args=list(ARGUMENTS), timeout=PATIENCE_MS
        )
        yield chromium
        chromium.close()


@pytest.fixture(scope="session")
def scene(tmp_path_factory):
    """The balls, with colours that change with the direction."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scene_module, "load_encoder", lambda name, progress=None: ToyEncoder())
        scene = Scene.load(write_scene(tmp_path_factory.mktemp("page"), degree=3))
        assert scene.encoder.name == "toy"  # which keeps it
    return scene


@pytest.fixture(scope="session")
def exported(scene, tmp_path_factory):
    """The page of the scene, as a file."""
    return gags.export_page(scene, tmp_path_factory.mktemp("out") / "page.html", words=[*WORDS, NASTY])


@pytest.fixture(scope="session")
def opened(exported, browser):
    """The page, opened once: what a test changes is put back by `page`, or by itself."""
    context = browser.new_context(viewport=SIZE, offline=True, reduced_motion="reduce")
    page = context.new_page()
    page.set_default_timeout(PATIENCE_MS)
    page.asked_for, page.errors = [], []
    page.on("request", lambda request: page.asked_for.append(request.url))
    page.on("pageerror", lambda error: page.errors.append(str(error)))
    page.on("console", lambda message: message.type == "error" and page.errors.append(message.text))
    page.goto(exported.path.as_uri())
    page.locator("body[data-ready=true]").wait_for()
    page.evaluate(
        "() => { window.namesAtFirst = new Map(gagsApp.things.listed.map(({ id, name }) => [id, name])); }"
    )
    yield page
    context.close()


@pytest.fixture
def page(opened):
    """The page as it is at first."""
    yield opened
    assert opened.errors == []
    opened.mouse.move(0, 0)
    opened.evaluate(
        """() => { const { history, texts, things, controls, view, canvas, backend, list } = gagsApp;
        history.jump(0); gagsApp.setTool("point"); texts.layers = []; texts.fill("");
        for (const [id, name] of namesAtFirst) things.byId.get(id).name = name;
        memory.set(backend._key, backend.renamed = {}); list.show();
        controls.goTo(view.home, 0); canvas.focus(); }"""
    )
