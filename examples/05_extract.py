"""Cut a thing out, and keep the rest: python 05_extract.py WS [TEXT]."""

import sys
from pathlib import Path

import gags


def main(folder: Path, text: str, out: Path = Path("pieces")) -> None:
    scene = gags.Scene.load(folder)
    (instances,) = scene.locate(text)
    if not instances:
        print(f"nothing in the scene matches {text!r}")
        return
    best = instances[0]
    thing = scene.extract(best, out / "thing.ply")
    scene.delete(best, out / "rest.splat")
    print(f"{text}: {len(thing)} of {len(scene.gaussians)} Gaussians, in {out}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), " ".join(sys.argv[2:]) or "banana")
