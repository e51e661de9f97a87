"""The exported page as people use it: opened from a file, without a network, in a headless Chromium."""

import base64
import io
import math
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from tests.helpers.blobs import WORDS, make_scene
from tests.viewer.conftest import NASTY, PATIENCE_MS, SIZE
from tests.viewer.pointing import click, drag, place_of, selected

import gags
from gags.capture.camera import Camera
from gags.errors import FileError
from gags.gaussians import render
from gags.query.edit import painted
from gags.viewer.payload import Packed


def picture(page, camera: Camera) -> np.ndarray:
    """What the page draws in a camera, on black. uint8 [H, W, 3]"""
    given = {
        "viewmat": camera.viewmat.ravel().tolist(),
        "fx": camera.K[0, 0],
        "fy": camera.K[1, 1],
        "cx": camera.K[0, 2],
        "cy": camera.K[1, 2],
        "width": camera.width,
        "height": camera.height,
    }
    url = page.evaluate(
        """(camera) => { gagsApp.renderer.background = [0, 0, 0];
        return gagsApp.still(camera, false, (canvas) => canvas.toDataURL()); }""",
        given,
    )
    page.evaluate("() => gagsApp._background()")
    png = base64.b64decode(url.partition(",")[2])
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))


def rendered(gaussians, camera: Camera) -> np.ndarray:
    """What gags' own rasteriser draws. uint8 [H, W, 3]"""
    colors = render(gaussians, camera).colors.clamp(0, 1)
    return (255 * colors).round().byte().numpy()


def test_colours_are_those_of_the_rasteriser(scene, page):
    camera = make_scene(12).cameras[3].resized(320, 240)
    drawn, truth = picture(page, camera), rendered(scene.gaussians, camera)
    assert truth.std() > 30
    assert abs(drawn.astype(int) - truth).mean() <= 2  # of 255


def test_painting_keeps_shading_as_python_does(scene, page):
    camera = make_scene(12).cameras[3].resized(320, 240)
    page.evaluate(
        """() => { const app = gagsApp, id = app.things.listed[0].id;
        app.selectThing(id); app.selectedSheet.color.value = "#20c040"; app.paint(); }"""
    )
    rows = page.evaluate("() => [...gagsApp.history.now.edits[0].bits.rows()]")
    order = Packed.of(scene.gaussians).order
    mask = torch.zeros(len(scene.gaussians), dtype=torch.bool)
    mask[torch.from_numpy(order[rows])] = True
    truth = rendered(painted(scene.gaussians, mask, (0x20 / 255, 0xC0 / 255, 0x40 / 255)), camera)
    assert abs(rendered(scene.gaussians, camera).astype(int) - truth).mean() > 4  # it is painted
    assert abs(picture(page, camera).astype(int) - truth).mean() <= 2


def test_the_first_view_is_upright_and_shows_the_scene(page):
    right, up = page.evaluate("() => [gagsApp.view.camera().viewmat.slice(0, 3), gagsApp.scene.up]")
    assert abs(np.dot(right, up)) < 1e-6
    np.testing.assert_allclose(up, [0, 0, 1], atol=0.02)  # the floor's normal
    for word in WORDS[1:]:
        x, y = place_of(page, word)
        assert 0 < x < SIZE["width"] - 340
        assert 0 < y < SIZE["height"]
    assert not page.locator("#cameras").is_checked()


def test_a_word_is_searched_without_a_network(scene, page):
    (best, *_) = scene.locate("green ball")[0]
    page.locator("#text").fill("green balls")
    page.get_by_text(f"found, score {best.score:.2f}").wait_for()
    page.locator("#text").press("Enter")
    page.locator("#layers .layer").wait_for()
    truth = make_scene(12).owner == WORDS.index("green ball")
    assert 0.8 * truth.sum() < selected(page) < 1.25 * truth.sum()
    box = page.evaluate("() => gagsApp.history.now.info.boxes[0]")
    np.testing.assert_allclose(box["center"], best.box.center, atol=1e-3)
    assert page.asked_for[0] == page.url
    assert all(url.startswith(("blob:", "data:")) for url in page.asked_for[1:])


@pytest.mark.parametrize(
    ("text", "answer"),
    [("gren ball", "is “green ball”"), ("my green balls", "is “green ball”"), ("zzzzyx", "is not among")],
)
def test_what_is_not_on_the_list_is_said(page, text, answer):
    page.locator("#text").fill(text)
    page.locator("#answer").get_by_text(answer).wait_for()


def test_a_click_selects_and_one_beside_unselects(page):
    click(page, "red ball")
    page.locator("#selected strong").wait_for()
    truth = int((make_scene(12).owner == WORDS.index("red ball")).sum())
    assert 0.8 * truth < selected(page) < 1.25 * truth
    assert page.locator("[role=treeitem][aria-selected=true]").count() == 1
    page.mouse.click(300, 5)
    page.get_by_text("Click on a thing").wait_for()
    assert selected(page) == 0
    page.keyboard.press("Control+z")  # what is drawn, the box, and the list are one state
    assert 0.8 * truth < selected(page) < 1.25 * truth
    assert page.evaluate("() => gagsApp.renderer.look.highlight")


def test_the_list_selects_frames_hides_and_renames(page):
    line = page.locator("#things .thing", has_text="blue ball").first
    line.locator(".name").click()
    thing = page.evaluate("() => gagsApp.history.now.info.thing")
    target = page.evaluate("() => gagsApp.view.target")
    center = page.evaluate("(id) => gagsApp.things.byId.get(id).box.center", thing)
    np.testing.assert_allclose(target, center, atol=1e-3)
    line.get_by_role("button", name="Hide blue ball").click()
    hidden = page.evaluate("() => gagsApp.hiddenFlags().reduce((a, b) => a + b, 0)")
    assert hidden == selected(page) > 50
    line.locator(".name").dblclick()
    box = page.get_by_role("textbox", name="New name of blue ball")
    box.fill(NASTY)
    box.press("Enter")
    page.locator("#things .name", has_text=NASTY).first.wait_for()
    assert page.locator("#things img[src=x]").count() == 0
    page.locator("#text").fill(NASTY)
    page.locator("#answer", has_text="1 found").wait_for()


def test_lasso_adds_and_takes_away(page):
    x, y = place_of(page, "red ball")
    size = 70
    around = [(x + size * math.cos(a), y + size * math.sin(a)) for a in np.linspace(0, 5.6, 8)]
    page.keyboard.press("l")
    drag(page, around)
    truth = make_scene(12).owner == WORDS.index("red ball")
    first = selected(page)
    assert first > 0.35 * truth.sum()  # what is in front
    click_word = place_of(page, "green ball")
    page.keyboard.press("v")
    page.keyboard.down("Shift")
    page.mouse.click(*click_word)
    page.keyboard.up("Shift")
    page.wait_for_timeout(50)
    assert selected(page) > first + 50
    page.keyboard.press("l")
    page.keyboard.down("Alt")
    drag(page, around)
    page.keyboard.up("Alt")
    assert selected(page) < first + 81
    labels = page.evaluate("() => gagsApp.history.steps.map((step) => step.label)")
    assert [label.split(" ")[0] for label in labels] == ["Start", "Select", "Add", "Take"]


def test_grow_shrink_invert_delete_undo_redo(page):
    click(page, "yellow ball")
    page.locator("#selected strong").wait_for()
    before = selected(page)
    page.keyboard.press("i")
    assert selected(page) == 300 + 24 + 4 * 80 - before
    page.keyboard.press("i")
    page.keyboard.press("Delete")
    assert page.evaluate("() => gagsApp.hiddenFlags().reduce((a, b) => a + b, 0)") == before
    page.keyboard.press("Control+z")
    assert selected(page) == before
    page.keyboard.press("Control+Shift+z")
    assert selected(page) == 0
    page.keyboard.press("Control+z")
    for _ in range(40):
        page.keyboard.press("+")
    grown = selected(page)
    assert grown >= before
    page.keyboard.press("-")
    assert selected(page) <= grown


def test_storms_of_undo_and_redo_keep_one_state(page):
    told = page.evaluate(
        """() => { const app = gagsApp, { history } = app, ids = app.things.listed.map((thing) => thing.id);
        let seed = 1; const random = (n) => (seed = (seed * 48271) % 2147483647) % n;
        const wrong = [];
        for (let k = 0; k < 400; k++) {
          const id = ids[random(ids.length)];
          [() => app.selectThing(id), () => app.undo(false), () => app.undo(true), () => app.remove(),
           () => app.paint(), () => app.toggleHidden(id), () => app.chooser.invert(),
           () => history.jump(random(history.steps.length))][random(8)]();
          const { selected } = history.now, { states } = app.renderer;
          let marked = 0;
          for (let g = 0; g < app.scene.count; g++) marked += states[4 * g + 2] & SELECTED;
          if (marked !== (selected?.size ?? 0)) wrong.push([k, marked, selected?.size]);
          if (app.renderer.look.highlight !== (selected !== null)) wrong.push([k, "highlight"]);
        }
        while (history.undo());
        return { wrong, steps: history.steps.length, hidden: app.hiddenFlags().reduce((a, b) => a + b, 0),
          painted: app.renderer.states.filter((v, k) => k % 4 === 3 && v).length, at: history.at,
          shown: document.querySelectorAll("#steps li").length };
        }"""
    )
    assert told["wrong"] == []
    assert 2 < told["steps"] == told["shown"] <= 101
    assert told["at"] == 0


def test_the_help_begins_at_its_beginning(page):
    page.keyboard.press("?")
    heading = page.get_by_role("heading", name="Keys and gestures").bounding_box()
    assert 0 <= heading["y"] < 200
    page.get_by_role("button", name="Close", exact=True).click()


def test_box_and_sphere_are_drawn_and_set_by_numbers(page):
    x, y = place_of(page, "red ball")
    toy = make_scene(12)
    for key, name in (("b", "width"), ("o", "radius")):
        page.keyboard.press(key)
        drag(page, [(x, y), (x + 60, y)])
        shape = page.evaluate("() => gagsApp.chooser.shape")
        means = toy.gaussians.means.numpy() - shape["center"]
        if name == "width":
            inside = (abs(means @ np.array(shape["axes"]).T) <= np.array(shape["size"]) / 2).all(axis=1)
        else:
            inside = np.linalg.norm(means, axis=1) <= shape["radius"]
        assert selected(page) == inside.sum() > 5
        page.evaluate("() => { for (const one of document.querySelectorAll('details')) one.open = true; }")
        field = page.locator("details", has_text="Choose by hand").get_by_label(name)
        field.fill("100")
        field.press("Enter")
        assert selected(page) > inside.sum()


@pytest.mark.parametrize("key", ["b", "o"])
def test_box_and_sphere_leave_out_what_is_hidden_and_need_a_drag(page, key):
    x, y = place_of(page, "red ball")
    page.keyboard.press(key)
    drag(page, [(x, y), (x + 60, y)])
    assert selected(page) > 5
    page.evaluate("() => gagsApp.history.jump(0)")
    x, y = place_of(page, "green ball")
    drag(page, [(x, y), (x + 2, y)])  # a click by a hand that trembles
    assert selected(page) == 0
    page.evaluate("() => { gagsApp.toggleHidden(gagsApp.things.listed[0].id); }")
    hidden = page.evaluate("() => [...gagsApp.things.bits(gagsApp.things.listed[0].id).rows()]")
    page.evaluate("() => { gagsApp.chooser.shape.size = [99, 99, 99]; gagsApp.chooser.shape.radius = 99; }")
    page.evaluate("() => gagsApp.chooser.applyShape()")
    everything = page.evaluate("() => gagsApp.scene.count")
    assert selected(page) == everything - len(hidden) < everything


def test_a_distance_is_measured_and_sets_the_scale(page):
    page.keyboard.press("m")
    places = [place_of(page, word) for word in ("red ball", "green ball")]
    for place in places:
        page.mouse.click(*place)
    points = np.array(page.evaluate("() => gagsApp.measure.points"))
    length = float(np.linalg.norm(points[0] - points[1]))
    assert 1.0 < length < 3.0  # the balls are 2 apart, 0.4 is their radius
    page.evaluate("() => { for (const one of document.querySelectorAll('details')) one.open = true; }")
    page.get_by_text(f"1: {float(f'{length:.3g}'):g} units").wait_for()
    page.get_by_label("Known length", exact=True).fill("50")
    page.get_by_label("Unit of the known length").fill("cm")
    page.get_by_role("button", name="Set the scale").click()
    page.get_by_text("1: 50 cm").wait_for()
    page.evaluate("() => { gagsApp.scene.unit = null; gagsApp.measure.clear(); }")


def test_what_moves_keeps_the_horizon_and_comes_home(page):
    before = page.evaluate("() => gagsApp.view.position")
    drag(page, [(300, 300), (320, 310), (380, 340)])
    page.mouse.wheel(0, 200)
    after = page.evaluate("() => [gagsApp.view.position, gagsApp.view.camera().viewmat.slice(0, 3)]")
    assert np.linalg.norm(np.subtract(after[0], before)) > 0.3
    assert abs(after[1][2]) < 0.02  # the picture's horizontal is level
    page.keyboard.press("h")
    np.testing.assert_allclose(page.evaluate("() => gagsApp.view.position"), before, atol=1e-5)


def test_a_path_goes_through_its_key_views(page):
    page.keyboard.press("k")
    first = page.evaluate("() => gagsApp.view.position")
    drag(page, [(300, 300), (320, 300), (400, 300)])
    page.keyboard.press("k")
    ends = page.evaluate("() => [0, 1].map((t) => alongPath(gagsApp.output.keys, t).position)")
    np.testing.assert_allclose(ends[0], first, atol=1e-6)
    np.testing.assert_allclose(ends[1], page.evaluate("() => gagsApp.view.position"), atol=1e-6)
    page.evaluate("() => { gagsApp.output.keys = []; gagsApp.output._show(); }")


def test_a_picture_of_any_size_is_saved_with_transparency(page):
    page.evaluate("() => { for (const one of document.querySelectorAll('details')) one.open = true; }")
    page.get_by_label("Transparent background").check()
    page.evaluate("() => { gagsApp.output.size = [200, 120]; }")
    with page.expect_download() as download:
        page.get_by_role("button", name="Save picture").click()
    saved = np.asarray(Image.open(download.value.path()))
    assert saved.shape == (120, 200, 4)
    assert saved[..., 3].min() < 10
    assert saved[..., 3].max() > 240


def test_a_phone_gets_a_search_field(exported, browser):
    context = browser.new_context(viewport={"width": 390, "height": 844}, offline=True)
    page = context.new_page()
    page.set_default_timeout(PATIENCE_MS)
    page.goto(exported.path.as_uri())
    page.locator("body[data-ready=true]").wait_for()
    assert page.locator("#text").is_visible()
    assert not page.locator("#things").is_visible()
    stage = page.locator("#stage").bounding_box()
    assert (stage["width"], stage["height"]) == (390, 844)
    for tool in page.locator("#tools button").all():
        place = tool.bounding_box()
        assert 10 <= place["x"] <= 380 - place["width"]  # none has to be looked for
    page.get_by_role("button", name="Show or hide the panel").click()
    assert page.locator("#things").is_visible()
    context.close()


def test_an_export_needs_no_extra_and_replaces_nothing_in_vain(scene, tmp_path, monkeypatch):
    for name in ("fastapi", "uvicorn", "websockets"):
        monkeypatch.setitem(sys.modules, name, None)
    written = gags.export_page(scene, tmp_path / "page.html", words=WORDS)
    assert written.size == written.path.stat().st_size
    with pytest.raises(FileError, match=r"page\.html") as told:
        gags.export_page(scene, written.path / "page.html", words=WORDS)  # below a file
    assert "\n" not in str(told.value)
    assert written.size == written.path.stat().st_size
