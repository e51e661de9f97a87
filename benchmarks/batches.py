"""How many pixels a step the preset `paper` needs in scenes of more Gaussians.

    python -m benchmarks.batches SCENE [--pieces 1 4 12] [--groups 64 0] [--steps 2000] [--judged 6]

Every Gaussian of a finished scene is replaced by so many smaller ones within it, as photos of more pixels
would give them; photos and masks stay. Each such scene is learnt with each number of groups of pixels a step,
0 being the number that the package takes for it. The table has the terms of Eq. 7 on whole photos, see
`benchmarks/schedules.py`, whose figures `paper` was fitted by. Nothing is written.
"""

import argparse
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from benchmarks.schedules import PAPER, Judge, run
from gags.distill.samples import ENOUGH_FOR, batch_for
from gags.distill.train import begin
from gags.embed.description import Descriptions
from gags.gaussians import Gaussians
from gags.render.reference import rotation_matrices
from gags.scene import Scene


def split(gaussians: Gaussians, pieces: int, seed: int = 0) -> Gaussians:
    """Gaussians in pieces of a `pieces`-th of the area, drawn within each; opacities and colours stay."""
    if pieces == 1:
        return gaussians
    parts = {name: value.repeat_interleave(pieces, dim=0) for name, value in vars(gaussians).items()}
    shrunk = 1 / math.sqrt(pieces)
    rng = torch.Generator().manual_seed(seed)
    drawn = torch.randn(parts["means"].shape, generator=rng) * math.sqrt(1 - shrunk**2)
    offsets = rotation_matrices(parts["quats"]) @ (drawn * parts["log_scales"].exp())[..., None]
    parts["means"] = parts["means"] + offsets[..., 0]
    parts["log_scales"] = parts["log_scales"] + math.log(shrunk)
    return Gaussians(**parts)


def main(given: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("scene", type=Path, help="folder of a finished scene")
    parser.add_argument("--pieces", type=int, nargs="+", default=[1, 4, 12])
    parser.add_argument("--groups", type=int, nargs="+", default=[64, 0], help="0 for what the package takes")
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--judged", type=int, default=6, help="every how manieth photo the figures are of")
    arguments = parser.parse_args(given)
    scene = Scene.load(arguments.scene)
    items = Descriptions(scene.workspace, scene.capture.train)
    print("| Gaussians, groups a step | steps | CPU s | L_r, Eq. 3 | L_e, Eq. 4 | L_c, Eq. 6 | L, Eq. 7 |")
    print("|---|---|---|---|---|---|---|", flush=True)
    for pieces in arguments.pieces:
        parts = split(scene.gaussians, pieces)
        judge = Judge(parts, items, arguments.judged)
        for groups in arguments.groups:
            size = PAPER.batch_regions if groups == 0 else math.ceil(groups * min(1, ENOUGH_FOR / len(parts)))
            settings = replace(PAPER, batch_regions=size, steps=arguments.steps)
            title = f"{len(parts):,}, {batch_for(size, len(parts))}"
            run(title, begin(parts, items, settings), settings, judge)


if __name__ == "__main__":
    main()
