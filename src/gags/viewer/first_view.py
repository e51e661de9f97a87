"""Where the viewer starts: which way is up, what the photos look at, and from where it is seen.

Up is what most photos agree on. People hold a camera level more often than they hold it straight ahead, so
what counts is the direction at right angles to the photos' horizontal axes; where these say too little, as
all photos were taken from one side, it is the photos' own upward axes. A floor or a table that is nearly
level by this corrects the rest.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gags.capture.camera import Camera
from gags.errors import QueryError
from gags.things.voxels import scene_size

ROUNDS = 20  # of weighing photos anew; what disagrees counts less every time
LEAST_SINE = 0.05  # of the angle to up below which photos count alike, about 3 degrees
OWN_UP = 0.005  # weight of the photos' upward axes beside their horizontal ones
SAMPLED = 20_000  # Gaussians that a plane is looked for in
TRIED_PLANES = 300
TILTED = np.deg2rad(20.0)  # a plane that differs more from what the cameras say is no floor
PLANE_SHARE = 0.15  # of the solid Gaussians that must lie in a plane for it to be the ground
PLANE_THICKNESS = 0.005  # of the scene's size, to each side
FITTED_AGAIN = 4  # times, to what lies in the plane as it is then
PHOTOS_TRIED = 60  # to start from; more are much like these
CENTRAL_SHARE = 0.2  # of a picture's sides: the part in its middle that says how far away the camera looks
LEAST_SPREAD = 0.02  # of the viewing rays' directions, below which they do not meet anywhere
LOOKING_THERE = 0.7  # of the photos that must have the point before them that all look at
AXES = {"x": 0, "y": 1, "z": 2}


@dataclass(frozen=True, eq=False)
class FirstView:
    """A camera that looks at a point without roll.

    Attributes:
        position: World units. [3]
        target: What it looks at and turns around. [3]
        up: Up in the scene, of length 1. [3]
        fov_y: Vertical field of view in radians.
    """

    position: np.ndarray
    target: np.ndarray
    up: np.ndarray
    fov_y: float


def first_view(
    cameras: Sequence[Camera], means: np.ndarray, opacities: np.ndarray, up: np.ndarray | None = None
) -> FirstView:
    """Where a browser starts: at a photo that shows most, looking at what the photos look at, upright.

    Args:
        cameras: Of the photos, at least one.
        means: Centres of all Gaussians, world units. [N, 3]
        opacities: [N]
        up: What is up, if that is known. [3]
    """
    solid = means[opacities > 0.5] if (opacities > 0.5).any() else means
    solid = solid[:: max(1, len(solid) // SAMPLED)]
    up = up_direction(cameras, solid) if up is None else up / np.linalg.norm(up)
    tried = [cameras[row] for row in range(0, len(cameras), -(-len(cameras) // PHOTOS_TRIED))]
    target = looked_at(cameras)
    if target is None:
        best = max(tried, key=lambda camera: _count_inside(camera, solid))
        target = middle_of(best, solid)
    else:
        best = max(tried, key=lambda camera: _count_inside(camera, solid) * _cosine(camera, target))
    if np.linalg.norm(np.cross(target - best.position, up)) < 1e-6:  # straight up or down: any side is right
        up = -best.viewmat[1, :3]
    return FirstView(best.position, target, up, field_of_view(best))


def field_of_view(camera: Camera) -> float:
    """Vertical field of view in radians."""
    return float(2 * np.arctan(camera.height / (2 * camera.K[1, 1])))


def up_direction(cameras: Sequence[Camera], solid: np.ndarray | None = None) -> np.ndarray:
    """Up in a scene: against gravity, if the photos were held level or there is a floor.

    Args:
        cameras: Of the photos, at least one.
        solid: Centres of solid Gaussians, in which a level plane is looked for; None looks for none. [n, 3]

    Returns:
        Of length 1. [3]
    """
    upward = np.array([-camera.viewmat[1, :3] for camera in cameras])
    right = np.array([camera.viewmat[0, :3] for camera in cameras])
    own = _robust_mean(upward)
    up, weights = own, np.ones(len(right))
    for _ in range(ROUNDS):
        spread = (right * weights[:, None]).T @ right / weights.sum()
        _, vectors = np.linalg.eigh(spread + OWN_UP * (np.eye(3) - np.outer(own, own)))
        up = vectors[:, 0] * (1.0 if vectors[:, 0] @ own >= 0 else -1.0)
        weights = 1 / np.maximum(np.abs(right @ up), LEAST_SINE)
    return up if solid is None or len(solid) < 100 else _ground(solid, up)


def _robust_mean(directions: np.ndarray) -> np.ndarray:
    """The direction that most directions are close to: their median on the sphere. [n, 3] → [3]"""
    mean = directions.mean(axis=0)
    for _ in range(ROUNDS):
        weights = 1 / np.maximum(np.linalg.norm(directions - mean, axis=1), LEAST_SINE)
        mean = weights @ directions / weights.sum()
    length = float(np.linalg.norm(mean))
    return mean / length if length > 1e-6 else directions[0]


def _ground(solid: np.ndarray, up: np.ndarray) -> np.ndarray:
    """The normal of the plane that most Gaussians lie in, if it is nearly level; else up as it was. [3]"""
    rng = np.random.default_rng(0)
    points = solid[:: max(1, len(solid) // SAMPLED)]
    thickness = PLANE_THICKNESS * scene_size(points, np.ones(len(points)))
    corners = points[rng.integers(len(points), size=(TRIED_PLANES, 3))]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    lengths = np.linalg.norm(normals, axis=1)
    level = np.abs(normals @ up) >= np.cos(TILTED) * lengths
    best: tuple[int, np.ndarray | None] = (0, None)
    for normal, corner in zip(normals[level & (lengths > 0)], corners[level & (lengths > 0), 0], strict=True):
        inside = np.abs((points - corner) @ (normal / np.linalg.norm(normal))) <= thickness
        best = max(best, (int(inside.sum()), inside), key=lambda found: found[0])
    count, inside = best
    if inside is None or count < PLANE_SHARE * len(points):
        return up
    normal = up
    for _ in range(FITTED_AGAIN):
        middle = np.median(points[inside], axis=0)
        normal = np.linalg.svd(points[inside] - middle, full_matrices=False)[2][2]
        inside = np.abs((points - middle) @ normal) <= thickness / 2
        if inside.sum() < 3:
            return up
    normal = normal if normal @ up >= 0 else -normal
    return normal if normal @ up >= np.cos(TILTED) else up


def looked_at(cameras: Sequence[Camera]) -> np.ndarray | None:
    """The point that the optical axes of the photos come nearest to.

    Returns:
        World units [3]; None if there is none: the axes are parallel, or the photos look outwards.
    """
    positions = np.array([camera.position for camera in cameras])
    forward = np.array([camera.viewmat[2, :3] for camera in cameras])
    across = np.eye(3) - forward[:, :, None] * forward[:, None, :]  # what is left of an offset off the axis
    if len(cameras) < 3 or np.linalg.eigvalsh(across.mean(axis=0))[0] < LEAST_SPREAD:
        return None
    weights, point = np.ones(len(cameras)), positions.mean(axis=0)
    for _ in range(ROUNDS):
        system = (weights[:, None, None] * across).sum(axis=0)
        point = np.linalg.solve(system, np.einsum("n,nij,nj->i", weights, across, positions))
        distances = np.linalg.norm(np.einsum("nij,nj->ni", across, point - positions), axis=1)
        weights = 1 / np.maximum(distances, 0.1 * np.median(distances) + 1e-9)
    before = np.einsum("ni,ni->n", point - positions, forward) > 0
    return point if before.mean() >= LOOKING_THERE else None


def middle_of(camera: Camera, means: np.ndarray) -> np.ndarray:
    """What is in the middle of a photo: as far away as the Gaussians there. means: solid ones [n, 3] → [3]"""
    (x, y), depth = camera.project(means)[0].T, camera.project(means)[1]
    half = CENTRAL_SHARE / 2 * np.array([camera.width, camera.height])
    central = (depth > 0) & (abs(x - camera.width / 2) < half[0]) & (abs(y - camera.height / 2) < half[1])
    ahead = depth[central] if central.any() else depth[depth > 0]
    return camera.position + (float(np.median(ahead)) if len(ahead) else 1.0) * camera.viewmat[2, :3]


def parse_up(text: str) -> np.ndarray:
    """Up as people write it: an axis, "z" or "-y", or a direction, "0,0.1,1".

    Returns:
        Of length 1. [3]

    Raises:
        QueryError: If it is neither.
    """
    plain = text.strip().lower()
    if plain.lstrip("+-") in AXES and len(plain.lstrip("+-")) >= len(plain) - 1:
        return (-1.0 if plain[0] == "-" else 1.0) * np.eye(3)[AXES[plain[-1]]]
    try:
        up = np.array([float(part) for part in plain.split(",")])
    except ValueError:
        up = np.zeros(0)
    length = float(np.linalg.norm(up)) if up.shape == (3,) and (abs(up) < 1e9).all() else 0.0
    if length < 1e-9:
        raise QueryError(
            f"--up {text!r} is no direction; give an axis, as in --up z or --up=-y, or three numbers"
        )
    return up / length


def _count_inside(camera: Camera, means: np.ndarray) -> int:
    (x, y), depth = camera.project(means)[0].T, camera.project(means)[1]
    inside = (depth > 0) & (x >= 0) & (x < camera.width) & (y >= 0) & (y < camera.height)
    return int(inside.sum())


def _cosine(camera: Camera, target: np.ndarray) -> float:
    """How nearly a camera looks at a point: 1 straight at it, 0 to the side or away."""
    away = target - camera.position
    return max(0.0, float(camera.viewmat[2, :3] @ away) / max(float(np.linalg.norm(away)), 1e-12))
