"""Colour things as a proof that the right Gaussians were found: python 06_recolor.py WS [TEXT …]."""

import sys
from pathlib import Path

import gags


def main(folder: Path, texts: list[str], out: Path = Path("recolored.ply")) -> None:
    scene = gags.Scene.load(folder)
    gaussians = scene.recolor(texts, "#ff0000", out)  # all Gaussians; those of the things are red
    print(f"{out}: {len(gaussians)} Gaussians; the scene's own folder stays as it was")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:] or ["banana"])
