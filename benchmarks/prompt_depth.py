"""How far the number of prompts goes by the size of the depth maps that it is counted on.

python -m benchmarks.prompt_depth SCENE [SCENE …]

gags renders depth at most 320 px wide, and compares views 160 px wide. Eq. 1 asks for depth of full size.
Printed are the prompts of all photos by the preset `paper`, the share of patches that get another number than
at full size, and by how much the prompts of a patch differ in the mean.
"""

import argparse
from pathlib import Path

import numpy as np

from gags.capture import Camera, read_capture_of
from gags.distill.presets import PRESETS
from gags.gaussians import Gaussians
from gags.gaussians.own import load_splats_of
from gags.segment.nearest import COMPARED_WIDTH, nearest_depths
from gags.segment.prompts import DEPTH_WIDTH, prompts_per_patch, render_depth
from gags.workspace import Workspace

FULL = 1 << 20  # px, wider than any photo


def counts(gaussians: Gaussians, cameras: list[Camera], rendered: int, compared: int) -> np.ndarray:
    """Prompts of each patch of all photos, depth being so wide. int64 [V, 8, 8]"""
    depths = [render_depth(gaussians, camera, rendered) for camera in cameras]
    nearest = nearest_depths(depths, cameras, width=compared)
    base = PRESETS["paper"].describe.prompts_per_patch
    return np.stack([prompts_per_patch(d, n, base=base) for d, n in zip(depths, nearest, strict=True)])


def main() -> None:
    """Measure and print Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("scenes", type=Path, nargs="+", help="folders of scenes that have Gaussians")
    given = parser.parse_args()
    print("| scene | depth px | compared px | prompts | other number, % of patches | differ by, % |")
    print("|---|---|---|---|---|---|")
    for scene in given.scenes:
        workspace = Workspace.open(scene)
        gaussians = load_splats_of(workspace)
        cameras = [view.camera for view in read_capture_of(workspace).train]
        full = counts(gaussians, cameras, FULL, FULL)
        for rendered, compared in ((FULL, FULL), (FULL, COMPARED_WIDTH), (DEPTH_WIDTH, COMPARED_WIDTH)):
            found = full if compared == FULL else counts(gaussians, cameras, rendered, compared)
            other, apart = 100 * np.mean(found != full), 100 * np.abs(found - full).mean() / full.mean()
            sizes = " | ".join("full" if px == FULL else str(px) for px in (rendered, compared))
            print(f"| {scene.name} | {sizes} | {found.sum()} | {other:.1f} | {apart:.1f} |", flush=True)


if __name__ == "__main__":
    main()
