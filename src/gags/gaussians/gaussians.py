"""3D Gaussians as plain tensors, stored the way 3DGS files store them."""

from dataclasses import dataclass, fields

import torch
from torch import Tensor

SH_C0 = 0.28209479177387814  # Y of degree 0, 1 / (2 √π): colour = ½ + C0 · coefficient (Kerbl et al. 2023)


@dataclass(eq=False)
class Gaussians:
    """A set of N Gaussians; values before activation, so that reading and writing a file loses nothing.

    Attributes:
        means: Centres in world units. [N, 3]
        quats: Rotations as wxyz quaternions, not necessarily normalised. [N, 4]
        log_scales: Natural logarithms of the standard deviations along the axes. [N, 3]
        logit_opacities: Opacities before the sigmoid. [N]
        sh: Spherical-harmonic colour coefficients, DC first; K = (degree + 1)². [N, K, 3]
    """

    means: Tensor
    quats: Tensor
    log_scales: Tensor
    logit_opacities: Tensor
    sh: Tensor

    def __len__(self) -> int:
        return self.means.shape[0]

    @property
    def scales(self) -> Tensor:
        """Standard deviations in world units. [N, 3]"""
        return self.log_scales.exp()

    @property
    def opacities(self) -> Tensor:
        """Opacities in (0, 1). [N]"""
        return self.logit_opacities.sigmoid()

    @property
    def sh_degree(self) -> int:
        """Degree of the spherical harmonics held, 0 to 3."""
        return round(self.sh.shape[1] ** 0.5) - 1

    def to(self, device: torch.device | str) -> "Gaussians":
        """The same Gaussians on another device."""
        return Gaussians(*(getattr(self, f.name).to(device) for f in fields(self)))

    def __getitem__(self, index: Tensor) -> "Gaussians":
        """A subset, by boolean mask [N] or by indices, in the order of the index."""
        return Gaussians(*(getattr(self, f.name)[index] for f in fields(self)))
