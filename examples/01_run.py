"""Photos in, a scene that answers text out: python 01_run.py PHOTOS WS."""

import sys
from pathlib import Path

import gags


def main(photos: Path, out: Path, settings: gags.RunSettings = gags.RunSettings()) -> None:
    # Poses are found if there are none. Killed at any moment, the same call goes on from there.
    scene = gags.run(photos, out, settings)
    print(f"{len(scene.gaussians)} Gaussians, {len(scene.things())} things and parts")
    print(f"the report: {scene.workspace.report / 'index.html'}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
