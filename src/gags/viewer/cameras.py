"""Cameras of the viewer: where it starts, what is up, the browser's camera, and the photos' to click on."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np
import viser

from gags.capture import View
from gags.capture.camera import Camera
from gags.errors import CaptureError
from gags.viewer.picking import Ellipsoids

if TYPE_CHECKING:
    import viser

CENTRAL_SHARE = 0.2  # of a picture's sides: the part in its middle that says how far away the camera looks
PHOTOS_TRIED = 60  # as the first view; more are much like these
SCENE_SIZE = 50.0  # of every scene in the browser's units, because it keeps covariances as 16-bit floats
LARGEST_DEVIATION = 240.0  # a standard deviation whose square a 16-bit float still holds


@dataclass(frozen=True, eq=False)
class BrowserPose:
    """Where a browser's camera is to show what a photo shows.

    Attributes:
        position: World units. [3]
        look_at: What it looks at and turns around. [3]
        up: [3]
        fov: Vertical field of view in radians.
    """

    position: np.ndarray
    look_at: np.ndarray
    up: np.ndarray
    fov: float


def up_direction(cameras: Sequence[Camera]) -> np.ndarray:
    """The direction that is up in most photos, of length 1. [3]"""
    up = np.mean([-camera.viewmat[1, :3] for camera in cameras], axis=0)
    length = float(np.linalg.norm(up))
    return up / length if length > 1e-6 else -cameras[0].viewmat[1, :3]


def field_of_view(camera: Camera) -> float:
    """Vertical field of view in radians."""
    return float(2 * np.arctan(camera.height / (2 * camera.K[1, 1])))


def pose_of(camera: Camera, means: np.ndarray, up: np.ndarray) -> BrowserPose:
    """The browser's camera for a photo.

    Args:
        camera: Of the photo.
        means: Centres of the solid Gaussians; those in the middle of the picture say how far away the camera
            looks. [N, 3]
        up: Up in the scene. [3]
    """
    (x, y), depth = camera.project(means)[0].T, camera.project(means)[1]
    half = CENTRAL_SHARE / 2 * np.array([camera.width, camera.height])
    central = (depth > 0) & (abs(x - camera.width / 2) < half[0]) & (abs(y - camera.height / 2) < half[1])
    ahead = depth[central] if central.any() else depth[depth > 0]
    distance = float(np.median(ahead)) if len(ahead) else 1.0
    position = camera.position
    return BrowserPose(position, position + distance * camera.viewmat[2, :3], up, field_of_view(camera))


def first_view(cameras: Sequence[Camera], means: np.ndarray) -> int:
    """The photo that shows most of the solid Gaussians; row of `cameras`. means: [N, 3]"""
    tried = range(0, len(cameras), -(-len(cameras) // PHOTOS_TRIED))
    return max(tried, key=lambda row: _count_inside(cameras[row], means))


def _count_inside(camera: Camera, means: np.ndarray) -> int:
    (x, y), depth = camera.project(means)[0].T, camera.project(means)[1]
    inside = (depth > 0) & (x >= 0) & (x < camera.width) & (y >= 0) & (y < camera.height)
    return int(inside.sum())


def browser_camera(
    R_world_camera: np.ndarray, position: np.ndarray, fov: float, width: int, height: int
) -> Camera:
    """The camera of a browser, to render with.

    Args:
        R_world_camera: Its axes (right, down, forward) as columns. [3, 3]
        position: World units. [3]
        fov: Vertical field of view in radians.
        width: Of the canvas in pixels.
        height: Of the canvas in pixels.
    """
    focal = height / (2 * np.tan(fov / 2))
    K = np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1.0]])
    viewmat = np.eye(4)
    viewmat[:3, :3] = np.asarray(R_world_camera).T
    viewmat[:3, 3] = -viewmat[:3, :3] @ np.asarray(position)
    return Camera(viewmat, K, width, height)


def quaternion(R: np.ndarray) -> np.ndarray:
    """The wxyz quaternion of a rotation. [3, 3] → [4]"""
    # The eigenvector of the largest eigenvalue of a symmetric matrix (Bar-Itzhack 2000).
    (a, b, c), (d, e, f), (g, h, i) = R
    K = np.array(
        [
            [a + e + i, h - f, c - g, d - b],
            [h - f, a - e - i, b + d, c + g],
            [c - g, b + d, e - a - i, f + h],
            [d - b, c + g, f + h, i - a - e],
        ]
    )
    return np.linalg.eigh(K)[1][:, -1]


@dataclass(frozen=True, eq=False)
class Place:
    """Where a scene is in the world of the browser: scaled to one size, whatever the units of its capture.

    Axes and origin are the capture's own.

    Attributes:
        scale: Browser units a world unit.
        up: Up in the scene. [3]
    """

    scale: float
    up: np.ndarray

    @classmethod
    def of_scene(cls, size: float, up: np.ndarray) -> "Place":
        """The place of a scene of some size in world units."""
        return cls(SCENE_SIZE / size, up)

    def to_browser(self, xyz_world: np.ndarray) -> np.ndarray:
        """Points in the browser's world. [..., 3]"""
        return self.scale * xyz_world

    def to_world(self, xyz_browser: np.ndarray) -> np.ndarray:
        """Points of the browser in the capture's frame and units. [..., 3]"""
        return xyz_browser / self.scale

    def covariances(self, ellipsoids: Ellipsoids) -> np.ndarray:
        """Covariances in the browser's world. float32 [N, 3, 3]"""
        axes = (
            ellipsoids.rotations * np.minimum(self.scale * ellipsoids.scales, LARGEST_DEVIATION)[:, None, :]
        )
        return (axes @ axes.transpose(0, 2, 1)).astype(np.float32)

    def move(self, camera: "viser.CameraHandle | viser.InitialCameraConfig", pose: BrowserPose) -> None:
        """Move a browser's camera, or the camera that every browser starts with."""
        camera.position = self.to_browser(pose.position)
        camera.look_at = self.to_browser(pose.look_at)
        camera.fov = pose.fov


PYRAMID_SIZE = SCENE_SIZE / 60  # of a camera, in the browser's units
HIDDEN_WITHIN = SCENE_SIZE / 5  # of where the browser's camera is; nearer ones would cover the scene
THUMBNAIL_SIDE = 160  # the longer one, px
TRAINED_ON_COLOR = (120, 170, 255)
HELD_OUT_COLOR = (255, 170, 90)


class PhotoCameras:
    """The cameras of the photos in one browser.

    Args:
        client: The browser.
        views: The photos.
        place: Where the scene is in the browser's world.
        clicked: Called when a camera is clicked.
    """

    def __init__(
        self,
        client: viser.ClientHandle,
        views: list[View],
        place: Place,
        clicked: Callable[[View], Awaitable[None]],
    ) -> None:
        self._client, self._views, self._place, self._clicked = client, views, place, clicked
        self._handles: dict[int, viser.CameraFrustumHandle] = {}
        self._shown = True

    def load(self, stopped: Callable[[], bool]) -> int:
        """Add the cameras one by one until `stopped` says so; returns how many photos cannot be read."""
        missing = 0
        for row, view in enumerate(self._views):
            if stopped():
                break
            try:
                picture = _thumbnail(view.image())
            except CaptureError:
                picture, missing = None, missing + 1
            self._handles[row] = self._add(row, view, picture)
        return missing

    def _add(self, row: int, view: View, picture: np.ndarray | None) -> viser.CameraFrustumHandle:
        camera = view.camera
        handle = self._client.scene.add_camera_frustum(
            f"/photos/{row}",
            field_of_view(camera),
            camera.width / camera.height,
            scale=PYRAMID_SIZE,
            thickness=1.0,
            thickness_units="screen",
            color=TRAINED_ON_COLOR if view.split == "train" else HELD_OUT_COLOR,
            image=picture,
            wxyz=quaternion(camera.viewmat[:3, :3].T),
            position=self._place.to_browser(camera.position),
            visible=False,
        )

        async def clicked(_: object) -> None:
            await self._clicked(view)

        handle.on_click(clicked)
        return handle

    def show(self, shown: bool) -> None:
        """Show or hide all; takes effect with the next call of `hide_near`."""
        self._shown = shown

    def hide_near(self, position: np.ndarray) -> None:
        """Show the cameras, except those so near that they cover the scene. position: world units. [3]"""
        for row, handle in list(self._handles.items()):
            away = self._place.to_browser(self._views[row].camera.position - position)
            handle.visible = self._shown and bool(np.linalg.norm(away) > HIDDEN_WITHIN)


def _thumbnail(image: np.ndarray) -> np.ndarray:
    height, width = image.shape[:2]
    share = min(1.0, THUMBNAIL_SIDE / max(height, width))
    size = (max(1, round(share * width)), max(1, round(share * height)))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA)
