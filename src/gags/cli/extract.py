"""`gags extract WS TEXT… --out FILE [--invert]`."""

from pathlib import Path

from gags.cli.common import SceneFolder, Texts
from gags.cli.objects import locate_for, write_some
from gags.query.edit import extracted


def command(scene: SceneFolder, texts: Texts, /, *, out: Path, invert: bool = False) -> None:
    """Cut the things that texts name out of the scene: connected, solid pieces, every Gaussian as it was.

    What is cut out is what `gags locate` lists. Nothing is written if nothing matches.

    Args:
        scene: Folder of the scene; stays as it is.
        texts: What to cut out.
        out: File to write: .ply, .spz or .splat.
        invert: Cut out everything else instead.
    """
    gaussians, mask = locate_for(scene, texts, out, invert=invert)
    write_some(extracted(gaussians, mask), len(gaussians), out, if_none="there is nothing to cut out")
