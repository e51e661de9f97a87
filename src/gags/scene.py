"""A finished scene: Gaussians and their language, ready to be asked."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

from torch import Tensor

from gags.capture import Capture, View
from gags.distill.field import LanguageField
from gags.embed import load_encoder
from gags.embed.description import Description
from gags.embed.encoder import Encoder
from gags.errors import WorkspaceError
from gags.gaussians import Gaussians
from gags.gaussians.ply import load_ply
from gags.models.device import scene_device
from gags.progress import SILENT, Reporter
from gags.query.answers import Answer, locate, scores_in_view
from gags.query.catalog import Entry, catalog
from gags.query.instances import Instance, locate_instances
from gags.query.relevancy import Queries
from gags.query.seen import seen_in
from gags.query.select import Selection, select
from gags.query.words import EVERYDAY
from gags.things.things import Things
from gags.workspace import Workspace, stamp


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
        return cls(workspace, Capture.load(workspace.capture), gaussians.to(device), field.to(device))

    @cached_property
    def encoder(self) -> Encoder:
        """The encoder that described the scene; loaded at the first query."""
        return load_encoder(self.field.encoder_name)

    def queries(self, texts: str | Sequence[str]) -> Queries:
        """Texts made ready; doing this once saves time when many views are asked."""
        texts = [texts] if isinstance(texts, str) else texts
        queries = Queries.encode(texts, self.encoder, self.field, negatives=self._negatives)
        self._negatives = queries.negatives
        return queries

    def query(self, texts: str | Sequence[str] | Queries, view: View | str) -> list[Answer]:
        """Where in a view the things are that the texts name; one answer a text.

        Raises:
            GagsError: If a text is empty or the view is unknown.
        """
        view = self.capture[view] if isinstance(view, str) else view
        queries = texts if isinstance(texts, Queries) else self.queries(texts)
        return locate(self.gaussians, self.field, view.camera, queries, view=view.name)

    def select(self, texts: str | Sequence[str] | Queries) -> list[Selection]:
        """The Gaussians that each text names, their box and their score; one selection a text."""
        queries = texts if isinstance(texts, Queries) else self.queries(texts)
        return select(self.gaussians, self.field, queries)

    def locate(
        self, texts: str | Sequence[str] | Queries, *, progress: Reporter = SILENT
    ) -> list[list[Instance]]:
        """Every instance of what each text names, best first, with its box and the photos that see it.

        Boxes are in the capture's own frame and units: `load_capture` moves and scales nothing.
        """
        queries = texts if isinstance(texts, Queries) else self.queries(texts)
        found = locate_instances(self.gaussians, self.field, queries, self.things(progress))
        cameras = [view.camera for view in self.capture.views]
        every = [instance for instances in found for instance in instances]
        seen = seen_in(self.gaussians, cameras, [instance.mask for instance in every])
        for instance, views in zip(every, seen.sum(axis=0).tolist(), strict=True):
            instance.views = views
        return found

    def catalog(
        self, words: Sequence[str] | Queries = EVERYDAY, *, progress: Reporter = SILENT
    ) -> list[Entry]:
        """The things that many photos agree on, each with the words that name it best."""
        queries = words if isinstance(words, Queries) else self.queries(words)
        things = self.things(progress)
        return catalog(self.gaussians, self.field, queries, things, len(self.capture.train))

    def things(self, progress: Reporter = SILENT) -> Things:
        """The single things of the scene, found from the masks of its photos.

        They are kept in `things.safetensors` in the scene's folder, if that can be written, and found anew
        when masks or Gaussians have changed.
        """
        if self._things is None:
            self._things = self._load_things(progress)
        return self._things

    def _load_things(self, progress: Reporter) -> Things:
        views = [v for v in self.capture.train if self.workspace.description(v.name).exists()]
        stamps = {v.name: Description.stamps_of(self.workspace.description(v.name)) for v in views}
        key, path = stamp(self.field.splats_hash, stamps), self.workspace.root / "things.safetensors"
        known = Things.load(path, key)
        if known is not None or not views:
            return known or Things.none()
        from gags.things.grouping import find_things, gather_evidence  # compiles kernels

        items = ((v.camera, Description.load(self.workspace.description(v.name))) for v in views)
        things = find_things(*gather_evidence(self.gaussians, items, len(views), progress))
        try:
            things.save(path, key)
        except OSError:
            progress.say(f"{path} cannot be written; the things of the scene are found anew every time")
        return things

    def best_views(self, queries: Queries, count: int = 3) -> list[list[View]]:
        """Photos in which each text is answered with the highest score, best first; `count` each."""
        relevancies = queries.of_gaussians(self.field)
        scores = []
        for view in self.capture.views:
            camera = view.camera.within(max(view.camera.width, view.camera.height) // 4)
            scores.append(scores_in_view(self.gaussians, relevancies, camera))
        ranked = []
        for column in zip(*scores, strict=True):
            order = sorted(range(len(column)), key=lambda row: -column[row])
            ranked.append([self.capture.views[row] for row in order[:count]])
        return ranked
