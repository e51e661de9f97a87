"""What is in a scene, named with words of your own: python 07_catalog.py WS [WORD …]."""

import sys
from pathlib import Path

import gags


def main(folder: Path, words: list[str]) -> None:
    scene = gags.Scene.load(folder)
    entries = scene.catalog(words) if words else scene.catalog()
    for number, entry in enumerate(entries):
        part = "" if entry.part_of is None else f", part of {entry.part_of}"
        size = " × ".join(f"{value:.2f}" for value in entry.box.size)
        print(f"{number}: {entry.name}, {size}, {entry.photos} photos{part}")
    print(f"{len(entries)} things")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
