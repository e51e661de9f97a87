"""A library of scenes: put them in, and ask all of them at once."""

import uuid
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from gags._version import __version__
from gags.capture.photos import listed
from gags.embed import load_encoder
from gags.embed.encoder import Encoder
from gags.errors import LibraryError, ModelError, QueryError
from gags.library.files import looks_of, scene_stamp, state_of
from gags.library.rank import Asked, Node, Phrases, best_unrelated
from gags.library.records import Found, SceneRecord, ScoredBy, State
from gags.library.rows import rows_of_scene
from gags.library.tables import Tables
from gags.progress import SILENT, Reporter
from gags.query.boxes import OrientedBox
from gags.query.pictures import embed_example, read_example
from gags.scene import Scene

CANDIDATES = 500  # nearest things that are judged for a text, at least …
CANDIDATES_PER_RESULT = 20  # … and for each result: of things that lie in one another, one is shown


class Library:
    """Many scenes that are asked at once: which of them hold something, and where.

    Scenes that were described with different encoders may be in one library. They cannot be compared: each
    encoder's are asked for themselves, and what is found says its encoder.

    Args:
        location: A folder; or the URL of one in an object store: s3://, gs://, az://, memory://. The first
            scene that is added makes it.

    Raises:
        LibraryError: If the extra `library` is not installed, the place holds something else or a library of
            a newer version, or it cannot be reached.
    """

    def __init__(self, location: Path | str) -> None:
        self.location = str(location)
        self._tables = Tables(location)
        self._encoders: dict[str, tuple[Encoder, Phrases]] = {}  # those that were needed

    def add(
        self, workspace: Scene | Path | str, *, name: str = "", progress: Reporter = SILENT
    ) -> SceneRecord:
        """Put a scene in, in place of what the library has of it.

        Args:
            workspace: The scene, or its folder.
            name: Its name in the library; by default that of its folder.
            progress: Told about progress.

        Raises:
            WorkspaceError: If there is no finished scene.
            LibraryError: If it has no things, or if the library has another scene of that name.
        """
        scene = workspace if isinstance(workspace, Scene) else Scene.load(workspace)
        root = scene.workspace.root.resolve()
        name = name or root.name
        self._check_name(name, root)
        scene.things(progress)  # which may write a file
        looks, files = looks_of(scene.workspace), scene_stamp(scene.workspace)  # before the work, not after
        rows = rows_of_scene(scene, progress=progress)
        encoder = scene.field.encoder_name
        record = {
            "name": name,
            "path": str(root),
            "encoder": encoder,
            "things": len(rows),
            "added": datetime.now(UTC).isoformat(timespec="seconds"),
            "run": uuid.uuid4().hex,
            "looks": looks,
            "stamp": files,
            "gags": __version__,
        }
        self._tables.put(record, rows)
        self._tables.tidy(encoder)
        return _record(record)

    def remove(self, names: str | Sequence[str]) -> None:
        """Take scenes out by name; their folders stay as they are.

        Raises:
            LibraryError: If the library has no scene of that name; then none is taken out.
        """
        self._tables.remove(self._known([names] if isinstance(names, str) else names))

    def scenes(self) -> list[SceneRecord]:
        """The scenes, in order of their names, and whether each is still as it was added."""
        return [_record(row) for row in self._tables.scenes().values()]

    def search(
        self,
        text: str | None = None,
        *,
        image: Path | str | np.ndarray | None = None,
        like: str | None = None,
        top: int = 20,
        scenes: Sequence[str] = (),
        progress: Reporter = SILENT,
    ) -> list[Found]:
        """Find what a text names, what an image shows, or what is like a thing of a scene.

        Texts rank by relevancy (Eq. 8) against the canonical phrases of the encoder, images and things by
        cosine. Of things that lie in one another only the best is given.

        Args:
            text: What to look for. One of `text`, `image` and `like` is needed.
            image: A picture of what is meant: a file, or uint8 RGB [H, W, 3]. It is embedded as a photo's
                masks are, as one mask that covers it.
            like: A thing of a scene, "SCENE:THING" as `Found.like` gives it; itself is not found.
            top: How many are wanted of each encoder.
            scenes: Names of scenes to look in; all if there are none.
            progress: Told about progress, and of encoders that cannot be loaded.

        Returns:
            What was found, by encoder, best first.

        Raises:
            QueryError: If not one question is given, the text is empty, or the image cannot be read.
            LibraryError: If there is no library, or it has no such scene or thing.
            ModelError: If no encoder can be loaded.
        """
        if sum(question is not None for question in (text, image, like)) != 1:
            raise QueryError("a library is asked one thing: a text, an image, or what something is like")
        if text is not None and not text.strip():
            raise QueryError("a query needs a text that is not empty")
        if top < 1:
            raise QueryError(f"top is {top}; at least one result must be wanted")
        known = self._tables.scenes()
        chosen = self._known(scenes) if scenes else list(known)
        if like is not None:
            return self._search_like(like, chosen if scenes else (), top)
        shown = None if image is None else read_example(image)
        found: list[Found] = []
        failed: list[ModelError] = []
        encoders = sorted({known[name]["encoder"] for name in chosen})
        for encoder in encoders:
            try:
                loaded, phrases = self._encoder(encoder, progress)
            except ModelError as error:
                failed.append(error)
                progress.warn(f"scenes of encoder {encoder} are not asked: {error}")
                continue
            if shown is None:
                asked = Asked.of_text(str(text), loaded, phrases)
            else:
                asked = Asked(embed_example(*shown, loaded))
            found += self._best(encoder, asked, chosen if scenes else (), top)
        if failed and len(failed) == len(encoders):
            raise failed[0]
        return found

    def _search_like(self, like: str, scenes: Sequence[str], top: int) -> list[Found]:
        scene, _, number = like.rpartition(":")
        if not scene or not number.isdecimal():
            raise QueryError(f"{like!r} names no thing of a scene; write SCENE:THING, as search prints it")
        (scene,) = self._known([scene])
        row = self._tables.thing(scene, int(number))
        if row is None:
            raise LibraryError(
                f"scene {scene!r} has no thing {number} in the library; search prints which there are"
            )
        encoder = self._tables.scenes()[scene]["encoder"]
        others = [name for name in scenes if self._tables.scenes()[name]["encoder"] == encoder]
        if scenes and not others:
            raise LibraryError(f"{like} was described with {encoder}, the scenes to look in were not")
        vector = np.asarray(row["vector"], np.float32)[: self._tables.dim(encoder)]
        itself = Node(scene, row["thing"], row["chain"], row["photos"])
        return self._best(encoder, Asked(vector), others, top, but=itself)

    def _best(
        self,
        encoder: str,
        asked: Asked,
        scenes: Sequence[str],
        top: int,
        but: Node | None = None,
    ) -> list[Found]:
        """The best things of one encoder's scenes.

        Args:
            encoder: Its name.
            asked: The question.
            scenes: Names of scenes to look in; all if there are none.
            top: How many, at most.
            but: What is not meant, nor what lies in it, nor what it lies in.
        """
        count = max(CANDIDATES, CANDIDATES_PER_RESULT * top)
        near = self._tables.nearest(encoder, asked.searches, count, scenes)
        known = self._tables.scenes()
        columns = zip(near["scene"], near["thing"], near["chain"], near["photos"], strict=True)
        nodes = [Node(*values) for values in columns]
        runs = {name: row["run"] for name, row in known.items()}
        fit = asked.fit(near["vector"])
        wanted = [
            row
            for row, node in enumerate(nodes)
            if runs.get(node.scene) == near["run"][row] and not (but is not None and node.is_related(but))
        ]
        best = [wanted[k] for k in best_unrelated([nodes[row] for row in wanted], fit.values[wanted], top)]
        shown = self._tables.shown(encoder, [(near["row"][k], near["run"][k], nodes[k].thing) for k in best])
        asked_of = {nodes[row].scene for row in best}
        states: dict[str, State] = {name: _state(known[name]) for name in asked_of}
        return [
            _found(
                known[nodes[row].scene],
                nodes[row],
                details,
                score=float(fit.scores[row]),
                by=asked.by,
                matches=None if fit.matches is None else bool(fit.matches[row]),
                state=states[nodes[row].scene],
            )
            for row, details in zip(best, shown, strict=True)
            if details is not None  # else its scene was replaced meanwhile
        ]

    def _encoder(self, name: str, progress: Reporter) -> tuple[Encoder, Phrases]:
        if name not in self._encoders:
            encoder = load_encoder(name, progress)
            self._encoders[name] = encoder, Phrases.of(encoder)
        return self._encoders[name]

    def _known(self, names: Iterable[str]) -> list[str]:
        """Names of scenes that the library has, each once.

        Raises:
            LibraryError: If it has not all of them.
        """
        known, names = self._tables.scenes(), list(dict.fromkeys(names))
        for name in names:
            if name not in known:
                there = listed(list(known), most=8) or "none at all"
                raise LibraryError(f"library {self.location} has no scene {name!r}; it has {there}")
        return names

    def _check_name(self, name: str, root: Path) -> None:
        """Make sure that a name is free, or that of the same scene, which may have moved."""
        row = self._tables.scenes().get(name) if self._tables.exist else None
        if row is None or row["path"] == str(root) or _state(row) == "gone":
            return
        raise LibraryError(
            f"library {self.location} has a scene {name!r} already, from {row['path']}; give {root} another "
            "name with --name, or remove the other"
        )


def _state(row: Mapping[str, Any]) -> State:
    return state_of(row["path"], row["looks"], row["stamp"])


def _record(row: Mapping[str, Any]) -> SceneRecord:
    return SceneRecord(
        name=row["name"],
        path=row["path"],
        encoder=row["encoder"],
        things=row["things"],
        added=row["added"],
        state=_state(row),
    )


def _found(
    scene: Mapping[str, Any],
    node: Node,
    details: Mapping[str, Any],
    *,
    score: float,
    by: ScoredBy,
    matches: bool | None,
    state: State,
) -> Found:
    """A result, from the rows of its scene and of itself."""
    center, size, axes = (np.array(details[name]) for name in ("center", "size", "axes"))
    return Found(
        scene=node.scene,
        thing=node.thing,
        kind=details["kind"],
        names=tuple(details["names"]),
        score=score,
        by=by,
        matches=matches,
        box=np.array([details["low"], details["high"]]),
        oriented=OrientedBox(center, size, axes.reshape(3, 3)),
        photos=node.photos,
        seen_by=details["seen_by"],
        view=details["view"],
        thumbnail=details["thumbnail"],
        encoder=scene["encoder"],
        path=scene["path"],
        state=state,
    )
