"""The commands that make files of a scene: in other formats, as maps of its views, as meshes."""

from pathlib import Path
from typing import Annotated

import tyro

import gags
from gags.cli.arguments import SceneFolder, number
from gags.cli.console import ConsoleReporter
from gags.draw.views import What
from gags.errors import QueryError
from gags.files.ranges import Range
from gags.gaussians.spz import SpzVersion
from gags.viewer.film import FPS, SECONDS

CELLS = Range(8, 4096)  # the same as `gags.mesh` takes


def convert(
    source: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="IN")],
    out: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="OUT")],
    /,
    *,
    spz_version: SpzVersion = 3,
    ids: bool = False,
) -> None:
    """Write Gaussians in another format: .ply, .spz, .splat, .glb, .gltf, .usd, .usda or .usdc.

    Read are .ply (SuperSplat's compressed one, too), .spz, .splat, .ksplat, .sog (or its folder), .glb and
    .gltf, and the folder of a scene. What the format written cannot hold is said in one line. IN stays as
    it is.

    Args:
        source: File of Gaussians, or folder of a scene.
        out: File to write; its suffix chooses the format.
        spz_version: Of a .spz: 3, which every program reads, or 4.
        ids: Of a scene, as .ply: also write which thing each Gaussian belongs to, as a property `thing`, and
            beside it the names and boxes of the things, as <name>.things.json.
    """
    gaussians = gags.convert(source, out, spz_version=spz_version, ids=ids, progress=ConsoleReporter())
    print(f"{out}: {len(gaussians)} Gaussians")


def render(
    scene: SceneFolder,
    /,
    *,
    view: tuple[str, ...] = (),
    what: tuple[What, ...] = ("color",),
    text: tuple[str, ...] = (),
    out: Path | None = None,
    size: Annotated[str | None, tyro.conf.arg(metavar="WxH")] = None,
    transparent: bool = False,
    video: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None,
    path: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None,
    seconds: Annotated[float, number("seconds", float, SECONDS)] = 10.0,
    fps: Annotated[int, number("fps", int, FPS)] = 30,
) -> None:
    """Render views of the scene: colours, depth, normals, relevancies; pictures, and their numbers as .npy.

    Or a film: --video tour.mp4 goes along the photos, or through the key views of --path; with --text, what
    matches glows.

    Args:
        scene: Folder of the scene.
        view: Photos whose views to render, by name. Default: all.
        what: What to write: color; depth (along the optical axis, in units of the capture); normals (of the
            surface, in the frame of the capture); relevancy (of each text). Several may be named.
        text: What to look for, for relevancy.
        out: Folder for the files. Default: views/ in the scene's folder.
        size: Width and height of the pictures in px, as 1920x1080. Default: those of the photo; of a film,
            1280x720.
        transparent: Pictures of colours without a background.
        video: Write a film to this .mp4 instead (H.264 with the extra `video`).
        path: Key views of the film, a JSON file as the viewer saves it. Default: along the photos.
        seconds: Length of the film.
        fps: Frames a second of the film.
    """
    sides = None if size is None else _sides(size)
    if video is not None:
        if view or out is not None or transparent or what != ("color",):
            raise QueryError(
                "a film takes --path, --text, --size, --seconds and --fps, and no options of pictures"
            )
        made = gags.write_video(
            scene,
            video,
            path,
            texts=text,
            seconds=seconds,
            fps=fps,
            size=sides or (1280, 720),
            progress=ConsoleReporter(),
        )
        print(made)
        return
    if path is not None:
        raise QueryError("--path is of a film; add --video tour.mp4")
    rows = gags.write_views(
        scene,
        view,
        what,
        texts=text,
        out=out,
        size=sides,
        transparent=transparent,
        progress=ConsoleReporter(),
    )
    for row in rows:
        print(f"{row['view']}  {row['what']}{' of ' + row['text'] if row['text'] else ''}  {row['picture']}")


def _sides(text: str) -> tuple[int, int]:
    try:
        width, height = (int(part) for part in text.lower().split("x"))
    except ValueError:
        raise QueryError(
            f"--size {text!r} is no size; give width and height in px, as in --size 1920x1080"
        ) from None
    return width, height


def mesh(
    scene: SceneFolder,
    texts: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="TEXT")] = (),
    /,
    *,
    out: Path,
    cells: Annotated[int | None, number("cells", int | None, CELLS)] = None,
) -> None:
    """Make a mesh of the things that texts name, or of the whole scene (extra `mesh`).

    A thing is closed, so that it can be printed: what no photo shows of it is filled up. The surface of a
    whole scene ends where it is not seen. Frame and units are those of the capture.

    Args:
        scene: Folder of the scene; stays as it is.
        texts: What to make a mesh of. Default: everything.
        out: File to write: .glb, .ply (both with colours and things) or .obj (with colours).
        cells: Cells along the longest side; more show more, and take longer. Default: 128 for a thing, 256
            for a scene.
    """
    made = gags.mesh(scene, texts, out, cells=cells, progress=ConsoleReporter())
    if made is None:
        print(f"nothing in the scene matches, {out} is not written")
        return
    closed = "closed" if made.is_watertight else "open"
    print(f"{out}: {len(made.vertices)} vertices, {len(made.faces)} triangles, {closed}")
