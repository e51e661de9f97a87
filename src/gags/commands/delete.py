"""`gags delete WS TEXT… --out FILE [--invert]`."""

from pathlib import Path

from gags.commands.common import SceneFolder, Texts
from gags.commands.objects import locate_for
from gags.query.edit import deleted, union
from gags.splats.export import save_splats


def command(scene: SceneFolder, texts: Texts, /, *, out: Path, invert: bool = False) -> None:
    """Write the scene without the things that texts name; the scene itself stays as it is.

    What is left out is what `gags locate` lists.

    Args:
        scene: Folder of the scene; stays as it is.
        texts: What to leave out.
        out: File to write: .ply, .spz or .splat.
        invert: Leave out everything else instead.
    """
    loaded, instances = locate_for(scene, texts, out)
    rest = deleted(loaded.gaussians, union(instances, len(loaded.gaussians), invert=invert))
    if not len(rest):
        print(f"no Gaussian is left, {out} is not written")
        return
    save_splats(rest, out)
    print(f"{out}: {len(rest)} of {len(loaded.gaussians)} Gaussians")
