"""A closed room with textured walls and boxes in it, ray-cast exactly, for cameras that look everywhere."""

from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np

from tests.helpers.made_capture import turned
from tests.helpers.textured import texture
from tests.helpers.wide import pixel_centres

# Boxes by their least and greatest corners, y down; the first is the room itself, seen from inside.
BOXES = np.array(
    [
        [[-3.0, -1.5, -2.5], [3.0, 1.5, 2.5]],
        [[-2.6, 0.4, -2.0], [-1.6, 1.5, -1.2]],
        [[1.4, 0.2, 1.0], [2.4, 1.5, 1.9]],
        [[-0.4, 0.8, 1.2], [0.5, 1.5, 2.0]],
    ]
)
TEXELS = 130  # of a texture, a unit of length


def colours(position: np.ndarray, rays: np.ndarray) -> np.ndarray:
    """What is seen from a position along rays. [..., 3] → uint8 [..., 3]"""
    nearest = np.full(rays.shape[:-1], np.inf)
    image = np.zeros((*rays.shape[:-1], 3), np.uint8)
    with np.errstate(divide="ignore", invalid="ignore"):
        for number, box in enumerate(BOXES):
            for axis in range(3):
                for side in range(2):
                    distance = (box[side, axis] - position[axis]) / rays[..., axis]
                    hit = position + distance[..., None] * rays
                    others = [other for other in range(3) if other != axis]
                    within = (hit[..., others] >= box[0, others]) & (hit[..., others] <= box[1, others])
                    seen = within.all(axis=-1) & (distance > 1e-6) & (distance < nearest)
                    u, v = ((hit[seen][:, others] - box[0, others]) * TEXELS - 0.5).astype(np.float32).T
                    image[seen] = _drawn(_texture(10 * number + 2 * axis + side), u, v)
                    nearest[seen] = distance[seen]
    return image


_texture = lru_cache(texture)


def _drawn(picture: np.ndarray, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Colours at places of a picture, which is repeated mirrored. [n] → uint8 [n, 3]"""
    rows = range(0, len(u), 30_000)  # OpenCV takes no more in a row
    parts = [
        cv2.remap(picture, u[None, i : i + 30_000], v[None, i : i + 30_000], cv2.INTER_LINEAR,
                  borderMode=cv2.BORDER_REFLECT)[0]
        for i in rows
    ]  # fmt: skip
    return np.concatenate(parts) if parts else np.zeros((0, 3), np.uint8)


def panorama_viewmats(count: int) -> list[np.ndarray]:
    """World-to-camera transforms on a walk around the middle of the room, a little tilted. [4, 4] each"""
    viewmats = []
    for index in range(count):
        angle = 2 * np.pi * index / count
        position = np.array([1.1 * np.cos(angle), 0.25 * np.sin(3 * angle), 0.9 * np.sin(angle)])
        viewmat = np.eye(4)
        viewmat[:3, :3] = turned(0.15 * index, [0.05 * np.sin(index), 1.0, 0.05 * np.cos(index)])
        viewmat[:3, 3] = -viewmat[:3, :3] @ position
        viewmats.append(viewmat)
    return viewmats


def panorama(viewmat: np.ndarray, height: int) -> np.ndarray:
    """The whole room from a camera. uint8 [height, 2 height, 3]"""
    big = 2 * height  # four rays a pixel
    longitude, latitude = np.moveaxis(pixel_centres((2 * big, big)) * np.pi / big, -1, 0)
    longitude, latitude = longitude - np.pi, latitude - np.pi / 2
    x, y = np.cos(latitude) * np.sin(longitude), np.sin(latitude)
    rays = np.stack([x, y, np.cos(latitude) * np.cos(longitude)], axis=-1) @ viewmat[:3, :3]
    image = colours(-viewmat[:3, :3].T @ viewmat[:3, 3], rays)
    return cv2.resize(image, (2 * height, height), interpolation=cv2.INTER_AREA)


def write_panoramas(folder: Path, count: int, height: int) -> list[np.ndarray]:
    """Panoramas `pano 00.jpg` …; returns their world-to-camera transforms."""
    folder.mkdir(parents=True)
    viewmats = panorama_viewmats(count)
    for index, viewmat in enumerate(viewmats):
        image = panorama(viewmat, height)[..., ::-1]
        cv2.imwrite(str(folder / f"pano {index:02d}.jpg"), image, [cv2.IMWRITE_JPEG_QUALITY, 95])
    return viewmats


def fisheye_viewmats(count: int) -> list[np.ndarray]:
    """World-to-camera transforms on an arc before one wall, looking at the opposite one. [4, 4] each"""
    viewmats = []
    for index in range(count):
        share = index / (count - 1) - 0.5
        position = np.array([2.4 * share, 0.3 * np.sin(5 * share), -1.6 + share**2])
        viewmat = np.eye(4)
        viewmat[:3, :3] = turned(0.5 * share, [0.1, 1.0, 0.05])
        viewmat[:3, 3] = -viewmat[:3, :3] @ position
        viewmats.append(viewmat)
    return viewmats


def fisheye_photo(viewmat: np.ndarray, side: int, focal: float) -> np.ndarray:
    """What an equidistant fisheye sees: r px from the middle are r / focal radians. uint8 [side, side, 3]"""
    xy = (pixel_centres((2 * side, 2 * side)) - side) / (2 * focal)  # four rays a pixel
    angle = np.linalg.norm(xy, axis=-1)
    rays = np.concatenate([xy * np.sinc(angle / np.pi)[..., None], np.cos(angle)[..., None]], axis=-1)
    image = colours(-viewmat[:3, :3].T @ viewmat[:3, 3], rays @ viewmat[:3, :3])
    return cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA)
