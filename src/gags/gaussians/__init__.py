"""3D Gaussians: the set itself, its files, and how a camera sees it."""

from gags.gaussians.files import load_gaussians, save_gaussians
from gags.gaussians.gaussians import SH_C0, Gaussians, blend_weights, keep_view, largest_weights, render

__all__ = [
    "SH_C0",
    "Gaussians",
    "blend_weights",
    "keep_view",
    "largest_weights",
    "load_gaussians",
    "render",
    "save_gaussians",
]
