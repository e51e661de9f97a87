"""Give language to Gaussians trained elsewhere: python 11_own_gaussians.py CAPTURE point_cloud.ply WS."""

import sys
from pathlib import Path

import gags


def main(capture: Path, splats: Path, out: Path, settings: gags.RunSettings = gags.RunSettings()) -> None:
    gaussians = gags.load_ply(splats)
    print(f"{len(gaussians)} Gaussians, spherical harmonics of degree {gaussians.sh_degree}")
    # The capture must hold the poses that they were trained with; they are compared with the photos.
    scene = gags.run(capture, out, settings, splats=splats)
    print(f"{len(scene.gaussians)} Gaussians can be asked")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]))
