"""Meshes of a scene: of all that it shows, or of the things that texts name."""

from collections.abc import Sequence

import numpy as np
import torch

from gags.gaussians import Gaussians
from gags.gaussians.mesh import FAINT, Grid, Mesh, nearest, surface_of
from gags.progress import SILENT, Reporter
from gags.query.boxes import OrientedBox, oriented_box
from gags.query.ids import thing_of_each
from gags.scene import Scene


def scene_meshes(scene: Scene, texts: Sequence[str], cells: int, progress: Reporter = SILENT) -> list[Mesh]:
    """A mesh of each instance of what texts name, closed; without texts, one of all that is seen, open.

    Args:
        scene: The scene.
        texts: What to look for.
        cells: Along the longest side of each.
        progress: Told about progress.

    Raises:
        GagsError: If a text is empty, the extra `mesh` is missing, or no surface is found.
    """
    things = thing_of_each(scene.things(progress), len(scene.gaussians))
    if not texts:
        every = torch.ones(len(scene.gaussians), dtype=torch.bool)
        means, opacities = _centres(scene.gaussians)
        return [
            _mesh(scene, every, oriented_box(means, opacities), things, cells, solid=False, progress=progress)
        ]
    instances = [instance for found in scene.locate(list(texts), progress=progress) for instance in found]
    return [
        _mesh(scene, instance.mask, instance.box, things, cells, solid=True, progress=progress)
        for instance in instances
    ]


def _mesh(
    scene: Scene,
    mask: torch.Tensor,
    box: OrientedBox,
    things: np.ndarray,
    cells: int,
    *,
    solid: bool,
    progress: Reporter,
) -> Mesh:
    """The surface of some Gaussians of a scene, with each vertex's thing: that of the nearest Gaussian."""
    gaussians = scene.gaussians[mask.to(scene.gaussians.means.device)]
    means, opacities = _centres(gaussians)
    seen = opacities >= min(FAINT, opacities.max())
    low, high = -box.size / 2 + box.axes @ box.center, box.size / 2 + box.axes @ box.center
    if solid:  # all of it, and not only what a box of most of it holds
        along = means[seen] @ box.axes.T
        low, high = along.min(axis=0), along.max(axis=0)
    grid = Grid.around(low, high, box.axes, cells)
    cameras = [view.camera for view in scene.capture.views]
    mesh = surface_of(gaussians, cameras, grid, solid=solid, progress=progress)
    mesh.things = things[mask.numpy()][seen][nearest(means[seen], mesh.vertices)]
    return mesh


def _centres(gaussians: Gaussians) -> tuple[np.ndarray, np.ndarray]:
    """Means [n, 3] and opacities [n] on the CPU, float64."""
    return gaussians.means.cpu().double().numpy(), gaussians.opacities.cpu().double().numpy()
