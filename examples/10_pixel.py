"""Which Gaussians, and which thing, a pixel of a photo shows: python 10_pixel.py WS PHOTO X Y."""

import sys
from pathlib import Path

import numpy as np
import torch

import gags


def main(folder: Path, photo: str, x: int, y: int) -> None:
    scene = gags.Scene.load(folder)
    pixel = torch.tensor([[x, y]], device=scene.gaussians.means.device)
    blend = gags.blend_weights(scene.gaussians, scene.capture[photo].camera, pixel)
    seen = blend.indices[0] >= 0  # of at most 16, the rest is padding
    gaussians, weights = blend.indices[0][seen].cpu().numpy(), blend.weights[0][seen].cpu().numpy()
    print(f"{len(gaussians)} Gaussians make up {weights.sum():.0%} of the pixel")
    things = scene.things()
    shares = [weights[np.isin(gaussians, things[row])].sum() for row in range(len(things))]
    if not shares or max(shares) < 0.5:
        print("no thing is known there")
        return
    row = int(np.argmax(shares))
    print(f"thing {row}: {len(things[row])} Gaussians, found in {things.photos[row]} photos")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
