"""What is found, pointed at, chosen and switched on in the exported page is what the page shows."""

import pytest
from tests.viewer.pointing import click, drag, place_of, selected

OUTSIDE = "It lies outside the picture."


def thing_of(page, name: str) -> int:
    """The number of a listed thing."""
    return page.evaluate("(name) => gagsApp.things.listed.find((thing) => thing.name === name).id", name)


def in_picture(page, thing: int) -> bool:
    """Whether the whole box of a thing lies in the picture."""
    return page.evaluate(
        """(id) => { const camera = gagsApp.view.camera(), box = gagsApp.things.byId.get(id).box;
        return corners(box).every((corner) => { const [x, y, z] = project(camera, corner);
          return z > 0 && x > 0 && y > 0 && x < camera.width && y < camera.height; }); }""",
        thing,
    )


def look_away(page) -> None:
    """Turn around where the camera is."""
    page.evaluate(
        """() => { const { controls, view } = gagsApp, { position, target } = view.home;
        controls.goTo({ position, target: sub(times(position, 2), target) }, 0); }"""
    )


def test_what_lies_outside_the_picture_is_framed_one_after_the_other(page):
    both = [thing_of(page, name) for name in ("red ball", "blue ball")]
    for thing in both:
        page.evaluate("(id) => gagsApp.rename(gagsApp.things.byId.get(id), 'toy')", thing)
    look_away(page)
    assert not any(in_picture(page, thing) for thing in both)
    page.locator("#text").fill("toy")
    page.locator("#answer", has_text=f"2 found, score 1.00. {OUTSIDE}").wait_for()
    page.get_by_role("button", name="Show it").wait_for()
    order = page.evaluate("() => gagsApp.texts.draft.answer.instances.map((one) => one.thing)")
    assert sorted(order) == sorted(both)
    for number in (0, 1, 0):
        page.locator("#text").press("Enter")
        page.locator("#answer", has_text=f"shown: {number + 1}").wait_for()
        assert page.evaluate("() => gagsApp.history.now.info.thing") == order[number]
        assert in_picture(page, order[number])
    assert page.locator("#answer", has_text=OUTSIDE).count() == 0


def test_an_offer_to_show_goes_by_where_one_looks_now(page):
    page.locator("#text").fill("red ball")
    page.get_by_role("button", name="Go there").wait_for()
    look_away(page)
    page.locator("#answer", has_text=OUTSIDE).wait_for()
    page.evaluate("() => gagsApp.controls.goTo(gagsApp.view.home, 0)")
    page.get_by_role("button", name="Go there").wait_for()
    look_away(page)
    page.get_by_role("button", name="Show it").click()
    page.get_by_role("button", name="Frame it").wait_for()
    assert in_picture(page, thing_of(page, "red ball"))


def lit(page) -> list[int]:
    """The Gaussians that are lit up, in the page's order."""
    return page.evaluate(
        """() => Array.from({ length: gagsApp.scene.count }, (_, g) => g)
        .filter((g) => gagsApp.renderer.states[4 * g + 2] & HOVERED)"""
    )


def yellow(page) -> int:
    """How many pixels of the picture have the colour of what is lit up."""
    return page.evaluate(
        """() => gagsApp.still(gagsApp.view.camera(), false, () => {
        const p = gagsApp.renderer.pixels(); let sum = 0;
        const is = (r, g, b) => r > 110 && g > 90 && b < 0.75 * g;
        for (let k = 0; k < p.length; k += 4) sum += is(p[k], p[k + 1], p[k + 2]);
        return sum; })"""
    )


def row(page, name: str):
    return page.locator("#things .thing", has_text=name).first


def test_a_row_under_the_pointer_lights_its_thing_up(page):
    things = [thing_of(page, name) for name in ("blue ball", "green ball")]
    before = yellow(page)
    for thing, name in zip(things, ("blue ball", "green ball"), strict=True):
        row(page, name).hover()
        assert lit(page) == page.evaluate("(id) => [...gagsApp.things.bits(id).rows()]", thing)
        assert len(lit(page)) > 50
    assert yellow(page) > before + 300
    page.mouse.move(300, 300)
    assert lit(page) == []
    assert yellow(page) == before


def test_the_filter_keeps_the_rows_that_match(page):
    field = page.get_by_role("searchbox", name="Filter the list")
    names = page.locator("#things .name")
    green, red = (thing_of(page, name) for name in ("green ball", "red ball"))
    page.evaluate("(id) => gagsApp.rename(gagsApp.things.byId.get(id), 'Lime')", green)
    page.evaluate("() => gagsApp.list.show()")
    every = names.all_inner_texts()
    assert {"red ball", "Lime"} < set(every)
    row(page, "red ball").hover()
    of_red = page.evaluate("(id) => [...gagsApp.things.bits(id).rows()]", red)
    assert lit(page) == of_red
    field.fill("LIM")
    assert names.all_inner_texts() == ["Lime"]
    assert not set(of_red) & set(lit(page))  # its row is gone from under the pointer
    field.fill("zzz")
    page.get_by_text("has “zzz” in its name").wait_for()
    assert names.count() == 0
    assert lit(page) == []
    field.fill("")
    assert names.all_inner_texts() == every


def test_a_row_that_another_name_matches_says_which(page):
    green = thing_of(page, "green ball")
    page.evaluate("(id) => { gagsApp.things.byId.get(id).names.push(['<b>emerald', 0.4]); }", green)
    field, names = page.get_by_role("searchbox", name="Filter the list"), page.locator("#things .name")
    try:
        field.fill("EMER")
        assert names.all_inner_texts() == ["green ball or “<b>emerald”"]
        assert "green ball, or <b>emerald," in page.get_by_role("treeitem").get_attribute("aria-label")
        field.fill("green")
        first, *others = names.all_inner_texts()
        assert first == "green ball"
        assert "blue ball or “green ball”" in others
    finally:
        page.evaluate("(id) => { gagsApp.things.byId.get(id).names.pop(); }", green)
        field.fill("")


@pytest.mark.parametrize("wait", [0, 300])
def test_enter_waits_for_an_answer_that_is_on_the_way(page, wait):
    """A text is asked 180 ms after the last key, or at Enter, whichever comes first."""
    page.evaluate(
        """() => { const { backend } = gagsApp, { ask } = backend; window.asked = 0;
        backend.ask = async (text) => {
          window.asked += 1;
          await new Promise((go) => setTimeout(go, 900));
          return ask.call(backend, text); };
        window.putBack = () => { backend.ask = ask; }; }"""
    )
    try:
        page.locator("#text").fill("red ball")
        page.wait_for_timeout(wait)
        page.locator("#text").press("Enter")
        page.locator("#layers .layer").wait_for()
        page.wait_for_function("() => gagsApp.history.now.selected?.size > 50")
        assert page.evaluate("() => window.asked") == 1
    finally:
        page.evaluate("() => window.putBack()")


def test_a_text_less_a_lasso_leaves_what_lies_outside_it(page):
    page.locator("#text").fill("red ball")
    page.locator("#text").press("Enter")
    page.locator("#layers .layer").wait_for()
    page.locator("#layers").get_by_role("button", name="Select red ball").click()
    before = selected(page)
    x, y = place_of(page, "red ball")
    outline = [(x, y - 300), (x + 300, y - 300), (x + 300, y + 300), (x, y + 300)]  # its right half
    page.keyboard.press("l")
    page.keyboard.down("Alt")
    drag(page, outline)
    page.keyboard.up("Alt")
    places = page.evaluate(
        """() => { const camera = gagsApp.view.camera();
        return Array.from(gagsApp.history.now.selected.rows(),
          (g) => project(camera, gagsApp.splats.mean(g))); }"""
    )
    assert 0.2 * before < len(places) < 0.8 * before
    assert max(place[0] for place in places) < x + 2  # px; as finely as an outline is drawn


def test_nothing_is_dimmed_where_colours_are_read_or_lengths_measured(page):
    click(page, "red ball")
    page.locator("#selected strong").wait_for()
    beside = "() => gagsApp.renderer.beside"
    assert page.evaluate(beside) < 0.6
    page.evaluate("() => { for (const one of document.querySelectorAll('details')) one.open = true; }")
    x, y = (round(place) for place in place_of(page, "green ball"))
    shown = page.get_by_label("What colours show")

    def drawn() -> list[int]:
        return page.evaluate(
            """([x, y]) => gagsApp.still(gagsApp.view.camera(), false, () => {
            const { width } = gagsApp.canvas, at = 4 * (y * width + x);
            return [...gagsApp.renderer.pixels().slice(at, at + 3)]; })""",
            [x, y],
        )

    try:
        for mode in ("granularity", "depth", "things"):
            shown.select_option(mode)
            page.wait_for_function("(mode) => gagsApp.renderer.look.mode === mode", arg=mode)
            assert selected(page) > 0
            assert page.evaluate(beside) == 1
            with_selection = drawn()
            page.evaluate("() => gagsApp.history.undo()")
            assert with_selection == drawn()
            page.evaluate("() => gagsApp.history.redo()")
    finally:
        shown.select_option("colour")
    dimmed = drawn()
    assert page.evaluate(beside) < 0.6
    page.keyboard.press("m")
    assert page.evaluate(beside) == 1
    assert sum(drawn()) > 1.5 * sum(dimmed)
    page.keyboard.press("v")
    assert page.evaluate(beside) < 0.6
    assert drawn() == dimmed


def test_grid_and_axes_are_switched_on_and_off(page):
    page.evaluate("() => { for (const one of document.querySelectorAll('details')) one.open = true; }")
    box = page.get_by_label("Grid and axes (G)")

    def lines() -> int:
        """Pixels that are drawn over the picture."""
        return page.evaluate(
            """() => { const { overlay, view } = gagsApp, { canvas, context } = overlay;
            overlay.draw(view.camera());
            const { data } = context.getImageData(0, 0, canvas.width, canvas.height);
            return data.filter((v, k) => k % 4 === 3 && v > 0).length; }"""
        )

    assert not box.is_checked()
    assert lines() == 0
    box.check()

    assert lines() > 2000
    page.locator("#picture").focus()
    page.keyboard.press("g")
    assert not box.is_checked()
    assert lines() == 0
    page.keyboard.press("g")
    assert box.is_checked()
    assert lines() > 2000
    box.uncheck()
