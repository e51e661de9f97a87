"""Makes examples in a scene: of a picture, of a click into a photo, of what a name was taught with."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from gags.capture import View
from gags.errors import GagsError, QueryError
from gags.progress import Reporter
from gags.query.examples import Example, compared_with, node_of
from gags.query.pictures import embed_example, read_example
from gags.query.pointed import Level, check_click, pixel_of, thing_at
from gags.query.taught import Taught, checked_name, found_again, merged
from gags.things.things import Things

if TYPE_CHECKING:
    from gags.scene import Scene

Picture = Path | str | np.ndarray
Pointed = tuple[View | str, int, int]


class ExampleMaker:
    """Makes examples in a scene.

    Args:
        scene: The scene.
    """

    def __init__(self, scene: "Scene") -> None:
        self.scene = scene

    def of_image(self, image: Picture) -> Example:
        """What looks like a picture; see `gags.Scene.locate`.

        Raises:
            QueryError: If it is no picture.
        """
        pixels, shown = read_example(image)
        vector = embed_example(pixels, shown, self.scene.encoder)
        name = "image" if isinstance(image, np.ndarray) else Path(image).name
        return compared_with(self.scene.things(), self.scene.space(), name, vector[None])

    def of_click(self, view: View | str, x: int, y: int) -> Example:
        """What is at a pixel of a photo, and what looks like it.

        Raises:
            QueryError: If no thing is there.
        """
        view = self._view(view)
        check_click(view, (x, y))
        things = self.scene.things()
        node = thing_at(self.scene.gaussians, things, view, (x, y))
        rows = things[node].astype(np.int64)
        name, vectors = f"{view.name} at ({x}, {y})", _looks_of(things, node, self.scene.encoder.dim)
        return compared_with(things, self.scene.space(), name, _stacked(vectors), pointed=[rows])

    def lesson(
        self, name: str, view: View | str, at: tuple[int, int], level: Level | None, progress: Reporter
    ) -> Taught:
        """What is kept of a click that teaches a name; see `gags.Scene.teach`."""
        name, view = checked_name(name), self._view(view)
        check_click(view, at, level)
        self.scene.taught.entries()  # what is wrong with its file is said before the things are looked for
        things = self.scene.things(progress)
        node = thing_at(self.scene.gaussians, things, view, at, level)
        members = things[node]
        return Taught(
            name=name,
            view=view.name,
            at=at,
            level=level,
            splats=self.scene.field.splats_hash,
            members=members,
            means=self.scene.gaussians.means.cpu().numpy()[members],
            encoder=self.scene.field.encoder_name,
            embedding=things.embeddings[node],
        )

    def lesson_of(self, name: str, rows: np.ndarray, progress: Reporter) -> Taught:
        """What is kept of a name that a thing was given without a click; see `gags.Scene.rename`.

        A pixel that shows the thing stands for the click, so that the name lasts as long as any other.

        Args:
            name: The name.
            rows: Gaussians of the thing. int64 [n]
            progress: Told about progress.
        """
        name = checked_name(name)
        self.scene.taught.entries()
        if not len(rows):
            raise QueryError(f"nothing is there to be called {name!r}")
        things, space = self.scene.things(progress), self.scene.space(progress)
        node = node_of(things, space.opacities, rows)
        view, at = pixel_of(self.scene.gaussians, self.scene.capture.views, rows, space.opacities)
        looks = [] if node is None else _looks_of(things, node, self.scene.encoder.dim)
        return Taught(
            name=name,
            view=view.name,
            at=at,
            level=None,
            splats=self.scene.field.splats_hash,
            members=rows.astype(np.int32),
            means=self.scene.gaussians.means.cpu().numpy()[rows],
            encoder=self.scene.field.encoder_name,
            embedding=looks[0] if looks else np.zeros(0, np.float16),
        )

    def meaning(self, clicks: Sequence[Taught]) -> Example | None:
        """What the clicks of one name mean in the scene as it is now; None if nothing is left of it.

        The Gaussians of the things, if they are still the same; else what fills the same place; else what the
        photo shows at the pixel. If that fails, too, what looks like it may still be found.
        """
        things, space, field = self.scene.things(), self.scene.space(), self.scene.field
        dim = self.scene.encoder.dim
        sets: list[np.ndarray] = []
        vectors: list[np.ndarray] = []
        for click in clicks:
            rows = click.members if click.splats == field.splats_hash else self._again(click)
            node = None if rows is None else node_of(things, space.opacities, rows)
            looks = [] if node is None else _looks_of(things, node, dim)
            if not looks and click.encoder == field.encoder_name and click.embedding.any():
                looks = [click.embedding]
            vectors += looks
            sets += [] if rows is None else [rows.astype(np.int64)]
        if not sets and not vectors:
            return None
        pointed = merged(sets)
        return compared_with(things, space, clicks[0].name, _stacked(vectors), pointed=pointed)

    def _again(self, click: Taught) -> np.ndarray | None:
        things = self.scene.things()
        rows = found_again(click.means, self.scene.space(), things)
        if rows is not None:
            return rows
        try:
            view = self.scene.capture[click.view]
            return things[thing_at(self.scene.gaussians, things, view, click.at, click.level)]
        except GagsError:  # the photo is gone, or shows nothing there
            return None

    def _view(self, view: View | str) -> View:
        if isinstance(view, str):
            return self.scene.capture[view]
        if not isinstance(view, View):
            kind = type(view).__name__
            raise QueryError(f"a photo or its name is wanted here, not an object of type {kind}")
        return view


def _looks_of(things: Things, node: int, dim: int) -> list[np.ndarray]:
    """What the masks of a thing say it is, if they do so in a space of `dim` numbers. float16 [D] each"""
    vector = things.embeddings[node]
    return [vector] if len(vector) == dim and vector.any() else []


def _stacked(vectors: Sequence[np.ndarray]) -> np.ndarray:
    """Embeddings one below the other. float32 [K, D]"""
    return np.stack(vectors).astype(np.float32) if vectors else np.zeros((0, 0), np.float32)
