"""Values of the Gaussians seen from a view: relevancies, or which of them were chosen, as maps."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from gags.capture.camera import Camera
from gags.gaussians import Gaussians, render
from gags.render import Backend

KNOWN_ALPHA = 0.5  # pixels with less are background: nothing is known about them
MAPS_AT_ONCE = 32  # channels rendered together, to bound memory


@dataclass(frozen=True, eq=False)
class ValueMaps:
    """What some values of the Gaussians look like in one view.

    Attributes:
        values: Mean value of what each pixel shows, one map a value; 0 where not known. float32 [T, H, W]
        known: Pixels where enough was rendered to know, on the same device. bool [H, W]
    """

    values: Tensor
    known: Tensor

    @classmethod
    def of(cls, maps: np.ndarray, covered: np.ndarray) -> "ValueMaps":
        """Maps that are arrays, float32 [T, H, W] and bool [H, W]; nothing is copied."""
        return cls(torch.from_numpy(maps), torch.from_numpy(covered))

    @cached_property
    def maps(self) -> np.ndarray:
        """The values as an array; from a GPU they are copied. float32 [T, H, W]"""
        return self.values.cpu().numpy()

    @cached_property
    def covered(self) -> np.ndarray:
        """What is known as an array. bool [H, W]"""
        return self.known.cpu().numpy()


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
    means = gaussians.means
    maps = means.new_empty(values.shape[1], camera.height, camera.width)
    known = torch.zeros(camera.height, camera.width, dtype=torch.bool, device=means.device)
    for first in range(0, values.shape[1], MAPS_AT_ONCE):
        part = values[:, first : first + MAPS_AT_ONCE].to(means).contiguous()
        drawn = render(gaussians, camera, part, backend=backend)
        known = drawn.alphas >= KNOWN_ALPHA
        mean = drawn.colors / drawn.alphas.clamp(min=1e-6)[..., None]
        maps[first : first + MAPS_AT_ONCE] = (mean * known[..., None]).permute(2, 0, 1)
    return ValueMaps(maps, known)
