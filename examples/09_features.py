"""Render the language features of a scene as colours: python 09_features.py WS."""

import sys
from pathlib import Path

import cv2
import torch

import gags


def main(folder: Path, out: Path = Path("features.png")) -> None:
    scene = gags.Scene.load(folder)
    view = scene.capture.views[0]
    features = scene.field.features  # one short vector a Gaussian [N, d]
    drawn = gags.render(scene.gaussians, view.camera, features)  # any values can be blended, not only colours
    mean = drawn.colors / drawn.alphas.clamp(min=1e-6)[..., None]  # [H, W, d]
    # The three directions in which they differ most become red, green and blue.
    _, _, directions = torch.pca_lowrank(features, q=3)
    picture = (mean - features.mean(dim=0)) @ directions
    low, high = picture.amin(dim=(0, 1)), picture.amax(dim=(0, 1))
    scaled = (255 * (picture - low) / (high - low).clamp(min=1e-6)).byte().cpu().numpy()
    cv2.imwrite(str(out), scaled)
    print(f"{out}: {features.shape[1]} numbers a Gaussian, seen from {view.name}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
