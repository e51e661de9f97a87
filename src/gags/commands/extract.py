"""`gags extract WS TEXT --out FILE.ply`."""

from pathlib import Path
from typing import Annotated

import tyro

from gags.commands.common import SceneFolder
from gags.errors import QueryError
from gags.scene import Scene
from gags.splats.ply import save_ply


def command(
    scene: SceneFolder,
    text: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="TEXT")],
    /,
    *,
    out: Path,
) -> None:
    """Cut the thing that a text names out of the scene.

    Args:
        scene: Folder of the scene.
        text: What to cut out.
        out: 3DGS .ply file to write.
    """
    if out.suffix.lower() != ".ply":
        raise QueryError(f"{out} does not end in .ply, the format that is written; rename --out")
    (selection,) = Scene.load(scene).select(text)
    save_ply(selection.gaussians, out)
    size = ", ".join(f"{side:.3g}" for side in selection.box[1] - selection.box[0])
    print(
        f"{out}: {len(selection.gaussians)} Gaussians, box {size} (world units), score {selection.score:.2f}"
    )
