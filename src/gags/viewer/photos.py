"""The cameras of the photos in one browser: pyramids with thumbnails, to click on."""

from collections.abc import Awaitable, Callable

import cv2
import numpy as np
import viser

from gags.capture import View
from gags.errors import CaptureError
from gags.viewer.cameras import field_of_view, quaternion
from gags.viewer.place import SIZE, Place

HEIGHT = SIZE / 60  # of a camera, in the browser's units
NEAR = SIZE / 5  # within which cameras would hide the scene from who looks from among them
THUMBNAIL = 160  # longest side in px
COLOR = (120, 170, 255)
HELD_OUT = (255, 170, 90)


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
        """Add all cameras, one after the other, until `stopped`; returns how many photos cannot be read."""
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
            scale=HEIGHT,
            thickness=1.0,
            thickness_units="screen",
            color=COLOR if view.split == "train" else HELD_OUT,
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
        """Show or hide all, from the next `hide_near` on."""
        self._shown = shown

    def hide_near(self, position: np.ndarray) -> None:
        """Show the cameras but for those so near that they would be in the way. position: world units. [3]"""
        for row, handle in list(self._handles.items()):
            away = self._place.to_browser(self._views[row].camera.position - position)
            handle.visible = self._shown and bool(np.linalg.norm(away) > NEAR)


def _thumbnail(image: np.ndarray) -> np.ndarray:
    height, width = image.shape[:2]
    share = min(1.0, THUMBNAIL / max(height, width))
    size = (max(1, round(share * width)), max(1, round(share * height)))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA)
