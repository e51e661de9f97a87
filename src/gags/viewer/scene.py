"""What the viewer asks a scene. All browsers share it; it keeps what takes long; no server is needed here.

The page numbers Gaussians in an order of its own (`gags.viewer.payload`), the most visible first. Whatever
comes from it or goes to it by Gaussian is in that order; `page_rows` and `mask` turn it into the scene's.
"""

import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch

from gags.errors import ModelError, QueryError
from gags.gaussians import Gaussians
from gags.progress import SILENT, Reporter
from gags.query.edit import painted
from gags.query.examples import SHARED
from gags.query.frame import Unit
from gags.query.instances import Instance, locate_instances
from gags.query.names import EVERYDAY, Namer
from gags.query.reach import MATCHES, OPAQUE, Reach, needed_margin
from gags.query.relevancy import Queries
from gags.query.space import Space
from gags.query.taught import Taught
from gags.scene import Scene, listed_names
from gags.things.things import Things
from gags.viewer.first_view import first_view
from gags.viewer.kept import KeptList, mark_of, with_pictures
from gags.viewer.listed import Listed
from gags.viewer.modes import ModeColors, granularity, meanings
from gags.viewer.payload import Packed, owner_bytes, scene_json

BEST_SHARE = 0.002  # of the solid Gaussians: the mean relevancy of the best ones is a text's score …
LEAST_BEST = 10  # … of at least this many, so that no single Gaussian decides it
ALIKE_COSINE = 0.9  # between decoded embeddings of Gaussians that mean the same
MOST_SUGGESTED = 20
MODES = {"granularity": granularity, "features": meanings}
"""What else Gaussians can be coloured by; colours, texts, depth and things the page knows by itself."""

Rgb = tuple[int, int, int]  # 0 to 255 each


@dataclass(frozen=True, eq=False)
class TextAnswer:
    """How well every Gaussian matches a text.

    Attributes:
        text: The text, its blanks tidied.
        relevancy: In [0, 1]. float32 [N]
        strength: Spread over [0, 1] for any encoder: 0 is typical of the scene, `MATCHES` just counts as a
            match, 1 is the best (`Reach.strengths`). float32 [N]
        score: Mean relevancy of the solid Gaussians that match best.
    """

    text: str
    relevancy: np.ndarray
    strength: np.ndarray
    score: float


@dataclass(frozen=True, eq=False)
class Edits:
    """What a page has changed, in the scene's order.

    Attributes:
        alive: Gaussians that are not deleted. bool [N]
        paint: Number of the colour of each; 0 keeps its own. uint8 [N]
        colors: The colours, that of number 1 first.
    """

    alive: np.ndarray
    paint: np.ndarray
    colors: tuple[Rgb, ...] = ()

    def apply(self, gaussians: Gaussians, only: np.ndarray | None = None) -> Gaussians:
        """The Gaussians with all changes, every other value as it was.

        Args:
            gaussians: The scene; stays as it is.
            only: Only these; None for all. bool [N]
        """
        for number, (red, green, blue) in enumerate(self.colors, start=1):
            mask = torch.from_numpy(self.paint == number)
            if mask.any():
                gaussians = painted(gaussians, mask, (red / 255, green / 255, blue / 255))
        kept = self.alive if only is None else self.alive & only
        if kept.all():
            return replace(gaussians)
        return gaussians[torch.from_numpy(kept).to(gaussians.means.device)]


class ViewerScene:
    """A scene that several browsers can look at and ask at once, with quick answers.

    Args:
        scene: The scene.
        words: Words to name things with.
        up: What is up; None for what the scene was told, else what the photos and the ground say. [3]
        write: Whether the list of things, which takes long to make, is kept in the scene's folder.
    """

    def __init__(
        self,
        scene: Scene,
        words: Sequence[str] = EVERYDAY,
        up: np.ndarray | None = None,
        *,
        write: bool = True,
    ) -> None:
        self.scene = scene
        self.opacities = scene.gaussians.opacities.cpu().double().numpy()
        self.solid = self.opacities > OPAQUE
        self._words = tuple(words)
        self._up = up
        self._named: Queries | None = None
        self._needed: float | None = None
        self._namer: Namer | None = None
        self._taught: list[Taught] = []  # what `_namer` and `_listed` know; more may be taught meanwhile
        self._kept = KeptList(scene, words, write=write)
        self._listed: Listed | None = None
        self._colors: dict[str, ModeColors] = {}
        self._asking = threading.RLock()  # for the encoder and the field
        # For the things: finding them takes long, and texts are answered meanwhile.
        self._finding = threading.RLock()
        self._listing = threading.RLock()  # for their names, which take longer still
        self._pictures: dict[int, str] = {}
        self._picturing = threading.RLock()  # for their thumbnails, which come last

    def __len__(self) -> int:
        return len(self.opacities)

    # The page's order

    @cached_property
    def packed(self) -> Packed:
        """The Gaussians as the page gets them."""
        return Packed.of(self.scene.gaussians)

    @cached_property
    def mark(self) -> str:
        """Tells pages whether a server that is back shows the same scene."""
        return mark_of(self.scene)

    def changed(self) -> str:
        """What another process did to the scene's folder since the scene was loaded; empty if nothing."""
        files = self.scene.changed()
        if not files:
            return ""
        return (
            f"The scene was made anew since it was loaded ({listed_names(files)}). This is the former one: "
            "names, unit and up are not kept any more."
        )

    @cached_property
    def _place(self) -> np.ndarray:
        """Where each of the scene's Gaussians is in the page's order. int64 [N]"""
        place = np.empty(len(self), np.int64)
        place[self.packed.order] = np.arange(len(self))
        return place

    def mask(self, page_mask: np.ndarray) -> np.ndarray:
        """A mask of the page in the scene's order. bool [N] → bool [N]"""
        return page_mask[self._place]

    def page_rows(self, mask: np.ndarray) -> np.ndarray:
        """Rows of the page of what a mask holds. bool [N] → uint32 [n], in order"""
        return np.sort(self._place[mask]).astype(np.uint32)

    # What the page reads first

    def scene_json(self) -> dict[str, Any]:
        """Everything but Gaussians and things; see `gags.viewer.payload.scene_json`."""
        frame, scene = self.scene.frame, self.scene
        up = self._up if self._up is not None else None if frame.up is None else np.array(frame.up)
        cameras = [view.camera for view in scene.capture.views]
        means = scene.gaussians.means.cpu().double().numpy()
        start = first_view(cameras, means, self.opacities, up)
        return scene_json(
            self.packed,
            scene.workspace.root.resolve().name,
            scene.capture.views,
            start.up,
            {
                "position": start.position.tolist(),
                "target": start.target.tolist(),
                "up": start.up.tolist(),
                "fov_y": start.fov_y,
            },
            unit=None if frame.unit is None else frame.unit.to_json(),
            modes={mode: {} for mode in MODES},
            mark=self.mark,
        )

    def things_json(self, progress: Reporter = SILENT) -> tuple[list[dict[str, Any]], str]:
        """The things for the page's list, thumbnails if made; and what the list lacks, see `Listed`."""
        listed = self._list(progress)
        return with_pictures(listed.things, self._pictures), listed.lacks

    @cached_property
    def things_mark(self) -> str:
        """Tells pages whether numbers of things mean the same."""
        return self.scene.things().checksum()

    def thumbnails(self, progress: Reporter = SILENT) -> tuple[dict[int, str], str]:
        """Small pictures of the listed things, data URIs by id; and why some are missing, if they are.

        They are made once, after the list is shown.
        """
        listed = self._list(progress)
        with self._picturing:
            self._pictures = self._kept.pictures(progress)
        lacks = missing_photos_text(self.scene) if len(self._pictures) < len(listed.ids) else ""
        return self._pictures, lacks

    def owner(self) -> bytes:
        """The smallest thing that each of the page's Gaussians belongs to; see `owner_bytes`."""
        return owner_bytes(self._list().owner, self.packed.order)

    def _list(self, progress: Reporter = SILENT) -> Listed:
        self.find_things(progress)
        with self._listing:
            if not self._kept.is_known():
                with suppress(ModelError):  # the list says so
                    self.warm_up()
            self._forget_names()
            listed = self._listed or self._kept.listed(progress)
            self._listed = None if listed.lacks else listed
            return listed

    # Questions

    def warm_up(self) -> None:
        """Load the encoder, decode the Gaussians and embed the words, so that the first question is quick."""
        with self._asking:
            if self._named is None:
                self._named = self.scene.queries(self._words)
                with torch.no_grad():
                    self._margins(self.scene.queries(self._words[0]))

    def ask(self, text: str) -> TextAnswer:
        """How well every Gaussian matches a text.

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
        return TextAnswer(text, relevancy, strength, best_score(relevancy, self.solid))

    def _margins(self, queries: Queries) -> torch.Tensor:
        """Margin of every Gaussian to one text; the caller holds `_asking`. [N]"""
        return queries.margins_of_gaussians(self.scene.field)[:, 0].cpu()

    def _needed_margin(self, queries: Queries) -> float:
        """See `needed_margin`; found once. The caller holds `_asking`."""
        if self._needed is None:
            self._needed = needed_margin(self.scene.field, queries, self.opacities)
        return self._needed

    def strength_bytes(self, answer: TextAnswer) -> bytes:
        """Strengths as a byte for each of the page's Gaussians; 128 just counts as a match."""
        steps = np.minimum(answer.strength * 256, 255).astype(np.uint8)
        return steps[self.packed.order].tobytes()

    def find_things(self, progress: Reporter = SILENT) -> Things:
        """The things of the scene and where its Gaussians are; found once, or loaded."""
        with self._finding:
            things = self.scene.things(progress)
            self.scene.space(progress)
            return things

    def _space(self) -> Space:
        with self._finding:
            return self.scene.space()

    def instances(self, text: str, progress: Reporter = SILENT) -> list[Instance]:
        """Every instance of what a text names, what `gags locate` lists, best first."""
        things, space = self.find_things(progress), self._space()
        with self._asking:
            queries = self.scene.queries(text)
            return locate_instances(self.scene.gaussians, self.scene.field, queries, things, space=space)[0]

    def alike(self, rows: np.ndarray, weights: np.ndarray, alive: np.ndarray) -> np.ndarray:
        """The connected Gaussians around those that a click hits, that mean what these mean.

        Args:
            rows: What the click hits, nearest first, in the scene's order. int64 [n], n ≥ 1
            weights: Blending weight of each. [n]
            alive: Gaussians that are not deleted. bool [N]

        Returns:
            bool [N]
        """
        field, space = self.scene.field, self._space()
        shares = torch.tensor(weights).float()[:, None]
        with self._asking, torch.no_grad():
            mean = (shares * field.features.cpu()[rows]).sum(0) / shares.sum()
            vector = field.decoder.embeddings(mean.to(field.features))[None]
            alike = field.similarities(vector)[:, 0].cpu().numpy() >= ALIKE_COSINE
        passed = np.cumsum(weights)
        first = rows[np.searchsorted(passed, passed[-1] / 2)]
        alike &= alive
        alike[first] = True
        pieces = space.voxels.pieces(space.voxels.sums(alike.astype(float)) > 0)[space.voxels.owner]
        return alike & (pieces == pieces[first])

    # Names

    def namer(self, progress: Reporter = SILENT) -> Namer:
        """Names for things; made once, which takes about a second, and anew once a name was corrected."""
        things = self.find_things(progress)
        self.warm_up()
        with self._asking:
            assert self._named is not None
            self._forget_names()
            if self._namer is None:
                taught = self.scene.taught.examples()
                field, words = self.scene.field, self._named
                self._namer = Namer.of_scene(field, words, self.opacities, things, taught=taught)
            return self._namer

    def _forget_names(self) -> None:
        """Forget names that were found before other ones were taught."""
        taught = self.scene.taught.entries()
        if taught is not self._taught:
            self._taught, self._namer, self._listed = taught, None, None

    def names(self, mask: np.ndarray) -> tuple[list[tuple[str, float]], bool]:
        """The words that name some Gaussians best, with their scores, and whether the first is sure.

        A name is sure if the scene, asked for it, answers with these Gaussians, with what is in them, or with
        what they are in.

        Args:
            mask: The Gaussians. bool [N]

        Raises:
            QueryError: If there are none.
        """
        rows = np.flatnonzero(mask)
        if not len(rows):
            raise QueryError("nothing is selected")
        namer = self.namer()
        with self._asking:
            names = namer.names(rows)
            taught = any(example.is_of(rows, self.opacities) for example in namer.taught)
        if taught:
            return names, True
        weight = self.opacities * mask
        shared = [one.mask.numpy() for one in self.instances(names[0][0])]
        return names, any(
            (weight @ one) >= SHARED * min(weight.sum(), self.opacities @ one) for one in shared
        )

    def rename(self, thing: int, name: str, progress: Reporter = SILENT) -> str:
        """Give a thing a name that is kept in the scene, and return it; see `Scene.rename`."""
        with self._listing, self._finding, self._asking:
            kept = self.scene.rename(thing, name, progress=progress)
            self._namer = self._listed = None
            return kept.name

    def suggest(self, prefix: str) -> list[str]:
        """Names of the scene's things, and words, that a text may go on to; those of the scene first."""
        begun = " ".join(prefix.split()).casefold()
        things = [] if self._listed is None else self._listed.things
        known = [thing["name"] for thing in things if thing["listed"]]
        every = list(dict.fromkeys([*self.scene.taught.names(), *known, *self._words]))
        starts = [word for word in every if word.casefold().startswith(begun)]
        within = [word for word in every if begun in word.casefold() and word not in starts]
        return [*starts, *within][:MOST_SUGGESTED]

    def set_unit(self, length_in_scene: float, length: float, name: str) -> Unit:
        """Keep how long something is; see `Scene.set_unit`."""
        return self.scene.set_unit(length_in_scene, length, name)

    def set_up(self, up: Sequence[float] | None) -> None:
        """Keep what is up; see `Scene.set_up`."""
        self.scene.set_up(up)

    # Colours

    def mode_colors(self, mode: str) -> tuple[bytes, list[tuple[str, list[int]]]]:
        """Colours of a mode for the page's Gaussians, and what they mean.

        Returns:
            Three bytes each, RGB; names of colours, if some stand for something.

        Raises:
            QueryError: If there is no such mode.
        """
        if mode not in MODES:
            raise QueryError(f"there is no mode {mode!r}; one of: {', '.join(MODES)}")
        with self._asking:
            if mode not in self._colors:
                self._colors[mode] = MODES[mode](self.scene)
            found = self._colors[mode]
        return found.rgb[self.packed.order].tobytes(), found.legend


def missing_photos_text(scene: Scene) -> str:
    """Which photos are not there and what that means; empty if all are there."""
    missing, capture = scene.missing_photos(), scene.capture
    if not missing:
        return ""
    return (
        f"{len(missing)} of {len(capture.views)} photos are no longer in {capture.root}, so things that only "
        "they show have no pictures in the list."
    )


def best_score(relevancy: np.ndarray, solid: np.ndarray) -> float:
    """How well the best of the solid Gaussians match.

    Args:
        relevancy: [N]
        solid: Which Gaussians are solid; all count if none is. bool [N]

    Returns:
        Their mean relevancy, in [0, 1].
    """
    values = relevancy[solid] if solid.any() else relevancy
    count = min(len(values), max(LEAST_BEST, round(BEST_SHARE * len(values))))
    return float(np.partition(values, len(values) - count)[len(values) - count :].mean())


def matches(answer: TextAnswer, solid: np.ndarray) -> bool:
    """Whether anything solid matches a text. solid: bool [N]"""
    chosen = solid if solid.any() else slice(None)
    return bool((answer.strength[chosen] >= MATCHES).any())
