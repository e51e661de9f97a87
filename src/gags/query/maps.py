"""Values of the Gaussians seen from a view: relevancies, or which of them were chosen, as maps."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from gags.capture.camera import Camera
from gags.render import Backend, rasterize
from gags.splats.gaussians import Gaussians

MIN_ALPHA = 0.5  # pixels with less are background: nothing is known about them
MAPS_AT_ONCE = 32  # channels rendered together, to bound memory


@dataclass(frozen=True, eq=False)
class ValueMaps:
    """What some values of the Gaussians look like in one view.

    Attributes:
        maps: Mean value of what each pixel shows, one map a value; 0 where not covered. float32 [T, H, W]
        covered: Pixels where enough was rendered to know. bool [H, W]
    """

    maps: np.ndarray
    covered: np.ndarray


@torch.no_grad()
def render_values(
    gaussians: Gaussians, values: Tensor, camera: Camera, *, backend: Backend = "auto"
) -> ValueMaps:
    """Render values of the Gaussians: Σ w v / Σ w at every pixel.

    All Gaussians take part, so that what stands in front hides what is behind.

    Args:
        gaussians: The scene.
        values: T values of each Gaussian. [N, T]
        camera: The view.
        backend: Rasteriser.
    """
    g = gaussians
    maps = np.empty((values.shape[1], camera.height, camera.width), np.float32)
    covered = np.zeros((camera.height, camera.width), bool)
    for first in range(0, values.shape[1], MAPS_AT_ONCE):
        part = values[:, first : first + MAPS_AT_ONCE].to(g.means).contiguous()
        drawn = rasterize(g.means, g.quats, g.scales, g.opacities, part, camera, backend=backend)
        enough = drawn.alphas >= MIN_ALPHA
        mean = drawn.colors / drawn.alphas.clamp(min=1e-6)[..., None]
        maps[first : first + MAPS_AT_ONCE] = (mean * enough[..., None]).permute(2, 0, 1).cpu().numpy()
        covered = enough.cpu().numpy()
    return ValueMaps(maps, covered)
