"""Draws the rooms of `src/gags` from its real imports, and checks that these go one way.

    python tools/draw_rooms.py            writes docs/images/rooms.svg
    python tools/draw_rooms.py --check    lists what breaks the rules, and fails if anything does

A room is a folder of `src/gags`, or a file that lies there by itself. The rules: every file belongs to a room
that is listed here; a room imports only rooms that come before it in `ROOMS`; modules import each other in no
circle; few files lie outside of folders. Imports inside functions count like all others. Imports for type
checkers alone (`if TYPE_CHECKING:`) do not count: they never run.
"""

import argparse
import ast
import sys
from collections.abc import Iterator
from html import escape
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src" / "gags"
PICTURE = ROOT / "docs" / "images" / "rooms.svg"

FRONT = "gags"
"""The package itself: the names of `import gags`, each loaded at its first use."""

USERS_OF_FRONT = ("scene", "cli")
"""Rooms that may use these names: commands, and `Scene`, whose `report` stands for `gags.report`."""

ROOMS = {
    "_version": "the version number",
    "errors": "exceptions",
    "files": "whole files or none",
    "threads": "asleep when idle",
    "progress": "Reporter",
    "store": "stamps, checkpoints",
    "workspace": "files of a scene",
    "capture": "photos with cameras",
    "poses": "poses of bare photos",
    "simd": "vectors for kernels",
    "models": "weights and devices",
    "render": "pixels from Gaussians",
    "gaussians": "the 3D model, its files",
    "reconstruct": "photos → Gaussians",
    "segment": "prompts → masks",
    "embed": "masks, texts → vectors",
    "distill": "the language field",
    "things": "masks that agree",
    "query": "text → where",
    "scene": "all of it, to ask",
    "draw": "arrays → pictures",
    "evaluate": "answers → figures",
    "report": "pages to look at",
    "library": "many scenes at once",
    "serve": "JSON over HTTP",
    "viewer": "the browser",
    "outputs": "files to take away",
    "pipeline": "the stages in order",
    "scale": "many scenes, a cluster",
    "compare": "method beside method",
    "demo": "the bundled capture",
    "cli": "the commands",
}
"""Every room with a few words on it. A room may import those that come before it, and no others."""

ROWS = (
    (None, None, "demo", "cli", None),
    ("scale", "compare", "pipeline", "outputs", "viewer"),
    ("evaluate", "report", "draw", "serve", "library"),
    (None, None, "query", "scene", None),
    ("reconstruct", "segment", "embed", "distill", "things"),
    ("gaussians", "render", "models", None, None),
    ("poses", "capture", "simd", None, None),
)
"""Where the drawing has them, from the top down; the ground that all others stand on comes below."""

GROUND = ("_version", "errors", "files", "threads", "progress", "store", "workspace")
MOST_TOP_FILES = 10

Imports = dict[str, set[str]]
"""Which modules each module imports, by dotted name."""

BOX_WIDTH, BOX_HEIGHT, GAP_X, GAP_Y, EDGE = 150, 46, 34, 50, 40  # px


def read_imports(source: Path = SOURCE) -> Imports:
    """Imports of every module of a package among its own modules.

    Args:
        source: Folder of the package.

    Returns:
        Modules by dotted name, each with those that it imports.
    """
    files = {_dotted(path, source): path for path in sorted(source.rglob("*.py"))}
    imports = {}
    for name, path in files.items():
        package = name if path.name == "__init__.py" else name.rpartition(".")[0]
        wanted = _imported(ast.parse(path.read_text(encoding="utf-8")), package)
        imports[name] = {found for full in wanted if (found := _module(full, files)) and found != name}
    return imports


def _dotted(path: Path, source: Path) -> str:
    parts = (source.name, *path.relative_to(source).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _imported(node: ast.AST, package: str) -> Iterator[str]:
    """Full names of all that is imported, in functions too; `from a import b` gives "a.b"."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            continue
        if isinstance(child, ast.Import):
            yield from (alias.name for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            above = package.rsplit(".", child.level - 1)[0] if child.level else ""
            origin = ".".join(part for part in (above, child.module) if part)
            yield from (f"{origin}.{alias.name}" for alias in child.names)
        else:
            yield from _imported(child, package)


def _module(name: str, files: dict[str, Path]) -> str | None:
    """The module that an imported name lies in, if it is one of ours."""
    return next((part for part in (name, name.rpartition(".")[0]) if part in files), None)


def room_of(module: str) -> str:
    """Room of a module; the package itself stands for its front."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else FRONT


def problems(
    imports: Imports, rooms: tuple[str, ...] = tuple(ROOMS), most: int = MOST_TOP_FILES
) -> list[str]:
    """All that breaks the rules, one line each; empty if nothing does."""
    found = [f"{m} belongs to no room" for m in imports if room_of(m) not in (FRONT, *rooms)]
    found += [f"{' → '.join(circle)}: a circle" for circle in circles(imports)]
    rank = {room: number for number, room in enumerate((*rooms, FRONT))}
    for module, wanted in sorted(imports.items()):
        here = room_of(module)
        for other in sorted(wanted):
            there = room_of(other)
            if there == FRONT and here in USERS_OF_FRONT:
                continue
            if here != there and {here, there} <= rank.keys() and rank[there] > rank[here]:
                found.append(f"{module} imports {other}: {there} comes after {here}")
    folders = {name.rpartition(".")[0] for name in imports}
    top = [name for name in imports if name.count(".") == 1 and name not in folders]
    if len(top) + 1 > most:  # and __init__.py
        found.append(f"{len(top) + 1} files outside of folders, more than {most}")
    return found


def circles(imports: Imports) -> list[list[str]]:
    """Circles of imports, each once, from a module back to itself; groups that touch give one circle."""
    found: list[list[str]] = []
    done: set[str] = set()

    def visit(module: str, path: list[str]) -> None:
        if module in path:
            circle = path[path.index(module) :]
            if not any(set(circle) & set(known) for known in found):
                found.append([*circle, module])
            return
        if module in done:
            return
        for other in sorted(set(imports.get(module, ())) - {FRONT}):
            visit(other, [*path, module])
        done.add(module)

    for module in sorted(imports):
        visit(module, [])
    return found


def room_imports(imports: Imports) -> dict[str, set[str]]:
    """Which rooms each room imports."""
    between: dict[str, set[str]] = {}
    for module, wanted in imports.items():
        others = between.setdefault(room_of(module), set())
        others |= {room_of(other) for other in wanted} - {room_of(module)}
    return between


def arrows(between: dict[str, set[str]]) -> list[tuple[str, str]]:
    """Arrows to draw: allowed ones that no way over other rooms implies, and none down to the ground."""
    shown = [room for room in ROOMS if room not in GROUND]
    graph = {
        room: sorted(between.get(room, set()).intersection(shown[:number]))
        for number, room in enumerate(shown)
    }

    def reached(room: str, seen: set[str]) -> set[str]:
        for other in graph[room]:
            if other not in seen:
                seen.add(other)
                reached(other, seen)
        return seen

    return [
        (room, other)
        for room, others in graph.items()
        for other in others
        if not any(other in reached(third, set()) for third in others if third != other)
    ]


def picture(imports: Imports) -> str:
    """The drawing, as SVG."""
    between = room_imports(imports)
    places = _places()
    width = 2 * EDGE + len(ROWS[0]) * (BOX_WIDTH + GAP_X) - GAP_X
    ground = EDGE + len(ROWS) * (BOX_HEIGHT + GAP_Y)
    height = ground + 96 + EDGE
    there = {room_of(module) for module in imports}
    lines = [_arrow(places[a], places[b]) for a, b in arrows(between) if {a, b} <= there]
    boxes = [_box(*places[room], BOX_WIDTH, room) for room in places if room in there]
    small = (width - 2 * EDGE - 20 - 10 * (len(GROUND) - 1)) / len(GROUND)
    floor = [
        _box(EDGE + 10 + number * (small + 10), ground + 36, small, room, faded=room not in there)
        for number, room in enumerate(GROUND)
    ]
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
            f'width="{width}" height="{height}" font-family="Helvetica, Arial, sans-serif">',
            "<title>The rooms of gags: an arrow means “imports”</title>",
            '<defs><marker id="tip" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="8" markerHeight="8" '
            'orient="auto"><path d="M0 0 10 5 0 10z" fill="#4a6b6f"/></marker></defs>',
            f'<rect width="{width}" height="{height}" rx="10" fill="#ffffff"/>',
            *lines,
            *boxes,
            f'<rect x="{EDGE}" y="{ground}" width="{width - 2 * EDGE}" height="96" rx="8" fill="#eef3f3"/>',
            f'<text x="{EDGE + 12}" y="{ground + 23}" font-size="13" fill="#4a6b6f">'
            "the ground: every room above may import these</text>",
            *floor,
            f'<text x="{EDGE}" y="{height - 14}" font-size="13" fill="#4a6b6f">'
            "An arrow means “imports”. Arrows that others imply are left out.</text>",
            "</svg>\n",
        ]
    )


def _places() -> dict[str, tuple[float, float]]:
    """Upper left corner of every box."""
    return {
        room: (EDGE + column * (BOX_WIDTH + GAP_X), EDGE + row * (BOX_HEIGHT + GAP_Y))
        for row, rooms in enumerate(ROWS)
        for column, room in enumerate(rooms)
        if room
    }


def _box(x: float, y: float, width: float, room: str, *, faded: bool = False) -> str:
    middle, edge = x + width / 2, ' stroke-dasharray="4 3"' if faded else ""
    return (
        f'<rect x="{x:.0f}" y="{y:.0f}" width="{width:.0f}" height="{BOX_HEIGHT}" rx="7" fill="#f6fafa" '
        f'stroke="#2f7f86" stroke-width="1.4"{edge}/>'
        f'<text x="{middle:.0f}" y="{y + 19:.0f}" font-size="15" font-weight="bold" fill="#12363a" '
        f'text-anchor="middle">{escape(room)}</text>'
        f'<text x="{middle:.0f}" y="{y + 36:.0f}" font-size="11.5" fill="#35555a" '
        f'text-anchor="middle">{escape(ROOMS[room])}</text>'
    )


def _arrow(start: tuple[float, float], end: tuple[float, float]) -> str:
    """From box to box: along a row between their sides, else from the lower edge to the upper one."""
    (x1, y1), (x2, y2) = start, end
    if y1 == y2:
        forward = x2 > x1
        ax, bx = (x1 + BOX_WIDTH, x2) if forward else (x1, x2 + BOX_WIDTH)
        middle = y1 + BOX_HEIGHT / 2
        if abs(x2 - x1) < 1.5 * (BOX_WIDTH + GAP_X):
            return _path(f"M{ax:.0f} {middle:.0f} L{bx:.0f} {middle:.0f}")
        ax, bx, top = x1 + BOX_WIDTH / 2, x2 + BOX_WIDTH / 2, y1 - GAP_Y * 0.8
        return _path(f"M{ax:.0f} {y1:.0f} C{ax:.0f} {top:.0f} {bx:.0f} {top:.0f} {bx:.0f} {y1:.0f}")
    ax, ay, bx, by = x1 + BOX_WIDTH / 2, y1 + BOX_HEIGHT, x2 + BOX_WIDTH / 2, y2
    rows = round((y2 - y1) / (BOX_HEIGHT + GAP_Y))
    if rows > 2 and x2 == EDGE:  # past the boxes between: below the box, then down the left edge
        left, level, last = EDGE - 18, ay + GAP_Y / 2, y2 + BOX_HEIGHT / 2
        return _path(
            f"M{ax - 24:.0f} {ay:.0f} Q{ax - 24:.0f} {level:.0f} {ax - 50:.0f} {level:.0f} "
            f"L{left + 24:.0f} {level:.0f} Q{left:.0f} {level:.0f} {left:.0f} {level + 24:.0f} "
            f"L{left:.0f} {last - 24:.0f} Q{left:.0f} {last:.0f} {x2:.0f} {last:.0f}"
        )
    bend = GAP_Y * 0.55
    ax += (bx - ax) * 0.08  # arrows of one box spread a little
    bx -= (bx - ax) * 0.08
    return _path(f"M{ax:.0f} {ay:.0f} C{ax:.0f} {ay + bend:.0f} {bx:.0f} {by - bend:.0f} {bx:.0f} {by:.0f}")


def _path(steps: str) -> str:
    return f'<path d="{steps}" fill="none" stroke="#4a6b6f" stroke-width="1.5" marker-end="url(#tip)"/>'


def main() -> int:
    """Draw or check; returns the exit code."""
    parser = argparse.ArgumentParser(description="Draw the rooms of src/gags, or check their imports.")
    parser.add_argument("--check", action="store_true", help="list what breaks the rules; write nothing")
    check = parser.parse_args().check
    imports = read_imports()
    if not check:
        PICTURE.write_text(picture(imports), encoding="utf-8")
        print(PICTURE.relative_to(ROOT))
        return 0
    found = problems(imports)
    print("\n".join(found) or f"{len(imports)} modules in {len(room_imports(imports))} rooms, no problem")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
