"""Every instance of a thing in 3D, with its oriented box: python 04_locate.py WS [TEXT …]."""

import sys
from pathlib import Path

import gags


def main(folder: Path, texts: list[str]) -> None:
    scene = gags.Scene.load(folder)
    for text, instances in zip(texts, scene.locate(texts), strict=True):
        print(f"{text}: {len(instances)} found")
        for instance in instances:  # coordinates are in the frame and units of the capture
            center = ", ".join(f"{value:.2f}" for value in instance.box.center)
            size = " × ".join(f"{value:.2f}" for value in instance.box.size)
            print(f"  at ({center}), {size}, score {instance.score:.2f}, seen in {instance.views} photos")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:] or ["banana"])
