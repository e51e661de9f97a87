"""Ask a scene in words, in the photo where each answer is seen best: python 01_ask.py WS [TEXT …]."""

import sys
from pathlib import Path

import cv2

import gags
from gags.draw.pictures import heat_overlay


def main(folder: Path, texts: list[str], out: Path = Path("answers")) -> None:
    scene = gags.Scene.load(folder)
    queries = scene.queries(texts)
    out.mkdir(parents=True, exist_ok=True)
    for row, (view, *_) in enumerate(scene.best_views(queries)):
        (answer,) = scene.query(queries.subset([row]), view)
        picture = heat_overlay(
            view.image(), answer.relevancy, answer.mask, answer.peak, text=answer.text, score=answer.score
        )
        cv2.imwrite(str(out / f"{row:02d}.png"), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
        print(f"{answer.text}: relevancy {answer.score:.2f} at {answer.peak} in {view.name}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:] or ["something to eat", "laptop"])
