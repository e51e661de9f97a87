"""A finished scene: Gaussians and their language, ready to be asked."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

from gags.capture import Capture, View
from gags.distill.field import LanguageField
from gags.embed import load_encoder
from gags.embed.base import Encoder
from gags.errors import WorkspaceError
from gags.query.locate import Answer, answers_in_view, locate
from gags.query.relevancy import Queries
from gags.query.select import Selection, select
from gags.splats.gaussians import Gaussians
from gags.splats.ply import load_ply
from gags.workspace import Workspace


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

    @classmethod
    def load(cls, root: Path | str) -> "Scene":
        """Load the scene of a folder.

        Raises:
            WorkspaceError: If a piece is missing, damaged, or belongs to other Gaussians.
        """
        workspace = Workspace.open(root)
        for stage, path in {"reconstruct": workspace.splats, "distill": workspace.field}.items():
            if not path.exists():
                raise WorkspaceError(f"{root} is not finished, there is no {path.name}; run `gags {stage}`")
        gaussians = load_ply(workspace.splats)
        field = LanguageField.load(workspace.field, gaussians)
        return cls(workspace, Capture.load(workspace.capture), gaussians, field)

    @cached_property
    def encoder(self) -> Encoder:
        """The encoder that described the scene; loaded at the first query."""
        return load_encoder(self.field.encoder_name)

    def queries(self, texts: str | Sequence[str]) -> Queries:
        """Texts made ready; doing this once saves time when many views are asked."""
        return Queries.encode([texts] if isinstance(texts, str) else texts, self.encoder, self.field)

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

    def best_views(self, queries: Queries, count: int = 3) -> list[list[View]]:
        """Photos in which each text is answered with the highest score, best first; `count` each."""
        relevancies = queries.of_gaussians(self.field)
        scores = []
        for view in self.capture.views:
            camera = view.camera.resized(max(1, view.camera.width // 4), max(1, view.camera.height // 4))
            answers = answers_in_view(self.gaussians, relevancies, queries.texts, camera)
            scores.append([answer.score for answer in answers])
        ranked = []
        for column in zip(*scores, strict=True):
            order = sorted(range(len(column)), key=lambda row: -column[row])
            ranked.append([self.capture.views[row] for row in order[:count]])
        return ranked
