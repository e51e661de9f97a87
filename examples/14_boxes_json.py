"""The boxes of a scene's things as JSON, for a robot or a map: python 14_boxes_json.py WS."""

import json
import sys
from pathlib import Path

import gags


def main(folder: Path, out: Path = Path("boxes.json")) -> None:
    scene = gags.Scene.load(folder)
    rows = [
        {
            "name": entry.name,
            "part_of": entry.part_of,
            "center": entry.box.center.tolist(),  # in the frame and units of the capture
            "size": entry.box.size.tolist(),
            "axes": entry.box.axes.tolist(),  # rows of a rotation: the directions of the three sides
        }
        for entry in scene.catalog()
    ]
    out.write_text(json.dumps(rows, indent=2))
    print(f"{out}: {len(rows)} boxes")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
