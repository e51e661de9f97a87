"""One browser in the viewer: its Gaussians, its panel, and what happens when something is clicked."""

import asyncio
import contextlib
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import PurePosixPath
from typing import Literal

import numpy as np
import viser

from gags.capture import View
from gags.errors import GagsError, QueryError
from gags.progress import Bar, Reporter
from gags.query.boxes import OrientedBox
from gags.view.answers import slug
from gags.view.picking import rotation_matrices
from gags.view.viewer_cameras import browser_camera, pose_of
from gags.view.viewer_panel import Panel
from gags.view.viewer_photos import PhotoCameras
from gags.view.viewer_place import Place
from gags.view.viewer_scene import Picked, ViewerScene, ply_bytes
from gags.view.viewer_state import Color, Layer, Mode, ViewerState

NoteColor = Literal["gray", "orange", "red"]
BOX_COLOR = (255, 214, 64)
REST_SECONDS = 0.4  # without a move, after which a camera rests
SAME_CLICK = 0.5  # seconds within which a click on a photo's camera is no click on the scene behind it
QUIET = 6.0  # seconds after which what is only for information disappears
EDGES = [(k, k | 1 << axis) for k in range(8) for axis in range(3) if not k >> axis & 1]  # of a box's corners


class Session:
    """Everything that belongs to one browser. What goes wrong is shown in that browser alone.

    Args:
        client: The browser.
        shown: The scene, shared with other browsers.
        views: The photos.
        place: Where the scene is in the browser's world.
    """

    def __init__(
        self, client: viser.ClientHandle, shown: ViewerScene, views: list[View], place: Place
    ) -> None:
        self._client, self._shown, self._views, self._place = client, shown, views, place
        self.state = ViewerState(len(shown))
        self.closed = False
        self._picked: Picked | None = None
        self._selected_name = ""
        self._wanted = ""  # newest content of the text box
        self._lock = threading.RLock()  # guards the state and the page; never held while things are found
        self._moved = 0.0
        self._jumped = 0.0
        self._resting: asyncio.Task[None] | None = None
        self._background: set[asyncio.Future[None]] = set()
        self._splats = client.scene.add_gaussian_splats(
            "/splats",
            place.to_browser(shown.means),
            place.covariances(shown.ellipsoids),
            shown.base,
            np.round(255 * shown.opacities[:, None]).astype(np.uint8),
        )
        names = [view.name for view in views]
        self._panel = Panel(client.gui, self.state, names, self, self._guarded)
        self._photos = PhotoCameras(client, views, place, self._clicked_photo)
        client.camera.on_update(self._camera_moved)
        client.scene.on_click()(self._clicked)

    def start(self) -> None:
        """Do what takes a while: the photos' pictures, the encoder, the things; all shown in the page."""
        self._guarded(self._warm_up)(None)
        self._guarded(self._load_photos)(None)

    def _warm_up(self) -> None:
        with self._busy("Getting ready to answer"):
            self._shown.warm_up()
        with self._busy("Finding things") as report:
            self._shown.find_things(report)

    def _load_photos(self) -> None:
        missing = self._photos.load(lambda: self.closed)
        self._photos.hide_near(self._position())
        if missing:
            self._tell("Photos are missing", f"{missing} cannot be read; their cameras have no picture.")

    # What the panel does.

    def typed(self, text: str) -> None:
        """Colour by what is being typed; a newer text overtakes older ones that still wait."""
        self._wanted = text
        with self._lock:
            if self._wanted != text:
                return
            self._picked = self.state.selected = self.state.draft = None
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
        text = self._panel.text.value
        if not text.strip():
            raise QueryError('nothing to look for; type a text that is not empty, as in: "red mug"')
        with self._lock:
            if self.state.draft is None or self.state.draft.text != " ".join(text.split()):
                self.state.draft = self._shown.ask(text, self.state.next_color())
            layer = self.state.keep()
            self._wanted = ""
            self._panel.text.value = ""
            self._panel.show_answer("")
            self._redraw()
        if layer is not None and not self._shown.answers(layer):
            self._tell(
                f'Nothing in the scene matches "{layer.text}"',
                "A lower threshold shows what comes nearest.",
                color="orange",
            )

    def set_threshold(self, threshold: float) -> None:
        """Match from another relevancy on; a newer value overtakes older ones that still wait."""
        self.state.threshold = threshold
        with self._lock:
            if self.state.threshold == threshold:
                self._redraw()
                self._panel.show_answer(self._answer_of(self.state.draft))

    def set_mode(self, mode: Mode) -> None:
        """Show something else."""
        with self._lock:
            self.state.mode = mode
            self._draw()

    def layer_action(self, layer: Layer, action: str) -> None:
        """Hide or show a layer, select what it names, or remove it."""
        if action == "select":
            return self._select(layer)
        with self._lock:
            if action == "remove":
                self.state.layers.remove(layer)
            else:
                layer.visible = not layer.visible
            self._redraw()
        return None

    def _select(self, layer: Layer) -> None:
        with self._busy(f'Looking for every "{layer.text}"') as report:
            found = self._shown.instances(layer.text, report)
        if not found:
            raise QueryError(f'nothing in the scene matches "{layer.text}", so there is nothing to select')
        mask = np.any([instance.mask.numpy() for instance in found], axis=0)
        with self._lock:
            self._light(mask & self.state.alive, [instance.box for instance in found], layer.text)
            scores = ", ".join(f"{instance.score:.2f}" for instance in found)
            title = f"**{len(found)} × {layer.text}** ({scores})\n\n{int(mask.sum()):,} Gaussians"
            self._panel.show_picked(None, title)

    def cut_out(self) -> None:
        """Send what is selected as a file."""
        mask, name = self._selection()
        self._send(f"{name}.ply", ply_bytes(self.state.edited(self._shown.scene.gaussians, mask)))

    def delete(self) -> None:
        """Delete what is selected, in this browser."""
        with self._lock:
            count = self.state.edit(self._selection()[0])
            self.unselect()
            self._splats.opacities = self._opacities()
        self._tell("Deleted", f"{count:,} Gaussians; undo brings them back.")

    def recolour(self, color: Color) -> None:
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
        """Put the light out."""
        with self._lock:
            self._picked = self.state.selected = None
            self._boxes([], "")
            self._panel.show_picked(None)
            self._draw()

    def save_scene(self) -> None:
        """Send all that is left as a file."""
        self._send("scene.ply", ply_bytes(self.state.edited(self._shown.scene.gaussians)))

    def save_picture(self) -> None:
        """Send what is seen as a picture, rendered on this side."""
        camera = self._client.camera
        rotation = rotation_matrices(np.asarray(camera.wxyz)[None])[0]
        size = (camera.image_width, camera.image_height)
        seen = browser_camera(rotation, self._position(), camera.fov, *size)
        with self._busy("Rendering the picture"):
            picture = self._shown.picture(seen, self.state)
        self._send("view.png", picture)

    def show_cameras(self, shown: bool) -> None:
        """Show or hide the cameras of the photos."""
        self._photos.show(shown)
        self._photos.hide_near(self._position())

    def go_to(self, name: str) -> None:
        """Look from where a photo was taken."""
        view = next(view for view in self._views if view.name == name)
        means = self._shown.means[self._shown.solid]
        self._place.move(self._client.camera, pose_of(view.camera, means, self._place.up))

    # What happens in the scene.

    async def _clicked_photo(self, view: View) -> None:
        self._jumped = time.monotonic()
        self._in_background(lambda: self.go_to(view.name))

    def _clicked(self, event: viser.SceneClickEvent) -> None:
        if time.monotonic() - self._jumped > SAME_CLICK:
            origin = self._place.to_world(np.array(event.ray_origin))
            self._guarded(lambda: self._pick(origin, np.array(event.ray_direction)))(event)

    def _pick(self, origin: np.ndarray, direction: np.ndarray) -> None:
        with self._busy("Looking what this is", after=0.5) as report:
            picked = self._shown.pick(origin, direction, self.state, self._picked, report)
        if picked is None:
            return self.unselect()
        with self._lock:
            self._light(picked.mask, [picked.box], picked.names[0][0])
            self._picked = picked
            self._panel.show_picked(picked)
        return None

    async def _camera_moved(self, _: viser.CameraHandle) -> None:
        self._moved = time.monotonic()
        if self._resting is None or self._resting.done():
            self._resting = asyncio.create_task(self._wait_for_rest())

    async def _wait_for_rest(self) -> None:
        while (left := self._moved + REST_SECONDS - time.monotonic()) > 0:
            await asyncio.sleep(left)
        self._in_background(self._rested)

    def _rested(self) -> None:
        self._photos.hide_near(self._position())
        with self._lock:
            if self.state.mode == "depth":
                self._draw()

    # How it is shown.

    def _selection(self) -> tuple[np.ndarray, str]:
        """What is lit up, and a file name for it."""
        if self.state.selected is None:
            raise QueryError("nothing is selected; click on a thing, or on a layer's `select`")
        return self.state.selected, slug(self._selected_name)

    def _light(self, mask: np.ndarray, boxes: list[OrientedBox], name: str) -> None:
        self._picked, self.state.selected, self._selected_name = None, mask, name
        self._boxes(boxes, name)
        self._draw()

    def _boxes(self, boxes: list[OrientedBox], name: str) -> None:
        for node in ("/box", "/label"):
            with contextlib.suppress(KeyError, ValueError):
                self._client.scene.remove_by_name(node)
        if not boxes or self.closed:
            return
        corners = [self._place.to_browser(box.corners) for box in boxes]
        lines = np.concatenate([corner[np.array(EDGES)] for corner in corners])
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

    # Errors, progress, files.

    def _guarded(self, work: Callable[[], None]) -> Callable[[object], None]:
        """`work` as a callback whose errors are shown in this browser."""

        def run(_: object) -> None:
            try:
                work()
            except GagsError as error:
                self._tell("That did not work", str(error), color="red", seconds=None)
            except Exception as error:
                if self.closed:  # the browser left meanwhile
                    return
                traceback.print_exc(file=sys.stderr)
                text = f"unexpected {type(error).__name__}: {error}; the terminal shows more"
                self._tell("That did not work", text, color="red", seconds=None)

        return run

    def _in_background(self, work: Callable[[], None]) -> None:
        """Run `work` beside the event loop."""
        run = self._guarded(work)
        future = asyncio.get_running_loop().run_in_executor(None, run, None)
        self._background.add(future)
        future.add_done_callback(self._background.discard)

    def _tell(
        self, title: str, body: str, *, color: NoteColor = "gray", seconds: float | None = QUIET
    ) -> None:
        if not self.closed:
            self._client.add_notification(title, body, color=color, auto_close_seconds=seconds)

    def _send(self, name: str, content: bytes) -> None:
        scene = PurePosixPath(self._shown.scene.workspace.root.resolve().name).name
        self._client.send_file_download(f"{scene}-{name}", content, save_immediately=True)

    @contextmanager
    def _busy(self, title: str, after: float = 0.2) -> Iterator[Reporter]:
        """Show in the page that something takes a while, if it takes longer than `after` seconds."""
        report = PageReporter(self._client, title)
        timer = threading.Timer(after, report.show)
        timer.daemon = True
        timer.start()
        try:
            yield report
        finally:
            timer.cancel()
            report.close()


class PageReporter(Reporter):
    """Progress as a notification in one browser."""

    def __init__(self, client: viser.ClientHandle, title: str) -> None:
        self._client, self._title, self._body = client, title, "…"
        self._lock = threading.Lock()
        self._note: viser.NotificationHandle | None = None
        self._closed = False

    def show(self) -> None:
        """Show it, unless it is over."""
        with self._lock:
            if not self._closed:
                self._note = self._client.add_notification(
                    self._title, self._body, loading=True, with_close_button=False
                )

    def close(self) -> None:
        """Take it away."""
        with self._lock:
            self._closed = True
            if self._note is not None:
                self._note.remove()

    @contextmanager
    def stage(self, name: str, total: int, unit: str = "steps") -> Iterator[Bar]:
        """Show the count of a stage."""
        yield _PageBar(self, name, total, unit)

    def say(self, message: str) -> None:
        """Show a line."""
        with self._lock:
            self._body = message
            if self._note is not None and not self._closed:
                self._note.body = message


class _PageBar(Bar):
    def __init__(self, report: PageReporter, name: str, total: int, unit: str) -> None:
        super().__init__(total)
        self._report, self._name, self._unit = report, name, unit

    def advance(self, steps: int = 1, note: str = "") -> None:
        super().advance(steps, note)
        self._report.say(f"{self._name}: {self.done} of {self.total} {self._unit}")
