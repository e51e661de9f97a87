"""Photos of a smooth sky that is known in every direction, taken by pycolmap's own wide cameras."""

import numpy as np
import pycolmap

SIZE = (400, 300)
# Every model of COLMAP that is not perspective, with numbers as calibrations find them.
WIDE_LENSES: dict[str, list[float]] = {
    "SIMPLE_FISHEYE": [150.0, 190, 160],
    "FISHEYE": [150.0, 154, 190, 160],
    "SIMPLE_RADIAL_FISHEYE": [150.0, 190, 160, -0.03],
    "RADIAL_FISHEYE": [150.0, 210, 145, -0.03, 0.004],
    "OPENCV_FISHEYE": [150.0, 154, 210, 145, -0.03, 0.004, -0.002, 0.0003],
    "FOV": [150.0, 154, 190, 160, 0.9],
    "THIN_PRISM_FISHEYE": [150.0, 154, 190, 160, 0.05, 0.02, 0.001, -0.002, 0.003, -0.001, 0.004, 0.002],
    "RAD_TAN_THIN_PRISM_FISHEYE": [
        150.0, 154, 190, 160, -0.02, 0.01, -0.004, 0.001, 0.0002, -0.0001, 0.002, -0.001,
        0.001, 0.002, -0.003, 0.004,
    ],
    "SIMPLE_DIVISION": [210.0, 190, 160, -0.2],
    "DIVISION": [210.0, 214, 190, 160, -0.2],
    "EUCM": [150.0, 154, 190, 160, 0.6, 1.1],
}  # fmt: skip


def sky(rays: np.ndarray) -> np.ndarray:
    """Colour in a direction, smooth, and different in every one. [..., 3] → float64 [..., 3], 28 to 228"""
    rays = rays / np.linalg.norm(rays, axis=-1, keepdims=True)
    waves = np.array([[5.0, 2.0, -1.0], [-1.0, 4.0, 6.0], [3.0, -5.0, 2.0]])
    return 128 + 100 * np.sin(rays @ waves.T + [0.3, 1.1, 2.0])


def pixel_centres(size: tuple[int, int]) -> np.ndarray:
    """The first at 0.5. [H, W, 2]"""
    return np.stack(np.meshgrid(np.arange(size[0]) + 0.5, np.arange(size[1]) + 0.5), axis=-1)


def picture(rays: np.ndarray) -> np.ndarray:
    """What is seen along rays, black where they are NaN. uint8 [H, W, 3]"""
    return np.nan_to_num(sky(rays)).round().astype(np.uint8)


def photo_of(camera: pycolmap.Camera) -> np.ndarray:
    """What pycolmap's camera sees of the sky, as far as it is before it. uint8 [H, W, 3]"""
    size = (camera.width, camera.height)
    xy = camera.cam_from_img(pixel_centres(size).reshape(-1, 2)).reshape(size[1], size[0], 2)
    return picture(np.concatenate([xy, np.ones_like(xy[..., :1])], axis=-1))


def panorama(height: int, R_camera_world: np.ndarray | None = None) -> np.ndarray:
    """The whole sky, from a camera that is turned so. uint8 [height, 2 height, 3]"""
    longitude, latitude = np.moveaxis(pixel_centres((2 * height, height)) * np.pi / height, -1, 0)
    longitude, latitude = longitude - np.pi, latitude - np.pi / 2
    x, y = np.cos(latitude) * np.sin(longitude), np.sin(latitude)
    rays = np.stack([x, y, np.cos(latitude) * np.cos(longitude)], axis=-1)
    return picture(rays if R_camera_world is None else rays @ R_camera_world)
