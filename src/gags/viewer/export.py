"""A scene as one page that needs no server: Gaussians, list of things, and answers to a list of words in it.

Words are answered here, when the page is made, as `gags locate` answers them; the page looks them up. That is
smaller than the words' embeddings (1,500 of lite's are 800 kB) and answers the same as the scene itself.
"""

import base64
import hashlib
import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from gags.errors import ModelError, QueryError
from gags.files import atomic_write, listed_lines
from gags.progress import SILENT, Reporter
from gags.query.instances import Instance
from gags.query.names import EVERYDAY, read_words
from gags.scene import Scene
from gags.viewer.first_view import first_view, parse_up
from gags.viewer.kept import KeptList, mark_of, with_pictures
from gags.viewer.listed import answers_of_words
from gags.viewer.modes import granularity
from gags.viewer.payload import Packed, owner_bytes, scene_json
from gags.viewer.scene import missing_photos_text

SCRIPTS = (
    *("math", "dom", "splats", "shaders", "sorter", "renderer", "backend", "camera", "state", "overlay"),
    *("things", "texts", "choose", "measure", "output", "help", "toolbar", "app"),
)
"""Scripts of the page, in the order in which they build on each other; a backend and its start come last."""

COLOR_STEP = 8  # of the bytes of a mode's colours: 32 shades compress to a third


@dataclass(frozen=True)
class ExportedPage:
    """A page that was written.

    Attributes:
        path: The file.
        size: Its size in bytes.
        gaussians: How many Gaussians it shows.
        things: How many things and parts it lists.
        words: How many words it can be asked for.
    """

    path: Path
    size: int
    gaussians: int
    things: int
    words: int


def export_page(
    scene: Scene | Path | str,
    out: Path | str,
    *,
    words: Sequence[str] | Path = EVERYDAY,
    up: Sequence[float] | np.ndarray | str | None = None,
    progress: Reporter = SILENT,
) -> ExportedPage:
    """Write a scene as one page that opens in a browser without Python, a server or a network.

    Args:
        scene: The scene, or its folder; the list of its things is kept there, all else stays as it is.
        out: The file, .html; one that is there is replaced when the page is complete.
        words: Words to name things with; or a text file of them, one a line. They can be asked for, too,
            beside the list that comes with gags and what the scene was taught.
        up: What is up: an axis, as "z" or "-y", or three numbers. Default: what the scene was told, else what
            the photos and the ground say.
        progress: Told about progress.

    Raises:
        QueryError: If `out` is no .html, or `up` is no direction.
        WorkspaceError: If a piece of the scene is missing or damaged.
        GagsError: If the file cannot be written.
    """
    out = checked_page(Path(out))
    direction = parse_up(up) if isinstance(up, str) else None if up is None else np.asarray(up, np.float64)
    words = read_words(words) if isinstance(words, Path) else list(words)
    if not isinstance(scene, Scene):
        scene = Scene.load(scene, need_photos=False, progress=progress)
    kept = KeptList(scene, words)
    listed, pictures = kept.listed(progress), kept.pictures(progress)
    if listed.lacks:
        raise ModelError(f"{scene.workspace.root} cannot become a page that answers words. {listed.lacks}")
    if len(pictures) < len(listed.ids) and (lacks := missing_photos_text(scene)):
        progress.warn(lacks)
    if not listed.ids:
        progress.warn(f"{scene.workspace.root} has no things, so the page answers no word")
    asked = list(dict.fromkeys([*scene.taught.names(), *words, *page_words()]))
    answers = answers_of_words(scene, asked, progress=progress)
    packed = Packed.of(scene.gaussians).coarser()
    colors = granularity(scene)
    content = _content(scene, packed, direction) | {
        "things": with_pictures(listed.things, pictures),
        "words": words_json(answers),
        "modes": {"granularity": {"legend": colors.legend}},
    }
    blocks = {"scene": json.dumps(content, separators=(",", ":"), ensure_ascii=False).encode()}
    blocks["owner"] = owner_bytes(listed.owner, packed.order)
    blocks["colors-granularity"] = (colors.rgb[packed.order] // COLOR_STEP * COLOR_STEP).tobytes()
    for number in range(packed.chunk_count):
        blocks[f"splats-{number}"] = packed.chunk(number)
        if packed.degree:
            blocks[f"harmonics-{number}"] = packed.harmonics(number)
    page = offline_page(content["title"], blocks).encode()
    with atomic_write(out) as temporary:
        temporary.write_bytes(page)
    shown = sum(thing["listed"] for thing in listed.things)
    return ExportedPage(out, len(page), len(packed), shown, len(answers))


def checked_page(out: Path) -> Path:
    """The file of a page, if it can be one.

    Raises:
        QueryError: If its name does not end as a page's, or a folder is there.
    """
    if out.suffix.lower() not in (".html", ".htm"):
        raise QueryError(
            f"{out} is no name of a page; end it in .html, as in: --export {out.stem or 'page'}.html"
        )
    if out.is_dir():
        raise QueryError(f"{out} is a folder; name a file for the page")
    return out


def _content(scene: Scene, packed: Packed, up: np.ndarray | None) -> dict[str, Any]:
    """What the page reads first, without things and words."""
    frame, g = scene.frame, scene.gaussians.to("cpu")
    if up is None and frame.up is not None:
        up = np.array(frame.up)
    cameras = [view.camera for view in scene.capture.views]
    start = first_view(cameras, g.means.double().numpy(), g.opacities.double().numpy(), up)
    at = {
        "position": start.position.tolist(),
        "target": start.target.tolist(),
        "up": start.up.tolist(),
        "fov_y": start.fov_y,
    }
    return scene_json(
        packed,
        scene.workspace.root.resolve().name,
        scene.capture.views,
        start.up,
        at,
        unit=None if frame.unit is None else frame.unit.to_json(),
        mark=mark_of(scene),
    )


def page_words() -> list[str]:
    """The list of words that pages can be asked for."""
    return listed_lines(Path(str(files("gags") / "data" / "words" / "nouns.txt")))


def words_json(answers: Mapping[str, Sequence[Instance]]) -> list[dict[str, Any]]:
    """What the page answers: of every word the things, each with further pieces of it, and their scores."""
    return [
        {
            "word": word,
            "found": [
                [[one.thing, *one.also], round(one.score, 4)] for one in instances if one.thing is not None
            ],
        }
        for word, instances in answers.items()
    ]


def offline_page(title: str, blocks: Mapping[str, bytes]) -> str:
    """The page as HTML; it may load nothing and send nothing.

    Args:
        title: Of the page; escaped.
        blocks: What the page holds, by name.
    """
    scripts = [script(name) for name in (*SCRIPTS, "backend_offline", "start_offline")]
    style = web_file("style.css")
    policy = "; ".join(
        [
            "default-src 'none'",
            "script-src " + " ".join(_hash(text) for text in scripts),
            "style-src " + _hash(style),
            "img-src data: blob:",
            "worker-src blob:",
            "base-uri 'none'",
            "form-action 'none'",
        ]
    )
    data = [
        f'<script type="application/octet-stream" id="{name}">{_block(content)}</script>'
        for name, content in blocks.items()
    ]
    return page_html(title, policy, style, "\n".join(data), "\n".join(_tagged(text) for text in scripts))


def page_html(title: str, policy: str, style: str, data: str, scripts: str) -> str:
    """Fill the template of the page.

    Args:
        title: Plain text; it is escaped.
        policy: Content-Security-Policy; a server may send it as a header as well.
        style: CSS.
        data: HTML of what the page holds.
        scripts: HTML of its scripts.
    """
    tag = f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
    return (
        _templates()
        .get_template("page.html")
        .render(
            title=title,
            policy=Markup(tag),
            style=Markup(style),
            data=Markup(data),
            scripts=Markup(scripts),
        )
    )


def script(name: str) -> str:
    """One script of the page."""
    return web_file(f"{name}.js")


def web_file(name: str) -> str:
    """A file of the page."""
    return (files("gags.viewer") / "web" / name).read_text(encoding="utf-8")


def _tagged(text: str) -> str:
    if "</script" in text.lower() or "<!--" in text:
        raise ValueError("a script of the page holds what would end it")
    return f"<script>{text}</script>"


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode('ascii')}'"


def _block(content: bytes) -> str:
    return base64.b64encode(zlib.compress(content, 9)).decode("ascii")


@cache
def _templates() -> Environment:
    return Environment(loader=PackageLoader("gags.viewer", "web"), autoescape=True, undefined=StrictUndefined)
