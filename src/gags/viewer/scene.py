"""What the viewer asks a scene. All browsers share it; it keeps what takes long; no viewer is needed here."""

import io
import tempfile
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from gags.capture.camera import Camera
from gags.errors import QueryError
from gags.gaussians import Gaussians, render
from gags.gaussians.files import save_splats
from gags.progress import SILENT, Reporter
from gags.query.boxes import OrientedBox
from gags.query.instances import Instance, locate_instances
from gags.query.names import EVERYDAY, Namer
from gags.query.reach import MATCHES, OPAQUE, Reach, needed_margin
from gags.query.relevancy import Queries
from gags.query.space import Space
from gags.scene import Scene
from gags.things.things import Things
from gags.things.voxels import scene_size
from gags.viewer import splat_colors
from gags.viewer.picking import Ellipsoids, RayHits, rotation_matrices, things_hit
from gags.viewer.state import Layer, Rgb, ViewerState, layer_score

ALIKE_COSINE = 0.85  # from which Gaussians around a click belong to it, where no thing is known
BACKGROUND = (26, 27, 30)  # of the page in its dark theme, and so of saved pictures


@dataclass(frozen=True, eq=False)
class Picked:
    """What was clicked on.

    Attributes:
        mask: Its Gaussians. bool [N]
        box: Around them.
        names: The words that name it best and their scores, best first.
        thing: Row of the scene's things; None if no thing is known there.
    """

    mask: np.ndarray
    box: OrientedBox
    names: list[tuple[str, float]]
    thing: int | None


class ViewerScene:
    """A scene that several browsers can look at and ask at once, with quick answers.

    Args:
        scene: The scene; stays as it is.
        words: Words to name things with.
    """

    def __init__(self, scene: Scene, words: Sequence[str] = EVERYDAY) -> None:
        g = scene.gaussians.to("cpu")
        self.scene = scene
        self.means = g.means.double().numpy()
        self.opacities = g.opacities.double().numpy()
        self.solid = self.opacities > OPAQUE
        self.base = splat_colors.base_colors(g.sh.numpy())
        rotations = rotation_matrices(g.quats.double().numpy())
        self.ellipsoids = Ellipsoids(self.means, rotations, g.scales.double().numpy(), self.opacities)
        self.size = scene_size(self.means, self.opacities)
        self._words = tuple(words)
        self._named: Queries | None = None
        self._needed: float | None = None
        self._space: Space | None = None
        self._namer: Namer | None = None
        self._colors: dict[str, np.ndarray] = {}
        self._asking = threading.Lock()  # for the encoder and the field
        self._finding = (
            threading.Lock()
        )  # for the things: finding them takes long, and texts are answered meanwhile

    def __len__(self) -> int:
        return len(self.means)

    def warm_up(self) -> None:
        """Load the encoder, decode the Gaussians and embed the words, so that the first question is quick."""
        with self._asking:
            if self._named is None:
                self._named = self.scene.queries(self._words)
                with torch.no_grad():
                    self._margins(self.scene.queries(self._words[0]))

    def ask(self, text: str, color: Rgb) -> Layer:
        """The relevancy of every Gaussian to a text, as a layer.

        Raises:
            QueryError: If the text is empty.
        """
        text = " ".join(text.split())
        if not text:
            raise QueryError("a query needs a text that is not empty")
        with self._asking, torch.no_grad():
            queries = self.scene.queries(text)
            margins = self._margins(queries)
            reach = Reach.of(margins.numpy(), self.opacities, self._needed_margin(queries))
        relevancy = queries.relevancy_of_margins(margins).numpy()
        strength = reach.strengths(margins.numpy())
        return Layer(text, relevancy, strength, layer_score(relevancy, self.solid), color)

    def _margins(self, queries: Queries) -> torch.Tensor:
        """Margin of every Gaussian to one text; the caller holds `_asking`. [N]"""
        return queries.margins_of_gaussians(self.scene.field)[:, 0].cpu()

    def _needed_margin(self, queries: Queries) -> float:
        """See `needed_margin`; found once. The caller holds `_asking`."""
        if self._needed is None:
            self._needed = needed_margin(self.scene.field, queries, self.opacities)
        return self._needed

    def answers(self, layer: Layer) -> bool:
        """Whether anything solid matches the text, as `gags locate` has it."""
        solid = self.solid if self.solid.any() else slice(None)
        return bool((layer.strength[solid] >= MATCHES).any())

    def colors(self, state: ViewerState, position: np.ndarray) -> np.ndarray:
        """What a browser's Gaussians look like in its mode.

        Args:
            state: Of the browser.
            position: Of its camera, world units. [3]

        Returns:
            uint8 RGB. [N, 3]
        """
        painted = state.painted(self.base)
        if state.mode == "relevancy":
            colors = splat_colors.relevancy_colors(painted, state.shown(), state.threshold)
        elif state.mode == "depth":
            colors = splat_colors.depth_colors(self.means, position, self.solid)
        elif state.mode == "granularity":
            colors = self._remembered("granularity", self._granularity_colors)
        elif state.mode == "features":
            colors = self._remembered("features", self._embedding_colors)
        else:
            colors = painted
        return colors if state.selected is None else splat_colors.highlighted(colors, state.selected)

    def _remembered(self, name: str, compute: Callable[[], np.ndarray]) -> np.ndarray:
        with self._asking, torch.no_grad():
            if name not in self._colors:
                self._colors[name] = compute()
            return self._colors[name]

    def _granularity_colors(self) -> np.ndarray:
        field = self.scene.field
        weights = field.decoder.granularity(field.features).softmax(dim=-1)
        return splat_colors.granularity_colors(weights.cpu().numpy())

    def _embedding_colors(self) -> np.ndarray:
        field = self.scene.field
        vectors = field.decoder.coordinates(field.features)
        return splat_colors.embedding_colors(vectors.cpu().numpy(), self.opacities)

    def find_things(self, progress: Reporter = SILENT) -> tuple[Things, Space]:
        """The things of the scene and where its Gaussians are; found once, or loaded."""
        with self._finding:
            things = self.scene.things(progress)
            if self._space is None:
                self._space = Space.build(self.scene.gaussians, things)
            return things, self._space

    def instances(self, text: str, progress: Reporter = SILENT) -> list[Instance]:
        """Every instance of what a text names, what `gags locate` lists, best first."""
        things, space = self.find_things(progress)
        with self._asking:
            queries = self.scene.queries(text)
            return locate_instances(self.scene.gaussians, self.scene.field, queries, things, space=space)[0]

    def pick(
        self,
        origin: np.ndarray,
        direction: np.ndarray,
        state: ViewerState,
        previous: Picked | None = None,
        progress: Reporter = SILENT,
    ) -> Picked | None:
        """What a click hits: a thing; its part, if clicked again; what is alike, if no thing is known there.

        Args:
            origin: Where the ray through the click starts, world units. [3]
            direction: Where it goes. [3]
            state: Of the browser; deleted Gaussians are not hit.
            previous: What was clicked on before.
            progress: Told about progress if the things have to be found first.

        Returns:
            None if the ray hits nothing.
        """
        alive = state.alive
        hits = self.ellipsoids.along(origin, direction, alive)
        if not hits.hit_anything:
            return None
        things, space = self.find_things(progress)
        hit = things_hit(things, hits)
        if hit:
            before = hit.index(previous.thing) if previous and previous.thing in hit else -1
            thing = hit[(before + 1) % len(hit)]
            rows = space.without_floaters(things[thing])
            return Picked(space.filled(rows) & alive, space.box(rows), self._names(rows, things), thing)
        rows = space.without_floaters(self._alike(hits, alive, space))
        return Picked(np.isin(np.arange(len(self)), rows), space.box(rows), self._names(rows, things), None)

    def _alike(self, hits: RayHits, alive: np.ndarray, space: Space) -> np.ndarray:
        """The connected Gaussians around a hit that mean what the hit ones mean. int64 [n]"""
        field = self.scene.field
        weights = torch.from_numpy(hits.weights).float()[:, None]
        with self._asking, torch.no_grad():
            mean = (weights * field.features.cpu()[hits.rows]).sum(0) / weights.sum()
            vector = field.decoder.embeddings(mean.to(field.features))[None]
            alike = field.similarities(vector)[:, 0].cpu().numpy() >= ALIKE_COSINE
        alike &= alive
        alike[hits.first] = True
        pieces = space.voxels.pieces(space.voxels.sums(alike.astype(float)) > 0)[space.voxels.owner]
        return np.flatnonzero(alike & (pieces == pieces[hits.first]))

    def namer(self, things: Things) -> Namer:
        """Names for things that are clicked on; made once, which takes about a second."""
        self.warm_up()
        with self._asking:
            assert self._named is not None
            if self._namer is None:
                taught = self.scene.taught.examples()
                field, words = self.scene.field, self._named
                self._namer = Namer.of_scene(field, words, self.opacities, things, taught=taught)
            return self._namer

    def _names(self, rows: np.ndarray, things: Things) -> list[tuple[str, float]]:
        namer = self.namer(things)
        with self._asking:
            return namer.names(rows)

    def picture(self, camera: Camera, state: ViewerState) -> bytes:
        """What a browser shows, rendered here: the same on every machine, in colour mode with all harmonics.

        Args:
            camera: The browser's.
            state: The browser's.

        Returns:
            A PNG of camera.height × camera.width.
        """
        from PIL import Image

        g = state.edited(self.scene.gaussians)
        plain = state.selected is None and (
            state.mode == "colour" or (state.mode == "relevancy" and not state.shown())
        )
        seen = torch.from_numpy(self.colors(state, camera.position)[state.alive] / 255).to(g.means)
        background = torch.tensor(BACKGROUND).to(g.means) / 255
        with torch.no_grad():
            drawn = render(g, camera, None if plain else seen, background=background)
        pixels = (drawn.colors.clamp(0, 1) * 255).round().byte().cpu().numpy()
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "PNG")
        return buffer.getvalue()


def ply_bytes(gaussians: Gaussians) -> bytes:
    """Gaussians as the content of a 3DGS PLY.

    Raises:
        SplatsError: If there is none.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "splats.ply"
        save_splats(gaussians, path)
        return path.read_bytes()
