"""`gags locate WS TEXT… [--json]`."""

import json as json_module

from gags.cli.common import SceneFolder, Texts
from gags.cli.console import ConsoleReporter
from gags.cli.objects import check_texts
from gags.scene import Scene


def command(scene: SceneFolder, texts: Texts, /, *, json: bool = False) -> None:
    """Find every instance of what texts name: centre, turned box, score, and how many photos see it.

    Coordinates and lengths are in the frame and units of the capture. Two mugs are two rows.

    Args:
        scene: Folder of the scene.
        texts: What to look for.
        json: Print a JSON list, one entry an instance, instead of a table.
    """
    check_texts(texts)
    found = Scene.load(scene).locate(texts, progress=ConsoleReporter())
    if json:
        print(json_module.dumps([instance.to_json() for rows in found for instance in rows], indent=2))
        return
    width = max(map(len, texts))
    for text, rows in zip(texts, found, strict=True):
        for row in rows:
            center = ", ".join(f"{value:.4g}" for value in row.box.center)
            size = " × ".join(f"{value:.3g}" for value in row.box.size)
            print(f"{text:<{width}}  {row.score:.2f} at ({center}), {size}, in {row.views} photos")
        if not rows:
            print(f"{text:<{width}}  nothing in the scene matches")
