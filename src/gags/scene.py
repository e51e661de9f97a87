"""A finished scene: Gaussians and their language, ready to be asked. The one thing that answers texts."""

from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from gags.capture import Camera, Capture, View, read_saved_capture
from gags.distill.field import LanguageField
from gags.embed import load_encoder
from gags.embed.encoder import Encoder
from gags.errors import QueryError, SplatsError, WorkspaceError
from gags.gaussians import Gaussians
from gags.gaussians.files import save_splats, writer_for
from gags.gaussians.ply import load_ply
from gags.models.device import scene_device
from gags.progress import SILENT, Reporter
from gags.query import edit
from gags.query.answers import Answer, answer_view, asker, view_scores
from gags.query.catalog import Entry, catalog
from gags.query.choose import Chooser
from gags.query.instances import Instance, locate_instances
from gags.query.maps import Renderer, how_well_shown, seen_in
from gags.query.names import EVERYDAY, read_words
from gags.query.relevancy import Queries
from gags.query.space import Space
from gags.things.find import things_of_scene
from gags.things.things import Things
from gags.workspace import Workspace

if TYPE_CHECKING:
    from gags.evaluate.labels import LabelsBy
    from gags.evaluate.metrics import Evaluation

Texts = str | Sequence[str] | Queries
Wanted = str | Instance | Queries | Iterable["str | Instance | Iterable[Instance]"]
Color = str | tuple[float, float, float]

MOST_LOCATED = 200  # texts whose instances are remembered


class Scene:
    """Everything `gags run` left in a folder, loaded.

    Attributes:
        workspace: The folder.
        capture: Photos and poses.
        gaussians: The 3D Gaussians.
        field: Their language field.
    """

    def __init__(
        self, workspace: Workspace, capture: Capture, gaussians: Gaussians, field: LanguageField
    ) -> None:
        self.workspace = workspace
        self.capture = capture
        self.gaussians = gaussians
        self.field = field
        self._things: Things | None = None
        self._space: Space | None = None  # where its Gaussians are
        self._chooser: Chooser | None = None
        self._renderer = Renderer(gaussians)
        self._located: dict[str, list[Instance]] = {}  # of texts asked lately: they are asked view by view
        self._negatives: Tensor | None = None  # canonical phrases of the encoder, once embedded

    @classmethod
    def load(cls, root: Path | str) -> "Scene":
        """Load the scene of a folder, onto the device that Gaussians are rasterised on.

        Raises:
            WorkspaceError: If a piece is missing, damaged, or belongs to other Gaussians.
        """
        workspace = Workspace.open(root)
        for stage, path in {"reconstruct": workspace.splats, "distill": workspace.field}.items():
            if not path.exists():
                raise WorkspaceError(f"{root} is not finished, there is no {path.name}; run `gags {stage}`")
        gaussians = load_ply(workspace.splats)
        field, device = LanguageField.load(workspace.field, gaussians), scene_device()
        return cls(workspace, read_saved_capture(workspace.capture), gaussians.to(device), field.to(device))

    @cached_property
    def encoder(self) -> Encoder:
        """The encoder that described the scene; loaded at the first query."""
        return load_encoder(self.field.encoder_name)

    def queries(self, texts: str | Sequence[str]) -> Queries:
        """Texts made ready; doing this once saves time when many views are asked."""
        if not isinstance(texts, Iterable):
            raise QueryError(f"texts are wanted here, not an object of type {type(texts).__name__}")
        texts = [texts] if isinstance(texts, str) else list(texts)
        queries = Queries.encode(texts, self.encoder, self.field, negatives=self._negatives)
        self._negatives = queries.negatives
        return queries

    def _ready(self, texts: Texts) -> Queries:
        return texts if isinstance(texts, Queries) else self.queries(texts)

    # In a view

    def query(self, texts: Texts, view: View | Camera | str | None = None) -> list[Answer]:
        """Where in a view the things are that the texts name.

        Args:
            texts: What to look for.
            view: A view of the capture, its name, or any other camera. None: for each text, the three photos
                that show its answer best, see `best_views`.

        Returns:
            One answer a text, or three a text.

        Raises:
            GagsError: If a text is empty or the view is unknown.
        """
        queries = self._ready(texts)
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
        views = self.capture.views
        scores = np.zeros((len(views), len(rows)))
        if any(len(members) for members in rows):
            scores = how_well_shown(self.gaussians, [view.camera for view in views], rows)
        lost = np.flatnonzero(~scores.any(axis=0)).tolist()
        if lost:
            ask = asker(self.gaussians, self.field, queries.subset(lost))
            for number, view in enumerate(views):
                camera = view.camera.within(max(view.camera.width, view.camera.height) // 4)
                scores[number, lost] = view_scores(ask(camera))
        order = np.argsort(-scores, axis=0, kind="stable")[:count]
        return [[views[row] for row in column] for column in order.T]

    # In 3D

    def locate(self, texts: Texts, *, progress: Reporter = SILENT) -> list[list[Instance]]:
        """Every instance of what each text names, best first, with its box and the photos that see it.

        Boxes are in the capture's own frame and units: `load_capture` moves and scales nothing.
        """
        found = self._instances(self._ready(texts), progress)
        cameras = [view.camera for view in self.capture.views]
        every = [instance for instances in found for instance in instances]
        seen = seen_in(self.gaussians, cameras, [instance.mask for instance in every])
        for instance, views in zip(every, seen.sum(axis=0).tolist(), strict=True):
            instance.views = views
        return found

    def _instances(self, queries: Queries, progress: Reporter) -> list[list[Instance]]:
        known = self._located if queries.negatives is self._negatives else {}
        missing = [row for row, text in enumerate(queries.texts) if text not in known]
        if missing:
            things = self.things(progress)
            if self._space is None:
                self._space = Space.build(self.gaussians, things)
                self._chooser = Chooser(things, self._space.opacities, self._space.means)
            asked = queries.subset(missing)
            found = locate_instances(
                self.gaussians, self.field, asked, things, space=self._space, chooser=self._chooser
            )
            if len(known) > MOST_LOCATED:
                known = self._located = {text: known[text] for text in queries.texts if text in known}
            known.update(zip(asked.texts, found, strict=True))
        return [known[text] for text in queries.texts]

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
        return catalog(self.gaussians, self.field, queries, things, self.photos_with_masks)

    @property
    def photos_with_masks(self) -> int:
        """Number of photos that things were found from; all that were trained on if no masks are left."""
        described = sum(self.workspace.description(view.name).exists() for view in self.capture.train)
        return described or len(self.capture.train)

    def things(self, progress: Reporter = SILENT) -> Things:
        """The things of the scene and their parts, found from the masks of its photos.

        They are kept in the scene's folder, if that can be written, and found anew when masks or Gaussians
        have changed.
        """
        if self._things is None:
            self._things, _ = things_of_scene(
                self.workspace, self.capture, self.gaussians, self.field.splats_hash, progress=progress
            )
        return self._things

    # Edits: new Gaussians, the scene stays as it is

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
            SplatsError: If `out` is the scene itself, or of a format that is not written.
        """
        self.check_output(out, ids=ids)
        mask = self.mask_of(wanted, invert=invert, progress=progress)
        if out is not None and ids and bool(mask.any()):
            import gags

            return gags.save_scene(self, out, mask, ids=True, progress=progress)
        return self._written(edit.extracted(self.gaussians, mask), out, progress)

    def delete(
        self,
        wanted: Wanted,
        out: Path | str | None = None,
        *,
        invert: bool = False,
        progress: Reporter = SILENT,
    ) -> Gaussians:
        """The Gaussians of the scene without some things; see `extract`."""
        self.check_output(out)
        mask = self.mask_of(wanted, invert=invert, progress=progress)
        return self._written(edit.deleted(self.gaussians, mask), out, progress)

    def recolor(
        self,
        wanted: Wanted,
        color: Color,
        out: Path | str | None = None,
        *,
        invert: bool = False,
        progress: Reporter = SILENT,
    ) -> Gaussians:
        """All Gaussians, those of some things in one colour; see `extract`.

        Args:
            wanted: What to colour.
            color: As "#ff0000" or "red", or RGB in [0, 1].
            out: File to write all Gaussians to.
            invert: Colour everything else instead.
            progress: Told about progress.

        Raises:
            QueryError: If the colour is none.
        """
        rgb = edit.parse_color(color) if isinstance(color, str) else edit.checked_color(color)
        self.check_output(out)
        mask = self.mask_of(wanted, invert=invert, progress=progress)
        return self._written(edit.recolored(self.gaussians, mask, rgb), out, progress)

    def mask_of(self, wanted: Wanted, *, invert: bool = False, progress: Reporter = SILENT) -> Tensor:
        """Which Gaussians belong to what is wanted, or to everything else. bool [N]"""
        instances: list[Instance] = []
        texts: list[str] = []

        def take(one: Any) -> None:
            if isinstance(one, str):
                texts.append(one)
            elif isinstance(one, Instance):
                if len(one.mask) != len(self.gaussians):
                    raise QueryError(
                        f"{one.text!r} was located in another scene: it is of {len(one.mask):,} Gaussians, "
                        f"this scene has {len(self.gaussians):,}; locate it here"
                    )
                instances.append(one)
            elif isinstance(one, Iterable):
                for other in one:
                    take(other)
            else:
                kind = type(one).__name__
                raise QueryError(
                    f"texts or instances of `locate` are wanted here, not an object of type {kind}"
                )

        take(wanted.texts if isinstance(wanted, Queries) else wanted)
        for found in self.locate(texts, progress=progress) if texts else []:
            instances += found
        return edit.union(instances, len(self.gaussians), invert=invert)

    def check_output(self, out: Path | str | None, *, ids: bool = False) -> None:
        """Make sure that Gaussians, and the things they belong to, can be written to a file.

        Raises:
            SplatsError: If it is the scene itself, or of a format that is not written or holds no ids.
        """
        if out is None:
            return
        out, splats = Path(out), self.workspace.splats
        writer_for(out)
        if ids and out.suffix.lower() != ".ply":
            raise SplatsError(f"{out}: ids are written in .ply alone; rename --out or leave --ids out")
        if out.resolve() == splats.resolve() or (out.exists() and splats.exists() and out.samefile(splats)):
            raise SplatsError(f"{out} is the scene itself, which is never changed; choose another --out")

    def _written(self, gaussians: Gaussians, out: Path | str | None, progress: Reporter) -> Gaussians:
        if out is not None and len(gaussians):
            save_splats(gaussians, Path(out), progress)
        return gaussians

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

    def view(
        self, *, port: int = 8080, host: str = "127.0.0.1", words: Sequence[str] | Path = EVERYDAY
    ) -> None:
        """Show the scene in the browser until Ctrl-C; see `gags.view`."""
        import gags

        gags.view(self, port=port, host=host, words=words)


def by_view(best: list[list[View]]) -> list[tuple[View, list[int]]]:
    """Views with the rows of the texts to answer in them, from each text's best views."""
    plan: dict[str, tuple[View, list[int]]] = {}
    for row, views in enumerate(best):
        for view in views:
            plan.setdefault(view.name, (view, []))[1].append(row)
    return list(plan.values())
