"""What rasterisation gives back, whatever the backend."""

from dataclasses import dataclass

from torch import Tensor

# Shared by every backend so that their pictures agree (values of gsplat and Kerbl et al. 2023).
EPS2D = 0.3  # low-pass filter added to the diagonal of the projected covariance, px²
NEAR_PLANE = 0.01  # Gaussians nearer than this (world units along z) are not drawn
MIN_ALPHA = 1.0 / 255.0  # contributions below this are skipped
MAX_ALPHA = 0.999  # alpha is clamped here so that transmittance never reaches 0
MIN_TRANSMITTANCE = 1e-4  # a pixel is finished once less light than this gets through


@dataclass(eq=False)
class Rendering:
    """One rasterised view.

    Attributes:
        colors: Blended colours or features, background included if one was given. [H, W, C]
        depths: Expected depth Σ w z / Σ w along the optical axis; 0 where nothing was hit. [H, W]
        alphas: Accumulated opacity Σ w. [H, W]
        radii: Screen radius in px of every Gaussian, 0 if it is not in the picture. int32 [N]
    """

    colors: Tensor
    depths: Tensor
    alphas: Tensor
    radii: Tensor


@dataclass(eq=False)
class BlendWeights:
    """Which Gaussians make up some pixels, and how much of each.

    Attributes:
        indices: Gaussian indices by descending weight, -1 where fewer than k contribute. int32 [P, k]
        weights: Blending weights w = αT of those Gaussians, 0 for padding. float32 [P, k]
        alphas: Sum over *all* contributing Gaussians, kept or not. float32 [P]
    """

    indices: Tensor
    weights: Tensor
    alphas: Tensor
