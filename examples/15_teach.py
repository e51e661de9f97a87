"""Teach a scene what you call a thing, by a click into a photo: python 15_teach.py WS NAME PHOTO X Y."""

import sys
from pathlib import Path

import gags


def main(folder: Path, name: str, photo: str, x: int, y: int) -> None:
    scene = gags.Scene.load(folder)
    taught = scene.teach(name, photo, (x, y))
    print(f"{name}: {len(taught.members)} Gaussians")
    for instance in scene.locate(name)[0]:  # what was taught comes first, then what looks like it
        center = ", ".join(f"{value:.2f}" for value in instance.box.center)
        what = "taught" if instance.certain else "looks like it"
        print(f"  {what}: at ({center}), score {instance.score:.2f}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4]), int(sys.argv[5]))
