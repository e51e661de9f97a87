"""What can be chosen about training Gaussians; light to import, for the command line."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class ReconstructSettings:
    """How 3D Gaussians are trained from photos."""

    steps: int = 2000
    """Training steps; each looks at one photo."""
    seed: int = 0
    """Seed of photo order, backgrounds and splits; on a CPU, the same seed gives the same Gaussians."""
    max_gaussians: int = 100_000
    """Densification stops adding at this many Gaussians."""
    sh_degree: int = 2
    """Final degree of the spherical harmonics, 0 to 3 (0: colours do not depend on the direction)."""
    sh_interval: float = 0.2
    """Share of the steps between two raises of the spherical-harmonics degree, beginning at 0."""
    resolutions: tuple[tuple[float, int], ...] = ((0.0, 4), (0.25, 2), (0.65, 1))
    """Coarse to fine: from which share of the steps on the photos are used at 1/n of their size."""
    lambda_dssim: float = 0.2
    """Weight of D-SSIM in the loss; L1 has the rest."""
    depth_weight: float = 0.2
    """Weight of the distance between rendered depth and sparse points in the loss; 0 ignores the points."""
    background: Literal["random", "black", "white"] = "random"
    """Colour behind the Gaussians while training; random colours make surfaces opaque."""
    initial_opacity: float = 0.5
    """Opacity of the Gaussians that start at the sparse points."""
    fill_holes_at: int = 100
    """Step after which surfaces without sparse points get Gaussians; 0: never."""
    means_lr: float = 2e-4
    """First learning rate of the centres, in scene extents per step."""
    means_lr_final: float = 4e-6
    """Last learning rate of the centres; the decay between is exponential."""
    quats_lr: float = 4e-3
    """Learning rate of the rotations."""
    scales_lr: float = 2e-2
    """Learning rate of the log-scales."""
    opacities_lr: float = 5e-2
    """Learning rate of the opacity logits."""
    sh_lr: float = 0.01
    """Learning rate of the base colours; higher harmonics take a tenth."""
    densify_from: int = 100
    """First step of densification and pruning."""
    densify_until: float = 0.7
    """Share of the steps after which no Gaussians are added any more."""
    densify_every: int = 100
    """Steps between two densifications."""
    densify_gradient: float = 1e-4
    """Least mean screen-space gradient (image half-widths, as in 3DGS) of a Gaussian worth splitting."""
    prune_opacity: float = 0.01
    """Gaussians less opaque than this are removed."""
    prune_weight: float = 0.02
    """Gaussians whose blending weight stays below this in every photo are removed; 0 keeps all."""
    prune_floaters: bool = True
    """Remove what hovers between a camera and the nearest sparse points it sees."""

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ValueError(f"steps must be at least 1, got {self.steps}")
        if not 0 <= self.sh_degree <= 3:
            raise ValueError(f"sh_degree must be 0, 1, 2 or 3, got {self.sh_degree}")
        starts = [start for start, _ in self.resolutions]
        if (
            not starts
            or starts[0] != 0
            or starts != sorted(starts)
            or any(n < 1 for _, n in self.resolutions)
        ):
            raise ValueError(
                "resolutions must be (share of steps, divisor) pairs from share 0 upwards, "
                f"got {self.resolutions}"
            )
