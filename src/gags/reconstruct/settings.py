"""What can be chosen about training Gaussians; light to import, for the command line."""

from dataclasses import dataclass
from typing import Literal

from gags.errors import SettingsError
from gags.files.ranges import RATE, SEED, SHARE, STEPS, Range, Settings, ranged


@dataclass(frozen=True)
class ReconstructSettings(Settings, prefix="reconstruct"):
    """How 3D Gaussians are trained from photos."""

    steps: int = ranged(2000, STEPS)
    """Training steps; each looks at one photo."""
    seed: int = ranged(0, SEED)
    """Seed of photo order, backgrounds and splits; on a CPU, the same seed gives the same Gaussians."""
    max_gaussians: int = ranged(100_000, Range(1, 20_000_000))
    """Densification stops adding at this many Gaussians."""
    sh_degree: int = ranged(2, Range(0, 3))
    """Final degree of the spherical harmonics, 0 to 3 (0: colours do not depend on the direction)."""
    sh_interval: float = ranged(0.2, Range(0.001, 1))
    """Share of the steps between two raises of the spherical-harmonics degree, beginning at 0."""
    resolutions: tuple[tuple[float, int], ...] = ranged(
        ((0.0, 4), (0.25, 2), (0.65, 1)), Range(0, 1, high_open=True), Range(1, 64)
    )
    """Coarse to fine: from which share of the steps on the photos are used at 1/n of their size."""
    lambda_dssim: float = ranged(0.2, SHARE)
    """Weight of D-SSIM in the loss; L1 has the rest."""
    depth_weight: float = ranged(0.2, Range(0, 1000))
    """Weight of the distance between rendered depth and sparse points in the loss; 0 ignores the points."""
    background: Literal["random", "black", "white"] = "random"
    """Colour behind the Gaussians while training; random colours make surfaces opaque."""
    initial_opacity: float = ranged(0.5, Range(0.001, 0.999))
    """Opacity of the Gaussians that start at the sparse points."""
    fill_holes_at: int = ranged(100, Range(0, 1_000_000))
    """Step after which surfaces without sparse points get Gaussians; 0: never."""
    means_lr: float = ranged(2e-4, Range(1e-12, 1))
    """First learning rate of the centres, in scene extents per step."""
    means_lr_final: float = ranged(4e-6, RATE)
    """Last learning rate of the centres; the decay between is exponential."""
    quats_lr: float = ranged(4e-3, RATE)
    """Learning rate of the rotations."""
    scales_lr: float = ranged(2e-2, RATE)
    """Learning rate of the log-scales."""
    opacities_lr: float = ranged(5e-2, RATE)
    """Learning rate of the opacity logits."""
    sh_lr: float = ranged(0.01, RATE)
    """Learning rate of the base colours; higher harmonics take a tenth."""
    densify_from: int = ranged(100, Range(0, 1_000_000))
    """First step of densification and pruning."""
    densify_until: float = ranged(0.7, SHARE)
    """Share of the steps after which no Gaussians are added any more."""
    densify_every: int = ranged(100, STEPS)
    """Steps between two densifications."""
    densify_gradient: float = ranged(1e-4, Range(0, 1000))
    """Least mean screen-space gradient (image half-widths, as in 3DGS) of a Gaussian worth splitting."""
    prune_opacity: float = ranged(0.01, Range(0, 1, high_open=True))
    """Gaussians less opaque than this are removed."""
    prune_weight: float = ranged(0.02, Range(0, 1, high_open=True))
    """Gaussians whose blending weight stays below this in every photo are removed; 0 keeps all."""
    prune_floaters: bool = True
    """Remove what hovers between a camera and the nearest sparse points it sees."""

    def __post_init__(self) -> None:
        """Check all fields.

        Raises:
            SettingsError: If one is out of its range, or the resolutions are not in order.
        """
        super().__post_init__()
        starts = [start for start, _ in self.resolutions]
        if not starts or starts[0] != 0 or starts != sorted(starts):
            rows = " ".join(f"{start:g} {divisor}" for start, divisor in self.resolutions) or "none"
            raise SettingsError(
                self.named("resolutions"), f"must begin at share 0 and go upwards, got {rows}"
            )
