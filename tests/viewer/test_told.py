"""What the exported page says about itself: to those who listen to it, and where the browser draws slowly."""

import pytest
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


CONTRAST = """() => {
  const canvas = new OffscreenCanvas(1, 1), pen = canvas.getContext("2d", { willReadFrequently: true });
  const rgba = (color) => { pen.clearRect(0, 0, 1, 1); pen.fillStyle = color; pen.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = pen.getImageData(0, 0, 1, 1).data; return [r, g, b, a / 255]; };
  const over = (top, below) => below.map((value, k) => top[k] * top[3] + value * (1 - top[3]));
  const linear = (v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
  const light = (rgb) => { const [r, g, b] = rgb.map((v) => linear(v / 255));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const text = walker.currentNode.data.trim(), one = walker.currentNode.parentElement;
    if (!text || !one.checkVisibility({ checkVisibilityCSS: true })) continue;
    if (one.closest(":disabled, script, style, svg, #stage canvas, .thing button.small")) continue;
    const chain = []; for (let each = one; each; each = each.parentElement) chain.unshift(each);
    let back = [255, 255, 255], opacity = 1;
    for (const each of chain) { const style = getComputedStyle(each);
      back = over(rgba(style.backgroundColor), back); opacity *= Number(style.opacity); }
    const ink = rgba(getComputedStyle(one).color); ink[3] *= opacity;
    const [a, b] = [light(over(ink, back)), light(back)];
    found.push([(Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05), text.slice(0, 40)]);
  }
  return found; }"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_what_is_behind_it(page, scheme):
    """A contrast of 4.5 at least (WCAG 2, AA), of all that is written, an undone step among it."""
    page.emulate_media(color_scheme=scheme)
    page.evaluate("() => { for (const one of document.querySelectorAll('details')) one.open = true; }")
    page.locator("#text").fill("red ball")
    page.locator("#text").press("Enter")
    page.locator("#layers .layer").wait_for()
    page.locator("#canvas, canvas").first.focus()
    page.evaluate("() => gagsApp.history.jump(0)")
    page.locator("#steps li.undone").first.wait_for()
    found = page.evaluate(CONTRAST)
    page.emulate_media(color_scheme="light")
    assert len(found) > 50
    assert [pair for pair in found if pair[0] < 4.5] == []


def test_light_and_dark_are_two(page):
    backs = []
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        backs.append(
            page.evaluate("() => getComputedStyle(document.querySelector('#panel')).backgroundColor")
        )
    page.emulate_media(color_scheme="light")
    assert backs[0] != backs[1]
