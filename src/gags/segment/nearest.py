"""How near any photo sees a surface: d_min of GAGS Eq. 1, from the depth maps of all photos."""

from collections.abc import Sequence

import numpy as np
from numba import prange

from gags.capture.camera import Camera
from gags.simd.cache import kernel

COMPARED_WIDTH = 160  # px; of the depth maps that are compared between views
VISIBLE_WITHIN = 0.25  # a point is visible if it is this close to the rendered depth, as a share of that


def nearest_depths(
    depths: Sequence[np.ndarray], cameras: Sequence[Camera], *, width: int = COMPARED_WIDTH
) -> list[np.ndarray]:
    """The least depth at which any view sees the surface point of each pixel: d_min of GAGS Eq. 1.

    Args:
        depths: Depth of each view, any size of its camera's aspect; 0 where nothing was hit. [h, w] each
        cameras: Cameras of the views.
        width: Width at which views are compared, px; wider depth maps are sampled.

    Returns:
        d_min of each view, 0 where depth is 0, never above the view's own depth. float32 [h, w] each

    Raises:
        ValueError: If there are not as many depths as cameras.
    """
    small = [sample_depth(depth, width) for depth in depths]
    nearest = nearest_of_small(small, cameras)
    return [
        upscale_nearest(low, sampled, depth)
        for low, sampled, depth in zip(nearest, small, depths, strict=True)
    ]


def nearest_of_small(small: Sequence[np.ndarray], cameras: Sequence[Camera]) -> list[np.ndarray]:
    """`nearest_depths` of depth maps that are compared at their own size, see there. float32 [h, w] each"""
    if len(small) != len(cameras):
        raise ValueError(f"{len(small)} depths for {len(cameras)} cameras; give one each")
    if not small:
        return []
    offsets = np.cumsum([0] + [depth.size for depth in small])
    shapes = np.array([depth.shape for depth in small])
    flat = np.concatenate([depth.ravel() for depth in small])
    resized = [
        camera.resized(depth.shape[1], depth.shape[0]) for camera, depth in zip(cameras, small, strict=True)
    ]
    intrinsics = np.array([[c.K[0, 0], c.K[1, 1], c.K[0, 2], c.K[1, 2]] for c in resized])
    viewmats = np.array([c.viewmat for c in resized])
    nearest = _nearest(depths=flat, offsets=offsets, shapes=shapes, viewmats=viewmats, intrinsics=intrinsics)
    return [
        nearest[a:b].reshape(low.shape) for a, b, low in zip(offsets[:-1], offsets[1:], small, strict=True)
    ]


def sample_depth(depth: np.ndarray, width: int = COMPARED_WIDTH) -> np.ndarray:
    """Nearest-neighbour sample of a depth map, so that no two depths are mixed.

    Args:
        depth: The map. [H, W]
        width: At most how wide the sample is; a map that is no wider stays as it is.

    Returns:
        float32 [h, w]
    """
    depth = np.asarray(depth, np.float32)
    h, w = depth.shape
    if w <= width:
        return depth
    height = max(1, round(h * width / w))
    rows = ((np.arange(height) + 0.5) * h / height).astype(np.int64)
    columns = ((np.arange(width) + 0.5) * w / width).astype(np.int64)
    return depth[np.ix_(rows, columns)]


def upscale_nearest(nearest: np.ndarray, small: np.ndarray, depth: np.ndarray) -> np.ndarray:
    """d_min at the size of `depth`: the ratio d_min / d of the sampled map `small`, times `depth`.

    Args:
        nearest: d_min at the size of `small`. float32 [h, w]
        small: From `sample_depth`. float32 [h, w]
        depth: What it was sampled from. [H, W]

    Returns:
        float32 [H, W]
    """
    depth = np.asarray(depth, np.float32)
    if nearest.shape == depth.shape:
        return nearest
    ratio = np.divide(nearest, small, out=np.ones_like(small), where=small > 0)
    (h, w), (H, W) = nearest.shape, depth.shape
    return depth * ratio[np.ix_(np.arange(H) * h // H, np.arange(W) * w // W)]


@kernel(parallel=True)
def _nearest(
    depths: np.ndarray, offsets: np.ndarray, shapes: np.ndarray, viewmats: np.ndarray, intrinsics: np.ndarray
) -> np.ndarray:
    """d_min over all pairs of views; maps are flat, one behind the other.

    Args:
        depths: All maps; P pixels in total. float32 [P]
        offsets: Where each map starts, and the end. int64 [V + 1]
        shapes: Height and width of each. int64 [V, 2]
        viewmats: World-to-camera transforms. float64 [V, 4, 4]
        intrinsics: fx, fy, cx, cy, px of the maps. float64 [V, 4]

    Returns:
        float32 [P]
    """
    nearest = depths.copy()
    for v in prange(len(shapes)):
        fx, fy, cx, cy = intrinsics[v]
        rotation, shift = viewmats[v, :3, :3], viewmats[v, :3, 3]
        for u in range(len(shapes)):
            if u == v:
                continue
            # From camera v to camera u: R = R_u R_vᵀ, t = t_u − R t_v.
            R = np.zeros((3, 3))
            t = np.zeros(3)
            for a in range(3):
                for b in range(3):
                    for c in range(3):
                        R[a, b] += viewmats[u, a, c] * rotation[b, c]
            for a in range(3):
                t[a] = viewmats[u, a, 3] - R[a, 0] * shift[0] - R[a, 1] * shift[1] - R[a, 2] * shift[2]
            fx_u, fy_u, cx_u, cy_u = intrinsics[u]
            height, width = shapes[u]
            for row in range(shapes[v, 0]):
                y = (row + 0.5 - cy) / fy
                for column in range(shapes[v, 1]):
                    pixel = offsets[v] + row * shapes[v, 1] + column
                    d = depths[pixel]
                    if d <= 0:
                        continue
                    # The surface point of the pixel is d · (x, y, 1) in camera v; its depth in camera u:
                    x = (column + 0.5 - cx) / fx
                    z_u = (R[2, 0] * x + R[2, 1] * y + R[2, 2]) * d + t[2]
                    if z_u <= 0 or z_u >= nearest[pixel]:
                        continue
                    # Where camera u sees it, and whether something else is in front of it there.
                    x_u = ((R[0, 0] * x + R[0, 1] * y + R[0, 2]) * d + t[0]) / z_u * fx_u + cx_u
                    y_u = ((R[1, 0] * x + R[1, 1] * y + R[1, 2]) * d + t[1]) / z_u * fy_u + cy_u
                    if x_u < 0 or y_u < 0 or x_u >= width or y_u >= height:
                        continue
                    seen = depths[offsets[u] + int(y_u) * width + int(x_u)]
                    if seen > 0 and abs(seen - z_u) <= VISIBLE_WITHIN * seen:
                        nearest[pixel] = z_u
    return nearest
