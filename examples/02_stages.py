"""The same stage by stage, so that you can stop, look, or replace a piece: python 02_stages.py CAPTURE WS."""

import sys
from pathlib import Path

import gags


def main(
    capture: Path,
    out: Path,
    *,
    reconstruct: gags.ReconstructSettings = gags.ReconstructSettings(),
    describe: gags.DescribeSettings | None = None,
    distill: gags.DistillSettings | None = None,
) -> None:
    files = gags.reconstruct(capture, out, reconstruct)  # splats.ply; opens in any viewer of 3DGS
    print("held-out PSNR:", files.read_metrics().get("psnr", "no photo is held out"))
    gags.describe(out, describe)  # features/: masks on three levels and an embedding a mask
    print("masks:", files.read_metrics()["masks"])
    gags.distill(out, distill)  # field.safetensors: one short language feature a Gaussian
    kinds = gags.things(out).kinds()  # things.safetensors: which Gaussians are one thing
    print("things:", kinds.count("thing"), "parts:", kinds.count("part"))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
