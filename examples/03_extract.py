"""Cut a thing out, and keep the rest: python 03_extract.py WS [TEXT]."""

import sys
from pathlib import Path

import gags


def main(folder: Path, text: str, out: Path = Path("pieces")) -> None:
    scene = gags.Scene.load(folder)
    (instances,) = scene.locate(text)
    if not instances:
        print(f"nothing in the scene matches {text!r}")
        return
    mask = instances[0].mask
    gags.save_splats(scene.gaussians[mask], out / "thing.ply")
    gags.save_splats(scene.gaussians[~mask], out / "rest.splat")
    print(f"{text}: {int(mask.sum())} of {len(mask)} Gaussians, in {out}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), " ".join(sys.argv[2:]) or "banana")
