"""One browser in the viewer: its Gaussians, its panel, and what happens when something is clicked."""

import asyncio
import contextlib
import threading
import time
from pathlib import PurePosixPath

import numpy as np
import viser

from gags.capture import View
from gags.draw.scenes import slug
from gags.errors import QueryError
from gags.query.boxes import OrientedBox
from gags.viewer.cameras import PhotoCameras, Place, browser_camera, pose_of
from gags.viewer.notices import Notices
from gags.viewer.panel import Panel
from gags.viewer.picking import rotation_matrices
from gags.viewer.scene import Picked, ViewerScene, ply_bytes
from gags.viewer.state import Layer, Rgb, ViewerState

BOX_COLOR = (255, 214, 64)
REST_SECONDS = 0.4  # without a move, after which a camera rests
SAME_CLICK_SECONDS = 0.5  # within which a click on a photo's camera does not count for the scene behind it
BOX_EDGES = [(k, k | 1 << axis) for k in range(8) for axis in range(3) if not k >> axis & 1]  # by corners


class Session:
    """Everything that belongs to one browser. Its errors are shown in that browser only.

    Args:
        client: The browser.
        shown: The scene, shared with other browsers.
        views: The photos.
        place: Where the scene is in the browser's world.

    Attributes:
        state: What is asked, selected and edited.
        started: Set when all that `start` does is done.
    """

    def __init__(
        self, client: viser.ClientHandle, shown: ViewerScene, views: list[View], place: Place
    ) -> None:
        self._client, self._shown, self._views, self._place = client, shown, views, place
        self.state = ViewerState(len(shown))
        self.started = threading.Event()
        self._notices = Notices(client)
        self._picked: Picked | None = None
        self._selected_name = ""
        self._answered = ""  # the text in the box that the colours show
        self._newest_request = 0
        # Guards the state and the page; never held while things are found. Callbacks come in threads, in any
        # order: they read the controls only while they hold it, so that the newest value stays.
        self._lock = threading.RLock()
        self._moved = 0.0
        self._jumped = 0.0
        self._resting: asyncio.Task[None] | None = None
        self._splats = client.scene.add_gaussian_splats(
            "/splats",
            place.to_browser(shown.means),
            place.covariances(shown.ellipsoids),
            shown.base,
            self._opacities(),
        )
        names = [view.name for view in views]
        self._panel = Panel(client.gui, self.state, names, self, self._notices)
        self._photos = PhotoCameras(client, views, place, self._clicked_photo)
        client.camera.on_update(self._camera_moved)
        client.scene.on_click()(self._clicked)

    def close(self) -> None:
        """Note that the browser is gone."""
        self._notices.closed = True

    def start(self) -> None:
        """Load what takes a while: the photos' pictures, the encoder, the things. The page shows progress."""
        self._notices.guarded(self._warm_up)(None)
        self._notices.guarded(self._load_photos)(None)
        self.started.set()

    def _warm_up(self) -> None:
        with self._notices.busy("Getting ready to answer"):
            self._shown.warm_up()
        with self._notices.busy("Finding things") as progress:
            things, _ = self._shown.find_things(progress)
            self._shown.namer(things)  # here, so that the first click need not wait for it

    def _load_photos(self) -> None:
        missing = self._photos.load(lambda: self._notices.closed)
        self.show_cameras()
        if missing:
            self._notices.tell(
                "Photos are missing", f"{missing} cannot be read; their cameras have no picture."
            )

    # What the panel does.

    def typed(self) -> None:
        """Colour by the text in the box; if several callbacks wait, the first one answers for all."""
        with self._lock:
            text = self._panel.text.value
            if text == self._answered:
                return
            self._answered, self.state.draft = text, None
            self._drop_selection()
            if text.strip():
                self.state.draft = self._shown.ask(text, self.state.next_color())
            self._draw()
            self._panel.show_answer(self._answer_of(self.state.draft))

    def _answer_of(self, layer: Layer | None) -> str:
        if layer is None:
            return ""
        if not self._shown.answers(layer):
            return f'Nothing in the scene matches "{layer.text}" (score {layer.score:.2f}).'
        return f"Score {layer.score:.2f}, {int(layer.matching(self.state.threshold).sum()):,} Gaussians."

    def keep(self) -> None:
        """Make the text in the box a layer."""
        with self._lock:
            text = self._panel.text.value
            if not text.strip():
                raise QueryError('nothing to look for; type a text that is not empty, as in: "red mug"')
            if self.state.draft is None or self.state.draft.text != " ".join(text.split()):
                self.state.draft = self._shown.ask(text, self.state.next_color())
            layer = self.state.keep()
            self._answered = self._panel.text.value = ""  # which calls `typed`
            self._panel.show_answer("")
            self._drop_selection()
            self._redraw()
        if layer is not None and not self._shown.answers(layer):
            self._notices.tell(
                f'Nothing in the scene matches "{layer.text}"',
                "A lower threshold shows what comes nearest.",
                color="orange",
            )

    def set_threshold(self) -> None:
        """Match from another relevancy on."""
        with self._lock:
            threshold = self._panel.threshold.value
            if threshold != self.state.threshold:
                self.state.threshold = threshold
                self._redraw()
                self._panel.show_answer(self._answer_of(self.state.draft))

    def set_mode(self) -> None:
        """Show something else."""
        with self._lock:
            self.state.mode = self._panel.mode.value
            self._panel.show_hint(self.state.mode)
            self._draw()

    def set_layer_color(self, layer: Layer) -> None:
        """Show a layer in another colour."""
        with self._lock:
            if layer in self.state.layers and layer.color != self._panel.color_of(layer):
                layer.color = self._panel.color_of(layer)
                self._redraw()

    def layer_action(self, layer: Layer, action: str) -> None:
        """Hide or show a layer, select what it names, or remove it."""
        if action == "select":
            return self._select(layer)
        with self._lock:
            if layer not in self.state.layers:  # clicked once more while it was being removed
                return None
            if action == "remove":
                self.state.layers.remove(layer)
            else:
                layer.visible = not layer.visible
            self._redraw()
        return None

    def _select(self, layer: Layer) -> None:
        request = self._next_request()
        with self._notices.busy(f'Looking for every "{layer.text}"') as progress:
            found = self._shown.instances(layer.text, progress)
        if not found:
            raise QueryError(f'nothing in the scene matches "{layer.text}", so there is nothing to select')
        mask = np.any([instance.mask.numpy() for instance in found], axis=0)
        with self._lock:
            if request != self._newest_request:
                return
            self._highlight(mask & self.state.alive, [instance.box for instance in found], layer.text)
            scores = ", ".join(f"{instance.score:.2f}" for instance in found)
            title = f"**{len(found)} × {layer.text}** ({scores})\n\n{int(mask.sum()):,} Gaussians"
            self._panel.show_picked(None, title)

    def cut_out(self) -> None:
        """Send what is selected as a file."""
        with self._lock:
            mask, name = self._selection()
            state = self.state.copy()
        self._send(f"{name}.ply", ply_bytes(state.edited(self._shown.scene.gaussians, mask)))

    def delete(self) -> None:
        """Delete what is selected, in this browser."""
        with self._lock:
            count = self.state.edit(self._selection()[0])
            self.unselect()
            self._splats.opacities = self._opacities()
        self._notices.tell("Deleted", f"{count:,} Gaussians; undo brings them back.")

    def recolor(self, color: Rgb) -> None:
        """Colour what is selected, in this browser."""
        with self._lock:
            self.state.edit(self._selection()[0], color)
            self.unselect()

    def undo(self) -> None:
        """Take back the last change."""
        with self._lock:
            if self.state.undo() is None:
                raise QueryError("there is nothing to undo")
            self._splats.opacities = self._opacities()
            self._draw()

    def unselect(self) -> None:
        """Select nothing."""
        with self._lock:
            self._drop_selection()
            self._draw()

    def _drop_selection(self) -> None:
        self._next_request()
        self._picked = self.state.selected = None
        self._boxes([], "")
        self._panel.show_picked(None)

    def save_scene(self) -> None:
        """Send all Gaussians that are not deleted as a file."""
        with self._lock:
            state = self.state.copy()
        self._send("scene.ply", ply_bytes(state.edited(self._shown.scene.gaussians)))

    def save_picture(self) -> None:
        """Send a picture of the view as a file, rendered by the server."""
        camera = self._client.camera
        rotation = rotation_matrices(np.asarray(camera.wxyz)[None])[0]
        view = browser_camera(
            rotation,
            self._position(),
            fov=camera.fov,
            width=camera.image_width,
            height=camera.image_height,
        )
        with self._notices.busy("Rendering the picture"):
            with self._lock:
                state = self.state.copy()
            picture = self._shown.picture(view, state)
        self._send("view.png", picture)

    def show_cameras(self) -> None:
        """Hide the cameras of the photos, or show those that are not close, as the check box says."""
        with self._lock:
            self._photos.show(self._panel.cameras.value)
            self._photos.hide_near(self._position())

    def go_to(self, name: str) -> None:
        """Look from where a photo was taken."""
        view = next(view for view in self._views if view.name == name)
        means = self._shown.means[self._shown.solid]
        self._place.move(self._client.camera, pose_of(view.camera, means, self._place.up))

    # What happens in the scene.

    async def _clicked_photo(self, view: View) -> None:
        self._jumped = time.monotonic()
        self._notices.in_background(lambda: self.go_to(view.name))

    def _clicked(self, event: viser.SceneClickEvent) -> None:
        if time.monotonic() - self._jumped > SAME_CLICK_SECONDS:
            origin = self._place.to_world(np.array(event.ray_origin))
            self._notices.guarded(lambda: self._pick(origin, np.array(event.ray_direction)))(event)

    def _pick(self, origin: np.ndarray, direction: np.ndarray) -> None:
        with self._lock:
            request, state, previous = self._next_request(), self.state.copy(), self._picked
        with self._notices.busy("Finding out what this is", after=0.5) as progress:
            picked = self._shown.pick(origin, direction, state, previous, progress)
        with self._lock:
            if request != self._newest_request:
                return
            if picked is None:
                return self.unselect()
            self._highlight(picked.mask & self.state.alive, [picked.box], picked.names[0][0])
            self._picked = picked
            self._panel.show_picked(picked)

    def _next_request(self) -> int:
        """Number of a new request for a selection; an answer with an old number is dropped."""
        with self._lock:
            self._newest_request += 1
            return self._newest_request

    async def _camera_moved(self, _: viser.CameraHandle) -> None:
        self._moved = time.monotonic()
        if self._resting is None or self._resting.done():
            self._resting = asyncio.create_task(self._wait_for_rest())

    async def _wait_for_rest(self) -> None:
        while (left := self._moved + REST_SECONDS - time.monotonic()) > 0:
            await asyncio.sleep(left)
        self._notices.in_background(self._rested)

    def _rested(self) -> None:
        self.show_cameras()
        with self._lock:
            if self.state.mode == "depth":
                self._draw()

    # How it is shown.

    def _selection(self) -> tuple[np.ndarray, str]:
        """What is selected, and a file name for it."""
        if self.state.selected is None:
            raise QueryError("nothing is selected; click on a thing, or on a layer's `select`")
        return self.state.selected, slug(self._selected_name)

    def _highlight(self, mask: np.ndarray, boxes: list[OrientedBox], name: str) -> None:
        self._picked, self.state.selected, self._selected_name = None, mask, name
        self._boxes(boxes, name)
        self._draw()

    def _boxes(self, boxes: list[OrientedBox], name: str) -> None:
        for node in ("/box", "/label"):
            with contextlib.suppress(KeyError, ValueError):
                self._client.scene.remove_by_name(node)
        if not boxes or self._notices.closed:
            return
        corners = [self._place.to_browser(box.corners) for box in boxes]
        lines = np.concatenate([corner[np.array(BOX_EDGES)] for corner in corners])
        self._client.scene.add_line_segments(
            "/box", lines, BOX_COLOR, thickness=2.0, thickness_units="screen"
        )
        top = corners[0][(corners[0] @ self._place.up).argmax()]
        self._client.scene.add_label("/label", name, position=top)

    def _opacities(self) -> np.ndarray:
        alive = np.where(self.state.alive, self._shown.opacities, 0.0)
        return np.round(255 * alive[:, None]).astype(np.uint8)

    def _draw(self) -> None:
        self._splats.rgbs = self._shown.colors(self.state, self._position())

    def _redraw(self) -> None:
        self._draw()
        self._panel.show_layers(self.state.layers, self.state.threshold)

    def _position(self) -> np.ndarray:
        return self._place.to_world(np.asarray(self._client.camera.position))

    def _send(self, name: str, content: bytes) -> None:
        scene = PurePosixPath(self._shown.scene.workspace.root.resolve().name).name
        self._client.send_file_download(f"{scene}-{name}", content, save_immediately=True)
