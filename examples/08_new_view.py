"""A view between two photos, and where in it a text is relevant: python 08_new_view.py WS [TEXT]."""

import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

import gags


def halfway(one: gags.Camera, other: gags.Camera) -> gags.Camera:
    """A camera in the middle of two, turned half of the way from one to the other."""
    between, _ = cv2.Rodrigues(other.viewmat[:3, :3] @ one.viewmat[:3, :3].T)
    viewmat = np.eye(4)
    viewmat[:3, :3] = cv2.Rodrigues(between / 2)[0] @ one.viewmat[:3, :3]
    viewmat[:3, 3] = -viewmat[:3, :3] @ (one.position + other.position) / 2
    return replace(one, viewmat=viewmat)


def main(folder: Path, text: str, out: Path = Path("new_view.png")) -> None:
    scene = gags.Scene.load(folder)
    first, second = scene.capture.views[:2]
    camera = halfway(first.camera, second.camera)
    colors = gags.render(scene.gaussians, camera).colors.clamp(0, 1).cpu().numpy()
    (answer,) = scene.query(text, camera)  # any camera can be asked, not only those of the photos
    heat = cv2.applyColorMap((255 * answer.relevancy).astype(np.uint8), cv2.COLORMAP_INFERNO)
    cv2.imwrite(str(out), np.hstack([(255 * colors[..., ::-1]).astype(np.uint8), heat]))
    print(f"{out}: between {first.name} and {second.name}; {text!r} is most relevant at {answer.peak}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), " ".join(sys.argv[2:]) or "banana")
