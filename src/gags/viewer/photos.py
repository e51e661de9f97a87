"""The cameras of the photos in one browser: pyramids with thumbnails, to click on."""

from collections.abc import Awaitable, Callable

import cv2
import numpy as np
import viser

from gags.capture import View
from gags.errors import CaptureError
from gags.viewer.cameras import SCENE_SIZE, Place, field_of_view, quaternion

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
