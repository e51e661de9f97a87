"""Compare our oriented boxes with trimesh's, on the things of a scene: python -m benchmarks.boxes WS

trimesh searches the box of least volume over the facets of the convex hull; it takes every point as it is.
Ours leaves outliers out, so both are also compared on the points that lie in our box. Needs trimesh, scipy.
"""

import argparse
import time
from pathlib import Path

import numpy as np
import trimesh

import gags
from gags.query.boxes import oriented_box


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("scene", type=Path)
    parser.add_argument("--most", type=int, default=60, help="things to look at, those of most photos first")
    arguments = parser.parse_args()
    scene = gags.Scene.load(arguments.scene)
    means, opacities = (
        scene.gaussians.means.cpu().double().numpy(),
        scene.gaussians.opacities.cpu().double().numpy(),
    )
    rows = []
    things = scene.things()
    for thing in range(min(arguments.most, len(things))):
        members = things[thing]
        started = time.perf_counter()
        box = oriented_box(means[members], opacities[members])
        ours_s = time.perf_counter() - started
        inside = means[members][box.contains(means[members])]
        if len(inside) < 8:
            continue
        every, every_s = trimesh_volume(means[members])
        same, _ = trimesh_volume(inside)
        ours = float(np.prod(box.size))
        rows.append((len(members), every / ours, same / ours, ours_s * 1e3, every_s * 1e3))
    table = np.array(rows)
    middle = np.median(table, axis=0)
    print(f"{len(table)} things, medians: {middle[0]:.0f} Gaussians")
    print(f"volume of trimesh's box over ours: {middle[1]:.2f}, of the points in ours: {middle[2]:.3f}")
    print(f"ms a box: ours {middle[3]:.1f}, trimesh {middle[4]:.1f}")


def trimesh_volume(points: np.ndarray) -> tuple[float, float]:
    """Volume of trimesh's oriented box around some points [N, 3], and the seconds it took."""
    started = time.perf_counter()
    _, extents = trimesh.bounds.oriented_bounds(points)
    return float(np.prod(extents)), time.perf_counter() - started


if __name__ == "__main__":
    main()
