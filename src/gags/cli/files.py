"""The commands that make files of a scene: in other formats, as maps of its views, as meshes."""

from pathlib import Path
from typing import Annotated

import tyro

import gags
from gags.cli.arguments import SceneFolder, number
from gags.cli.console import ConsoleReporter
from gags.draw.views import What
from gags.files.ranges import Range
from gags.gaussians.spz import SpzVersion

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
) -> None:
    """Render views of the scene: colours, depth, normals, relevancies; pictures, and their numbers as .npy.

    Args:
        scene: Folder of the scene.
        view: Photos whose views to render, by name. Default: all.
        what: What to write: color; depth (along the optical axis, in units of the capture); normals (of the
            surface, in the frame of the capture); relevancy (of each text). Several may be named.
        text: What to look for, for relevancy.
        out: Folder for the files. Default: views/ in the scene's folder.
    """
    rows = gags.write_views(scene, view, what, texts=text, out=out, progress=ConsoleReporter())
    for row in rows:
        print(f"{row['view']}  {row['what']}{' of ' + row['text'] if row['text'] else ''}  {row['picture']}")


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
