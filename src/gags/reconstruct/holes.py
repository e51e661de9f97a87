"""Gaussians for what the sparse points missed: bare walls, floors and sky that no feature was found on."""

from collections.abc import Iterable

import cv2
import numpy as np
import torch

from gags.capture.camera import Camera
from gags.gaussians import SH_C0, Gaussians, render
from gags.reconstruct.state import TrainingState

HOLE_ALPHA = 0.5  # where less than this is hit, something is missing
WIDTH_PX = 0.7  # standard deviation of a filling Gaussian, in pixels of the small picture it fills


SmallPhoto = tuple[np.ndarray, Camera] | tuple[np.ndarray, Camera, np.ndarray | None]
"""A photo, uint8 [H, W, 3], its camera, and which pixels count, bool [H, W]; all if None or left out."""


def fill_holes(state: TrainingState, photos: Iterable[SmallPhoto], *, opacity: float) -> int:
    """Put a Gaussian on every empty pixel of some small photos, as far away as the nearest thing seen.

    Args:
        state: Training state, extended in place. Views are filled one after the other, so that what one
            view filled is not filled again.
        photos: Small photos and their cameras. Pixels that do not count are not filled.
        opacity: Opacity of the new Gaussians.

    Returns:
        How many Gaussians were added.
    """
    before = len(state)
    for photo, camera, *counted in photos:
        rendering = render(state.gaussians, camera)
        alphas, depths = torch.stack([rendering.alphas, rendering.depths]).cpu().numpy()
        holes = alphas < HOLE_ALPHA
        if holes.any() and not holes.all():
            depths = _nearest_depths(depths, holes)
            if counted and counted[0] is not None:
                holes &= counted[0]
            found = _gaussians_on(holes, depths, photo, camera, opacity, state.gaussians.sh.shape[1])
            state.append(found.to(state.gaussians.means.device))
    return len(state) - before


def _nearest_depths(depths: np.ndarray, holes: np.ndarray) -> np.ndarray:
    """Depths with every hole taking the depth of the nearest pixel that is none. [H, W]"""
    _, labels = cv2.distanceTransformWithLabels(
        holes.astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    labels = labels.astype(np.int64)
    depth_of_label = np.zeros(labels.max() + 1, depths.dtype)
    depth_of_label[labels[~holes]] = depths[~holes]
    return depth_of_label[labels]


def _gaussians_on(
    holes: np.ndarray, depths: np.ndarray, photo: np.ndarray, camera: Camera, opacity: float, harmonics: int
) -> Gaussians:
    """Round Gaussians on the pixels of a mask, at given depths and in the colours of the photo."""
    rows, columns = np.nonzero(holes)
    depth = depths[holes].astype(np.float64)
    means = camera.unproject(np.stack([columns + 0.5, rows + 0.5], axis=1), depth)
    scales = WIDTH_PX * depth / np.sqrt(camera.K[0, 0] * camera.K[1, 1])
    count = len(means)
    quats, sh = torch.zeros(count, 4), torch.zeros(count, harmonics, 3)
    quats[:, 0] = 1
    sh[:, 0] = (torch.from_numpy(photo[holes]).float() / 255 - 0.5) / SH_C0
    return Gaussians(
        means=torch.from_numpy(means).float(),
        quats=quats,
        log_scales=torch.from_numpy(np.log(scales)).float()[:, None].repeat(1, 3),
        logit_opacities=torch.full((count,), float(np.log(opacity / (1 - opacity)))),
        sh=sh,
    )
