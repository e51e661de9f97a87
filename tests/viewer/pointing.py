"""What a person does in the exported page, and what is selected then."""

from tests.helpers.blobs import WORDS, make_scene


def place_of(page, word: str) -> tuple[float, float]:
    """Where the middle of a ball is in the page, px."""
    toy = make_scene(12)
    middle = toy.gaussians.means.numpy()[toy.owner == WORDS.index(word)].mean(axis=0).tolist()
    script = """(p) => { const { view, canvas } = gagsApp, [x, y] = project(view.camera(), p);
        return [x, y].map((v) => v * canvas.clientWidth / view.width); }"""
    return tuple(page.evaluate(script, middle))


def selected(page) -> int:
    """How many Gaussians are selected."""
    return page.evaluate("() => gagsApp.history.now.selected?.size ?? 0")


def click(page, word: str) -> None:
    page.mouse.click(*place_of(page, word))


def drag(page, points: list[tuple[float, float]]) -> None:
    page.mouse.move(*points[0])
    page.mouse.down()
    for point in points[1:]:
        page.mouse.move(*point)
    page.mouse.up()
