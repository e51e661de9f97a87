"""Where training begins: one Gaussian a sparse point, as large as its neighbourhood is sparse."""

import cv2
import numpy as np
import torch

from gags.capture import Capture
from gags.errors import CaptureError
from gags.gaussians import SH_C0, Gaussians

NEIGHBOURS = 3
EXACT_KD_TREE = 4  # cv2.flann's name-less constant FLANN_INDEX_KDTREE_SINGLE
LARGEST_SCALE = 0.1  # of the scene extent; lone outliers would otherwise start as large as the room


def scene_extent(capture: Capture) -> float:
    """How far away the photographed things are: the median depth of the points in front of the cameras.

    Unlike the spread of the cameras, it is right for orbits and for photos taken from one side alike.

    Args:
        capture: Posed photos and their points.

    Returns:
        A length in world units.

    Raises:
        CaptureError: If no view has a point in front of it.
    """
    depths, points = [], capture.points.astype(np.float64)
    for view in capture.train:
        xy, depth = view.camera.project(points)
        inside = (
            (depth > 0) & (xy >= 0).all(1) & (xy[:, 0] < view.camera.width) & (xy[:, 1] < view.camera.height)
        )
        if inside.any():
            depths.append(np.median(depth[inside]))
    if not depths:
        raise CaptureError(
            f"none of the {len(capture.points)} points of {capture.root} is in front of a training photo's "
            "camera: points and poses are not in the same frame, or the poses are camera-to-world; "
            "check the export of the capture"
        )
    return float(np.median(depths))


def gaussians_at_points(
    points: np.ndarray, points_rgb: np.ndarray, *, opacity: float, extent: float
) -> Gaussians:
    """Round Gaussians of spherical-harmonics degree 0 at the sparse points.

    Args:
        points: Positions in world units. float32 [P, 3]
        points_rgb: Their colours. uint8 [P, 3]
        opacity: Opacity of all, in (0, 1).
        extent: Scene extent, bounds the scales.

    Returns:
        P Gaussians; the standard deviation is the mean distance to the three nearest other points.
    """
    count = len(points)
    scales = neighbour_distances(points).clip(1e-4 * extent, LARGEST_SCALE * extent)
    quats = torch.zeros(count, 4)
    quats[:, 0] = 1
    return Gaussians(
        means=torch.from_numpy(np.array(points, dtype=np.float32)),
        quats=quats,
        log_scales=torch.from_numpy(np.log(scales)).float()[:, None].repeat(1, 3),
        logit_opacities=torch.full((count,), float(np.log(opacity / (1 - opacity)))),
        sh=(torch.from_numpy(np.array(points_rgb)).float()[:, None] / 255 - 0.5) / SH_C0,
    )


def neighbour_distances(points: np.ndarray) -> np.ndarray:
    """Mean distance of every point to its three nearest others. float32 [P, 3] → float64 [P]"""
    neighbours = min(NEIGHBOURS, len(points) - 1)
    if neighbours < 1:
        return np.ones(len(points))
    tree = cv2.flann.Index(np.ascontiguousarray(points, np.float32), {"algorithm": EXACT_KD_TREE})
    _, squared = tree.knnSearch(
        np.ascontiguousarray(points, np.float32), neighbours + 1, params={"checks": -1}
    )
    return np.sqrt(np.maximum(squared[:, 1:], 0)).mean(axis=1).astype(np.float64)
