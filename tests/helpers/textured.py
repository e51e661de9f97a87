"""A corner of a room with textured walls, ray-cast exactly, for structure from motion."""

from pathlib import Path

import cv2
import numpy as np

from gags.capture.camera import Camera

WIDTH, HEIGHT, FOCAL = 320, 240, 300.0
# Planes of the corner: a point, two edges that span it, in world units.
WALLS = [
    ((-2.0, -2.0, 0.0), (4.0, 0, 0), (0, 4.0, 0)),
    ((-2.0, 2.0, 0.0), (4.0, 0, 0), (0, 0, 3.0)),
    ((-2.0, -2.0, 0.0), (0, 4.0, 0), (0, 0, 3.0)),
]


def texture(seed: int, side: int = 384) -> np.ndarray:
    """Blobs of every size. uint8 [side, side, 3]"""
    rng = np.random.default_rng(seed)
    total = np.zeros((side, side, 3))
    for cells in (6, 12, 24, 48, 96):
        coarse = rng.random((cells, cells, 3))
        total += cv2.resize(coarse, (side, side), interpolation=cv2.INTER_NEAREST)
    low, high = total.min(), total.max()
    return (255 * (total - low) / (high - low)).astype(np.uint8)


def camera(angle: float, width: int = WIDTH, height: int = HEIGHT) -> Camera:
    """A camera on an arc around the corner, looking into it. `angle` in radians, 0 in the middle."""
    position = np.array(
        [1.2 + 2.2 * np.cos(angle - 0.8), -1.2 + 2.2 * np.sin(angle - 0.8), 1.6 + 0.4 * angle]
    )
    forward = np.array([-0.8, 0.8, 0.7]) - position
    forward /= np.linalg.norm(forward)
    right = np.cross(forward, [0, 0, 1.0])
    right /= np.linalg.norm(right)
    viewmat = np.eye(4)
    viewmat[:3, :3] = np.stack([right, np.cross(forward, right), forward])
    viewmat[:3, 3] = -viewmat[:3, :3] @ position
    focal = FOCAL * width / WIDTH
    K = np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]])
    return Camera(viewmat, K, width, height)


def photo(camera: Camera) -> np.ndarray:
    """What the camera sees. uint8 RGB [H, W, 3]"""
    x, y = np.meshgrid(np.arange(camera.width) + 0.5, np.arange(camera.height) + 0.5)
    rays = np.stack([(x - camera.K[0, 2]) / camera.K[0, 0], (y - camera.K[1, 2]) / camera.K[1, 1]], -1)
    rays = np.concatenate([rays, np.ones_like(x)[..., None]], -1) @ camera.viewmat[:3, :3]
    nearest = np.full(x.shape, np.inf)
    image = np.zeros((*x.shape, 3), np.uint8)
    for seed, (corner, first, second) in enumerate(WALLS):
        normal = np.cross(first, second)
        distance = np.dot(np.array(corner) - camera.position, normal) / (rays @ normal)
        hit = camera.position + distance[..., None] * rays - corner
        u, v = hit @ first / np.dot(first, first), hit @ second / np.dot(second, second)
        seen = (distance > 0) & (distance < nearest) & (u >= 0) & (u < 1) & (v >= 0) & (v < 1)
        picture = texture(seed)
        coordinates = (np.stack([u, v], -1) * picture.shape[0] - 0.5).astype(np.float32)
        drawn = cv2.remap(picture, coordinates[..., 0], coordinates[..., 1], cv2.INTER_LINEAR)
        image[seen] = drawn[seen]
        nearest[seen] = distance[seen]
    return image


def write_photos(folder: Path, count: int = 10) -> list[Camera]:
    """Photos `view 00.png` … on an arc of 1.4 radians; names with a blank, as phones like them."""
    folder.mkdir(parents=True)
    cameras = [camera(angle) for angle in np.linspace(-0.7, 0.7, count)]
    for index, each in enumerate(cameras):
        cv2.imwrite(str(folder / f"view {index:02d}.png"), photo(each)[..., ::-1])
    return cameras
