"""`gags delete WS TEXT… --out FILE [--invert]`."""

from pathlib import Path

from gags.cli.common import SceneFolder, Texts
from gags.cli.objects import locate_for, write_some
from gags.query.edit import deleted


def command(scene: SceneFolder, texts: Texts, /, *, out: Path, invert: bool = False) -> None:
    """Write the scene without the things that texts name; the scene itself stays as it is.

    What is left out is what `gags locate` lists.

    Args:
        scene: Folder of the scene; stays as it is.
        texts: What to leave out.
        out: File to write: .ply, .spz or .splat.
        invert: Leave out everything else instead.
    """
    gaussians, mask = locate_for(scene, texts, out, invert=invert)
    write_some(deleted(gaussians, mask), len(gaussians), out, if_none="no Gaussian is left")
