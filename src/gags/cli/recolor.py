"""`gags recolor WS TEXT… --color COLOR --out FILE [--invert]`."""

from pathlib import Path

from gags.cli.common import SceneFolder, Texts
from gags.cli.objects import locate_for
from gags.gaussians.files import save_splats
from gags.query.edit import parse_color, recolored


def command(scene: SceneFolder, texts: Texts, /, *, out: Path, color: str, invert: bool = False) -> None:
    """Write the scene with the things that texts name in one colour; the scene itself stays as it is.

    What is coloured is what `gags locate` lists.

    Args:
        scene: Folder of the scene; stays as it is.
        texts: What to colour.
        out: File to write: .ply, .spz or .splat.
        color: As "#ff0000" or "red".
        invert: Colour everything else instead.
    """
    rgb = parse_color(color)
    gaussians, mask = locate_for(scene, texts, out, invert=invert)
    save_splats(recolored(gaussians, mask, rgb), out)
    print(f"{out}: {int(mask.sum())} of {len(gaussians)} Gaussians coloured")
