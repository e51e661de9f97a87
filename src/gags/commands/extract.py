"""`gags extract WS TEXT… --out FILE [--invert]`."""

from pathlib import Path

from gags.commands.common import SceneFolder, Texts
from gags.commands.objects import locate_for
from gags.query.edit import extracted, union
from gags.splats.export import save_splats


def command(scene: SceneFolder, texts: Texts, /, *, out: Path, invert: bool = False) -> None:
    """Cut the things that texts name out of the scene: connected, solid pieces, every Gaussian as it was.

    What is cut out is what `gags locate` lists. Nothing is written if nothing matches.

    Args:
        scene: Folder of the scene; stays as it is.
        texts: What to cut out.
        out: File to write: .ply, .spz or .splat.
        invert: Cut out everything else instead.
    """
    loaded, instances = locate_for(scene, texts, out)
    chosen = extracted(loaded.gaussians, union(instances, len(loaded.gaussians), invert=invert))
    if not len(chosen):
        print(f"there is nothing to cut out, {out} is not written")
        return
    save_splats(chosen, out)
    print(f"{out}: {len(chosen)} of {len(loaded.gaussians)} Gaussians")
