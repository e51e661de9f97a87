"""A film, a picture of an answer, sizes in metres: python 16_film_and_metres.py WS TEXT METRES."""

import sys
from pathlib import Path

import gags


def main(folder: Path, text: str, metres: float) -> None:
    scene = gags.Scene.load(folder)
    (known, *_) = scene.locate(text)[0]
    scene.set_unit(known.box.size[0], metres, "m")  # kept in the scene: `gags locate` tells metres, too
    unit = scene.frame.unit
    for thing in scene.catalog():
        sides = " × ".join(f"{side:.3g}" for side in unit.of(thing.box.size))
        print(f"{thing.name}: {sides} {unit.name}")
    scene.show(text).save("answer.png")  # a notebook shows it in the cell
    film = gags.write_video(scene, "tour.mp4", texts=text, seconds=2, fps=24, size=(640, 360))
    print(f"{film}: {text!r} glows")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], float(sys.argv[3]))
