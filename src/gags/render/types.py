"""What rasterisation returns, and the limits that all backends share."""

from dataclasses import dataclass

from torch import Tensor

# Values of Kerbl et al. 2023 and gsplat; pictures of different backends agree only if these are the same.
EPS2D = 0.3  # low-pass filter added to the diagonal of the projected covariance, px²
NEAR_PLANE = 0.01  # Gaussians nearer than this (world units along z) are not drawn
MIN_ALPHA = 1.0 / 255.0  # a Gaussian of less alpha at a pixel is not drawn there
MAX_ALPHA = 0.999  # alpha is clamped here so that transmittance never reaches 0
MIN_TRANSMITTANCE = 1e-4  # a pixel is finished before its transmittance would fall to this


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
