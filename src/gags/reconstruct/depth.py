"""The sparse points as a guide for depth: they lie on surfaces, and no ray passes a surface unstopped."""

from dataclasses import dataclass

import numpy as np

from gags.capture.camera import Camera

HIDDEN = 0.9  # a render nearer than this share of a point's depth shows something that hides the point


@dataclass(frozen=True, eq=False)
class DepthLoss:
    """How far rendered depth is from the points of one view.

    Attributes:
        value: Mean of |D − z| / z over the points in view, those hidden counting as 0.
        gradient: d value / d D. float32 [H, W]
    """

    value: float
    gradient: np.ndarray


def sparse_depth_loss(depths: np.ndarray, camera: Camera, points: np.ndarray) -> DepthLoss:
    """Compare rendered depth with the depth of the sparse points, at their pixels.

    Whether a view sees a point is not known. Where the render is clearly nearer, something may hide the
    point and nothing is to be learnt; where it is farther, the ray passed through a surface, always wrong.

    Args:
        depths: Rendered depth D, 0 where nothing was hit. float32 [H, W]
        camera: The view, of the size of `depths`.
        points: Sparse points in world units. [P, 3]

    Returns:
        The loss and its gradient.
    """
    xy, z = camera.project(points)
    columns, rows = np.floor(np.nan_to_num(xy, nan=-1.0, posinf=-1.0, neginf=-1.0)).T
    inside = (z > 0) & (columns >= 0) & (columns < camera.width) & (rows >= 0) & (rows < camera.height)
    gradient = np.zeros_like(depths)
    count = int(inside.sum())
    if not count:
        return DepthLoss(0.0, gradient)
    at, z = (rows[inside].astype(int), columns[inside].astype(int)), z[inside]
    ratio = depths[at] / z
    judged = ratio > HIDDEN
    np.add.at(gradient, at, np.where(judged, np.sign(ratio - 1) / (z * count), 0).astype(depths.dtype))
    return DepthLoss(float(np.abs(ratio - 1)[judged].sum() / count), gradient)
