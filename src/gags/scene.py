"""A finished scene: Gaussians and their language, ready to be asked. The one thing that answers texts."""

import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from gags.capture import Camera, Capture, View, read_capture_of
from gags.capture.saved import saved_checksum
from gags.distill.field import LanguageField
from gags.embed import load_encoder
from gags.embed.encoder import Encoder
from gags.errors import GagsError, QueryError, WorkspaceError
from gags.files.looks import Watched, sample_of
from gags.gaussians import Gaussians
from gags.gaussians.own import load_splats_of
from gags.models.device import scene_device
from gags.progress import SILENT, Reporter
from gags.query import edit
from gags.query.answers import Answer, answer_view, best_views
from gags.query.catalog import Entry, catalog
from gags.query.choose import Chooser
from gags.query.edits import Edits, Wanted
from gags.query.examples import Example
from gags.query.frame import Frame, Unit, load_frame, save_frame
from gags.query.instances import Instance, locate_instances
from gags.query.language import language_hint
from gags.query.maps import Renderer, seen_in
from gags.query.names import EVERYDAY, Namer, read_words
from gags.query.pointed import Level
from gags.query.relevancy import Queries
from gags.query.showing import ExampleMaker, Picture, Pointed
from gags.query.space import Space
from gags.query.taught import Taught, TaughtNames, plain_name
from gags.store import load_checksum
from gags.things.find import things_of_scene
from gags.things.things import Things
from gags.workspace import Workspace

if TYPE_CHECKING:
    from PIL.Image import Image

    from gags.evaluate.labels import LabelsBy
    from gags.evaluate.metrics import Evaluation
    from gags.viewer.server import Viewer

Texts = str | Sequence[str] | Queries

MOST_LOCATED = 200  # texts whose instances are remembered


class Scene(Edits):
    """Everything `gags run` left in a folder, loaded.

    Attributes:
        workspace: The folder.
        capture: Photos and poses.
        gaussians: The 3D Gaussians.
        field: Their language field.
        taught: The names that it was taught, see `teach`.
    """

    def __init__(
        self, workspace: Workspace, capture: Capture, gaussians: Gaussians, field: LanguageField
    ) -> None:
        self.workspace = workspace
        self.capture = capture
        self.gaussians = gaussians
        self.field = field
        self._things: Things | None = None
        self._things_file = Watched({})
        self._space: Space | None = None  # where its Gaussians are, see `space`
        self._namer: tuple[list[Taught], Namer] | None = None  # with the names that it knows
        self._chooser: Chooser | None = None
        self._renderer = Renderer(gaussians)
        # Of texts asked lately, with what they were taught to mean: they are asked view by view.
        self._located: dict[tuple[str, Example | None], list[Instance]] = {}
        self._negatives: Tensor | None = None  # canonical phrases of the encoder, once embedded
        self._files = _files_of(workspace)
        self._maker = ExampleMaker(self)
        self.taught = TaughtNames(workspace.taught, self._maker.meaning)

    @classmethod
    def load(cls, root: Path | str, *, need_photos: bool = True, progress: Reporter = SILENT) -> "Scene":
        """Load the scene of a folder, onto the device that Gaussians are rasterised on.

        Args:
            root: The folder.
            need_photos: Whether the photos must be where they were. Without them a scene answers texts in 3D
                all the same; what decodes a photo fails.
            progress: Told what keeps Gaussians from a GPU that is there.

        Raises:
            WorkspaceError: If a piece is missing, damaged, or belongs to other Gaussians.
        """
        workspace = Workspace.open(root)
        files = _files_of(workspace)  # as they are before they are read
        for stage, path in {"reconstruct": workspace.splats, "distill": workspace.field}.items():
            if not os.path.lexists(path):
                raise WorkspaceError(f"{root} is not finished, there is no {path.name}; run `gags {stage}`")
        gaussians, capture = load_splats_of(workspace), read_capture_of(workspace, need_photos=need_photos)
        field, device = LanguageField.load(workspace.field, gaussians), scene_device(progress)
        scene = cls(workspace, capture, gaussians.to(device), field.to(device))
        scene._files = files
        return scene

    def changed(self) -> list[Path]:
        """Files of the scene's folder that another process made anew since they were loaded, or removed.

        While there are any, nothing is kept in the folder: no names, no unit, no up, no things.
        """
        known = [] if self._things is None else self._things_file.changed()
        return [*self._files.changed(), *known]

    def check_unchanged(self) -> None:
        """Make sure that the folder still holds what was loaded.

        Raises:
            WorkspaceError: If it was made anew.
        """
        if changed := self.changed():
            raise WorkspaceError(
                f"{self.workspace.root} was made anew since it was loaded ({listed_names(changed)}), so "
                "nothing of the former scene is kept in it; load it again"
            )

    @cached_property
    def encoder(self) -> Encoder:
        """The encoder that described the scene; loaded at the first query."""
        return load_encoder(self.field.encoder_name)

    def queries(
        self, texts: str | Sequence[str] = (), *, image: Picture | None = None, like: Pointed | None = None
    ) -> Queries:
        """Texts, and what is shown instead of named, made ready; doing this once saves time for many views.

        Args:
            texts: The texts. One that is a taught name (`teach`) means what was taught.
            image: A picture of what is meant, see `locate`.
            like: A pixel that shows it, see `locate`.
        """
        if not isinstance(texts, Iterable):
            raise QueryError(f"texts are wanted here, not an object of type {type(texts).__name__}")
        texts = [texts] if isinstance(texts, str) else list(texts)
        shown = [] if image is None else [self._maker.of_image(image)]
        shown += [] if like is None else [self._maker.of_click(*like)]
        queries = Queries.encode(
            texts, self.encoder, self.field, negatives=self._negatives, taught=self.taught, shown=shown
        )
        self._negatives = queries.negatives
        return queries

    def _ready(self, texts: Texts, image: Picture | None = None, like: Pointed | None = None) -> Queries:
        if isinstance(texts, Queries) and image is None and like is None:
            return texts
        if isinstance(texts, Queries):
            raise QueryError("queries that are ready take no image and no click; give them to `queries`")
        return self.queries(texts, image=image, like=like)

    # In a view

    def query(
        self,
        texts: Texts = (),
        view: View | Camera | str | None = None,
        *,
        image: Picture | None = None,
        like: Pointed | None = None,
    ) -> list[Answer]:
        """Where in a view the things are that the texts name, or that an image or a click shows.

        Args:
            texts: What to look for.
            view: A view of the capture, its name, or any other camera. None: for each text, the three photos
                that show its answer best, see `best_views`.
            image: A picture of what to look for, see `locate`.
            like: A pixel that shows it, see `locate`.

        Returns:
            One answer a text, or three a text; then those of the image, and of the click.

        Raises:
            GagsError: If a text is empty, the view is unknown, or nothing is shown.
        """
        queries = self._ready(texts, image, like)
        if view is None:
            best = enumerate(self.best_views(queries))
            return [self.query(queries.subset([row]), one)[0] for row, views in best for one in views]
        view = self.capture[view] if isinstance(view, str) else view
        if not isinstance(view, View | Camera):
            raise QueryError(
                f"a view, its name or a camera is wanted here, not an object of type {type(view).__name__}"
            )
        camera, name = (view, "") if isinstance(view, Camera) else (view.camera, view.name)
        chosen = torch.stack(
            [edit.union(found, len(self.gaussians)) for found in self._instances(queries, SILENT)]
        )
        return answer_view(
            self.gaussians, self.field, camera, queries, chosen=chosen, view=name, renderer=self._renderer
        )

    def best_views(self, queries: Queries, count: int = 3) -> list[list[View]]:
        """Photos that show what answers each text, best first; `count` each.

        First those that show all of the best instance, and of such photos those from near. For a text that
        nothing answers, or no photo shows the answer of, those with the highest relevancy.
        """
        found = self._instances(queries, SILENT)
        rows = [np.flatnonzero(one[0].mask.numpy()) if one else np.zeros(0, np.int64) for one in found]
        return best_views(self.gaussians, self.field, self.capture.views, queries, rows, count)

    # In 3D

    def locate(
        self,
        texts: Texts = (),
        *,
        image: Picture | None = None,
        like: Pointed | None = None,
        progress: Reporter = SILENT,
    ) -> list[list[Instance]]:
        """Every instance of what each text names, best first, with its box and the photos that see it.

        Boxes are in the capture's own frame and units: `load_capture` moves and scales nothing.

        Args:
            texts: What to look for.
            image: A picture of what to look for, which should fill it: a file, or an array, uint8 RGB [H, W,
                3] or RGBA [H, W, 4]. What is transparent does not count.
            like: A photo or its name, and column and row of one of its pixels, px: what is there comes first,
                then what looks like it.
            progress: Told about progress.

        Returns:
            Instances of each text, then those of the image, and of the click.

        Raises:
            GagsError: If a text is empty, the image is none, or the click hits nothing.
        """
        queries = self._ready(texts, image, like)
        named = [text for row, text in enumerate(queries.texts) if queries.example(row) is None]
        if hint := language_hint(named, self.encoder):
            progress.warn(hint)
        found = self._instances(queries, progress)
        cameras = [view.camera for view in self.capture.views]
        every = [one for instances in found for one in instances if not one.views]  # others are counted
        seen = seen_in(self.gaussians, cameras, [instance.mask for instance in every])
        for instance, views in zip(every, seen.sum(axis=0).tolist(), strict=True):
            instance.views = views
        return found

    def _instances(self, queries: Queries, progress: Reporter) -> list[list[Instance]]:
        known = self._located if queries.negatives is self._negatives else {}
        keys = [(text, queries.example(row)) for row, text in enumerate(queries.texts)]
        missing = [row for row, key in enumerate(keys) if key not in known]
        if missing:
            things, space = self.things(progress), self.space(progress)
            if self._chooser is None:
                self._chooser = Chooser(things, space.opacities, space.means)
            asked = queries.subset(missing)
            found = locate_instances(
                self.gaussians, self.field, asked, things, space=space, chooser=self._chooser
            )
            if len(known) > MOST_LOCATED:
                known = self._located = {key: known[key] for key in keys if key in known}
            known.update(zip([keys[row] for row in missing], found, strict=True))
        return [known[key] for key in keys]

    def catalog(
        self, words: Sequence[str] | Queries | Path = EVERYDAY, *, progress: Reporter = SILENT
    ) -> list[Entry]:
        """The things that many photos agree on, each with the words that name it best.

        Args:
            words: Names to choose from; or a text file of them, one a line.
            progress: Told about progress.

        Raises:
            QueryError: If the file of words cannot be read or is empty.
        """
        if isinstance(words, Path):
            words = read_words(words)
        queries, things = self._ready(words), self.things(progress)
        taught = self.taught.examples()
        return catalog(self.gaussians, self.field, queries, things, self.photos_with_masks, taught=taught)

    @property
    def photos_with_masks(self) -> int:
        """Number of photos that things were found from; all that were trained on if no masks are left."""
        described = sum(self.workspace.description(view.name).exists() for view in self.capture.train)
        return described or len(self.capture.train)

    def missing_photos(self) -> list[str]:
        """Names of the photos that are no longer where they were; see `need_photos` of `load`."""
        return [view.name for view in self.capture.views if not view.path.is_file()]

    def things(self, progress: Reporter = SILENT) -> Things:
        """The things of the scene and their parts, found from the masks of its photos.

        They are kept in the scene's folder, if that can be written, and found anew when masks or Gaussians
        have changed.
        """
        if self._things is None:
            file = Watched({self.workspace.things: _checksum_of_things})
            things, _ = things_of_scene(
                self.workspace,
                self.capture,
                self.gaussians,
                self.field.splats_hash,
                unchanged=lambda: not self._files.changed(),
                progress=progress,
            )
            file.accept(self.workspace.things, things.checksum())
            file.accept(self.workspace.things, "")
            self._things_file, self._things = file, things
        return self._things

    def space(self, progress: Reporter = SILENT) -> Space:
        """Where the Gaussians of the scene are, and which of them belong to things."""
        if self._space is None:
            self._space = Space.build(self.gaussians, self.things(progress))
        return self._space

    def namer(self, progress: Reporter = SILENT) -> Namer:
        """Everyday words and taught names for Gaussians of the scene; made once, and when more is taught."""
        known = self.taught.entries()
        if self._namer is None or self._namer[0] is not known:
            words, things, space = self.queries(EVERYDAY), self.things(progress), self.space(progress)
            taught = self.taught.examples()
            self._namer = known, Namer.of_scene(self.field, words, space.opacities, things, taught=taught)
        return self._namer[1]

    def extract(
        self,
        wanted: Wanted,
        out: Path | str | None = None,
        *,
        invert: bool = False,
        ids: bool = False,
        progress: Reporter = SILENT,
    ) -> Gaussians:
        """Cut things out: their Gaussians alone, every value as it was.

        Args:
            wanted: What to cut out: texts, of which all instances are taken, or instances of `locate`.
            out: File to write them to, .ply or another of `save_gaussians`; nothing is written if they are
                none.
            invert: Everything else instead.
            ids: Also write which thing each belongs to; see `gags.save_scene`.
            progress: Told about progress.

        Returns:
            The Gaussians, none if nothing matches.

        Raises:
            SplatsError: If `out` is the scene itself, or of a format that is not written or holds no ids.
        """
        self.check_output(out, ids=ids)
        if out is None or not ids:
            return super().extract(wanted, out, invert=invert, progress=progress)
        mask = self.mask_of(wanted, invert=invert, progress=progress)
        if not mask.any():
            return self.gaussians[mask]
        import gags

        return gags.save_scene(self, out, mask, ids=True, progress=progress)

    # Names

    def teach(
        self,
        name: str,
        view: View | str,
        at: tuple[int, int],
        *,
        level: Level | None = None,
        progress: Reporter = SILENT,
    ) -> Taught:
        """Teach the scene a name of a thing, by pointing at it in a photo.

        From then on the name is what the thing is called, wherever the scene is asked: `query`, `locate`,
        `extract`, `evaluate`, `catalog`, the report and the viewer. More clicks under one name add up. The
        name is kept in the scene's folder, and goes on to work when stages run again.

        Args:
            name: The name, at most 100 letters.
            view: A photo, or its name.
            at: Column and row of a pixel that shows the thing, px of the photo as the capture loads it.
            level: How much of what is there is meant: the "whole", a "part" of it, or a "sub-part". None:
                what the photos take for one thing.
            progress: Told about progress, if the things of the scene have to be found first.

        Returns:
            What was learnt.

        Raises:
            QueryError: If the name is empty or too long, or no thing is at the pixel.
            GagsError: If there is no such photo, or the scene's folder cannot be written.
        """
        self.check_unchanged()
        return self.taught.add(self._maker.lesson(name, view, at, level, progress))

    def forget(self, name: str) -> int:
        """Forget a taught name with all of its clicks.

        Returns:
            Number of clicks that there were.

        Raises:
            QueryError: If nothing of that name was taught.
        """
        return self.taught.forget(name)

    def rename(self, thing: int | Instance, name: str, *, progress: Reporter = SILENT) -> Taught:
        """Give a thing another name; from then on it is found by it, as by one that was taught.

        Names that the same thing was given before are forgotten.

        Args:
            thing: Row of `things`; or an instance of `locate`, whose Gaussians are meant.
            name: The name, at most 100 letters.
            progress: Told about progress, if the things of the scene have to be found first.

        Returns:
            What was learnt.

        Raises:
            QueryError: If the name is empty or too long, or there is no such thing.
            GagsError: If the scene's folder cannot be written.
        """
        rows = np.flatnonzero(thing.mask.numpy()) if isinstance(thing, Instance) else self._rows_of(thing)
        lesson = self._maker.lesson_of(name, rows, progress)
        self.check_unchanged()
        for other in self.taught.names_of(rows, self.space(progress).opacities):
            if plain_name(other) != plain_name(name):
                with suppress(QueryError):  # its clicks were on Gaussians of a former training
                    self.taught.forget(other, rows)
        return self.taught.add(lesson)

    def _rows_of(self, thing: int) -> np.ndarray:
        things = self.things()
        if isinstance(thing, bool) or not isinstance(thing, int | np.integer) or not 0 <= thing < len(things):
            raise QueryError(f"there is no thing {thing!r}; the scene has {len(things)}, numbered from 0")
        return things[int(thing)].astype(np.int64)

    # Its frame

    @property
    def frame(self) -> Frame:
        """The unit and the up that people set; see `set_unit` and `set_up`.

        Raises:
            DamagedError: If their file is damaged.
        """
        return load_frame(self.workspace.frame, self.capture)

    def set_unit(self, length_in_scene: float, length: float, name: str = "m") -> Unit:
        """Say how long something is; from then on `gags locate` also tells sizes in this unit.

        Args:
            length_in_scene: How long it is in units of the capture.
            length: How long it is.
            name: Unit of `length`.

        Raises:
            QueryError: If a length is not positive, or the name is none.
            GagsError: If the scene's folder cannot be written.
        """
        unit = Unit.of_length(length_in_scene, length, name)
        self.check_unchanged()
        save_frame(self.workspace.frame, self.frame.with_unit(unit), self.capture)
        return unit

    def set_up(self, up: Sequence[float] | np.ndarray | None) -> None:
        """Say which way is up, for the viewer; None leaves it to the viewer again.

        Raises:
            QueryError: If it is no direction.
            GagsError: If the scene's folder cannot be written.
        """
        self.check_unchanged()
        save_frame(self.workspace.frame, self.frame.with_up(up), self.capture)

    def forget_unit(self) -> None:
        """Forget the unit; sizes are told in units of the capture again."""
        self.check_unchanged()
        save_frame(self.workspace.frame, self.frame.with_unit(None), self.capture)

    # What rooms further up do with a scene

    def evaluate(
        self,
        labels: Path | str,
        protocol: str = "lerf-ovs",
        *,
        labels_by: "LabelsBy" = "name",
        progress: Reporter = SILENT,
    ) -> "dict[str, Evaluation]":
        """Score the answers against labels; see `gags.evaluate`."""
        import gags

        return gags.evaluate(self, labels, protocol, labels_by=labels_by, progress=progress)

    def report(self, texts: Sequence[str] = (), *, progress: Reporter = SILENT) -> Path:
        """Write the pages of the report; see `gags.report`."""
        import gags

        return gags.report(self, texts, progress=progress)

    def view(self, **options: Any) -> "Viewer | None":
        """Show the scene in the browser until Ctrl-C, or in the cell of a notebook; see `gags.view`."""
        import gags

        return gags.view(self, **options)

    def show(self, text: str = "", view: View | Camera | str | None = None, **example: Any) -> "Image":
        """A picture of where a text is found, which notebooks show; see `gags.show`."""
        import gags

        return gags.show(self, text, view, **example)


def _files_of(workspace: Workspace) -> Watched:
    """The files that a scene is loaded from; where photos are may change in a capture."""
    return Watched(
        {
            workspace.capture: lambda path: saved_checksum(path) or sample_of(path),
            workspace.splats: sample_of,
            workspace.field: sample_of,
        }
    )


def _checksum_of_things(path: Path) -> str:
    """What the file of things says of itself; one that is not there, or not whole, is no other one."""
    with suppress(GagsError):
        return load_checksum(path, remedy="")
    return ""


def listed_names(paths: Sequence[Path]) -> str:
    """Names of files, for messages."""
    return ", ".join(path.name for path in paths)


def by_view(best: list[list[View]]) -> list[tuple[View, list[int]]]:
    """Views with the rows of the texts to answer in them, from each text's best views."""
    plan: dict[str, tuple[View, list[int]]] = {}
    for row, views in enumerate(best):
        for view in views:
            plan.setdefault(view.name, (view, []))[1].append(row)
    return list(plan.values())
