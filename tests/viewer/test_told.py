"""What the exported page says about itself: to those who listen to it, and where the browser draws slowly."""

from tests.viewer.conftest import PATIENCE_MS

TO_BE_NAMED = {
    "button",
    "checkbox",
    "colorwell",
    "combobox",
    "image",
    "searchbox",
    "slider",
    "spinbutton",
    "textbox",
}


def test_everything_that_can_be_used_has_a_name(page):
    page.locator("#text").fill("red ball")
    page.locator("#text").press("Enter")
    page.locator("#layers .layer").wait_for()
    page.evaluate("() => { for (const one of document.querySelectorAll('details')) one.open = true; }")
    session = page.context.new_cdp_session(page)
    session.send("Accessibility.enable")
    nodes = session.send("Accessibility.getFullAXTree")["nodes"]
    session.detach()
    found = [
        (node["role"]["value"].lower(), node.get("name", {}).get("value", ""))
        for node in nodes
        if not node["ignored"]
    ]
    used = [(role, name) for role, name in found if role in TO_BE_NAMED]
    assert len(used) > 40
    assert [role for role, name in used if not name.strip()] == []
    assert {"tree", "treeitem", "list", "toolbar"} <= {role for role, _ in found}


def test_drawing_in_software_is_said_once_and_not_over_the_picture(page):
    note = page.get_by_text("draws without a graphics card")
    assert note.count() == 1
    assert page.locator("#panel", has=note).count() == 1
    assert page.locator("#stage", has=note).count() == 0
    page.get_by_role("button", name="Got it").click()
    assert note.count() == 0
    again = page.context.new_page()
    again.set_default_timeout(PATIENCE_MS)
    again.goto(page.url)
    again.locator("body[data-ready=true]").wait_for()
    assert again.evaluate("() => gagsApp.renderer.software")
    assert again.get_by_text("draws without a graphics card").count() == 0
    again.close()
