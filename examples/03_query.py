"""Ask a scene in words, in the photos where each answer is seen best: python 03_query.py WS [TEXT …]."""

import sys
from pathlib import Path

import gags


def main(folder: Path, texts: list[str], out: Path = Path("answers")) -> None:
    scene = gags.Scene.load(folder)
    for answer in scene.query(texts):  # .relevancy (H, W) .mask (H, W) .peak (x, y) .score
        print(f"{answer.text}: relevancy {answer.score:.2f} at {answer.peak} in {answer.view}")
    first = scene.capture.views[0]
    gags.write_answers(scene, texts, [first], out=out)  # mask, relevancy and a picture to look at
    print(f"pictures of {first.name} in {out}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:] or ["something to eat", "laptop"])
