"""A library of scenes: put them in, and ask all of them at once."""

import uuid
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from gags._version import __version__
from gags.capture.photos import listed
from gags.embed import load_encoder
from gags.embed.encoder import Encoder
from gags.errors import LibraryError, LibraryUnreadableError, ModelError, QueryError
from gags.library.files import looks_of, scene_stamp, state_of
from gags.library.picked import Candidate, Picked, picked_of_scenes
from gags.library.rank import Asked, Node, Phrases, best_unrelated
from gags.library.records import Found, SceneRecord, ScoredBy, State
from gags.library.rows import rows_of_scene
from gags.library.tables import Key, Tables
from gags.library.taught import TaughtName, asked_by_name, name_row, names_of_scene
from gags.progress import SILENT, Reporter
from gags.query.boxes import OrientedBox
from gags.query.pictures import embed_example, read_example
from gags.query.taught import checked_name, plain_name
from gags.scene import Scene

CANDIDATES = 2000  # nearest things that are judged; with 500, near-ties are missed (`benchmarks/library.py`)
SCENES_LOOKED_INTO = 20  # for a text, at least; and as many as results are wanted …
MOST_LOOKED_INTO = 200  # … but no more: the tree of a scene takes about half a MB
LONGEST_NAME = 200  # letters, of a scene
CERTAIN = 2.0  # what a thing ranks by that bears the name that is asked for; more than any cosine
RANKED = 400  # of them that are looked at closely, at least …
RANKED_PER_RESULT = 20  # … and for each result: of things that lie in one another, one is shown


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
            LibraryError: If it has no things, if the name is none, or if the library has another scene of
                that name.
        """
        scene = workspace if isinstance(workspace, Scene) else Scene.load(workspace, progress=progress)
        root = scene.workspace.root.resolve()
        name = name or root.name
        self._check_name(name, root)
        scene.things(progress)  # which may write a file
        looks, files = looks_of(scene.workspace), scene_stamp(scene.workspace)  # before the work, not after
        rows, nodes = rows_of_scene(scene, progress=progress)
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
        self._tables.put(record, rows, names_of_scene(scene, rows), nodes)
        try:
            self._tables.tidy(encoder)
        except LibraryUnreadableError as error:  # the scene is in; what is left undone, the next adding does
            progress.warn(f"{name} is in, but the library could not be tidied: {error}")
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

        Texts find in a scene first what `Scene.locate` finds there; scenes rank by the relevancy (Eq. 8) of
        what fits best in them. Images and things rank by cosine. A text that is a taught name (`teach`) means
        what bears it, then what looks like that. Of things that lie in one another only one is given.

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
        named = [] if text is None else self._named(text)
        for encoder in encoders:
            bearing = [row for row in named if row["encoder"] == encoder]
            if bearing:
                question = asked_by_name(bearing)
                found += self._best(encoder, question, chosen if scenes else (), top, bearing=bearing)
                continue
            try:
                loaded, phrases = self._encoder(encoder, progress)
            except ModelError as error:
                failed.append(error)
                progress.warn(f"scenes of encoder {encoder} are not asked: {error}")
                continue
            held_to = chosen if scenes else ()
            if shown is not None:
                found += self._best(encoder, Asked(embed_example(*shown, loaded)), held_to, top)
                continue
            asked = Asked.of_text(str(text), loaded, phrases)
            found += self._named_best(encoder, asked, held_to, top, progress)
        if failed and len(failed) == len(encoders):
            raise failed[0]
        return found

    def teach(self, name: str, like: str) -> TaughtName:
        """Teach the library what you call a thing; later texts that are the name find it first.

        Names that a scene was taught (`Scene.teach`) come with it when it is added. Several things may bear
        one name.

        Args:
            name: The name; case, hyphens and an article before it do not matter.
            like: The thing, "SCENE:THING" as `Found.like` gives it.

        Raises:
            QueryError: If the name is empty or too long, or `like` names no thing.
            LibraryError: If there is no library, or it has no such scene or thing.
        """
        name = checked_name(name)
        scene, row = self._thing(like)
        known = self._tables.scenes()[scene]
        encoder = known["encoder"]
        vector = np.asarray(row["vector"], np.float32)[: self._tables.dim(encoder)]
        taught = name_row(name, "library", encoder, row["thing"], vector)
        self._tables.add_names([{**taught, "scene": scene, "run": known["run"]}])
        return TaughtName(name, "library", scene, row["thing"], encoder)

    def names(self) -> list[TaughtName]:
        """What was taught, here and in the scenes."""
        scenes = self._tables.scenes()
        found = []
        for row in self._tables.names():
            there = row["thing"] >= 0 and scenes.get(row["scene"], {}).get("run") == row["run"]
            thing = row["thing"] if there else None
            found.append(TaughtName(row["name"], row["by"], row["scene"], thing, row["encoder"]))
        return found

    def forget(self, name: str) -> int:
        """Forget a name that was taught in the library.

        Returns:
            How many things bore it.

        Raises:
            QueryError: If nothing was taught under it here; names of scenes are forgotten there.
        """
        same = self._named(name)
        count = sum(row["by"] == "library" for row in same)
        if not count:
            scenes = listed([f"gags teach {row['scene']} --forget" for row in same], most=3)
            known = ", ".join(sorted({repr(one.name) for one in self.names()})) or "none"
            hint = f"taught names: {known}"
            if same:
                hint = f"it comes from a scene ({scenes}); forget it there and add the scene again"
            raise QueryError(f"no {name!r} was taught in {self.location}; {hint}")
        self._tables.forget(plain_name(name))
        return count

    def _named(self, text: str) -> list[dict[str, Any]]:
        key = plain_name(text)
        return [row for row in self._tables.names() if row["key"] == key]

    def _thing(self, like: str) -> tuple[str, dict[str, Any]]:
        """Scene and row of what "SCENE:THING" names."""
        scene, _, number = like.rpartition(":")
        if not scene or not number.isdecimal():
            raise QueryError(f"{like!r} names no thing of a scene; write SCENE:THING, as search prints it")
        (scene,) = self._known([scene])
        row = self._tables.thing(scene, int(number))
        if row is None:
            raise LibraryError(
                f"scene {scene!r} has no thing {number} in the library; search prints which there are"
            )
        return scene, row

    def _search_like(self, like: str, scenes: Sequence[str], top: int) -> list[Found]:
        scene, row = self._thing(like)
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
        *,
        but: Node | None = None,
        bearing: Sequence[Mapping[str, Any]] = (),
    ) -> list[Found]:
        """The things of one encoder's scenes that are most like what is meant.

        Args:
            encoder: Its name.
            asked: The question.
            scenes: Names of scenes to look in; all if there are none.
            top: How many, at most.
            but: What is not meant, nor what lies in it, nor what it lies in.
            bearing: Rows of the table of names: these things come first.
        """
        near = self._candidates(encoder, asked, scenes, max(RANKED, RANKED_PER_RESULT * top))
        near = [one for one in near if but is None or not one.node.is_related(but)]
        first = {(row["run"], row["thing"]) for row in bearing}
        keys = [one.picked.key for one in near]
        values = np.array(
            [
                CERTAIN if (key.run, key.thing) in first else one.picked.value
                for key, one in zip(keys, near, strict=True)
            ]
        )
        best = [near[k].picked for k in best_unrelated([one.node for one in near], values, top)]
        return self._shown(encoder, best, asked.by)

    def _named_best(
        self, encoder: str, asked: Asked, scenes: Sequence[str], top: int, progress: Reporter
    ) -> list[Found]:
        """What a text names in one encoder's scenes.

        Their things that are nearest to the text say which scenes may hold it; what of them it names is
        chosen in the trees of these. A scene that has none, because it was put in by an earlier gags, is
        judged by its things one by one.
        """
        every: dict[str, list[Candidate]] = {}
        for one in self._candidates(encoder, asked, scenes, CANDIDATES):
            every.setdefault(one.picked.key.run, []).append(one)
        near = dict(islice(every.items(), max(SCENES_LOOKED_INTO, top)))
        runs = list(near)[:MOST_LOOKED_INTO]
        trees = self._tables.nodes(runs)
        former = sorted(near[run][0].node.scene for run in runs if run not in trees)
        if former:
            progress.warn(
                f"{listed(former)} came into {self.location} with an earlier gags, and rank by less than "
                "`gags locate` knows; add them again"
            )
        return self._shown(encoder, picked_of_scenes(near, trees, asked, top), asked.by)

    def _shown(self, encoder: str, best: Sequence[Picked], by: ScoredBy) -> list[Found]:
        """What was picked, with all that is shown of it."""
        known, keys = self._tables.scenes(), [picked.key for picked in best]
        shown = self._tables.shown(encoder, keys)
        states: dict[str, State] = {name: _state(known[name]) for name in {key.scene for key in keys}}
        return [
            _found(known[picked.key.scene], picked, details, by, states[picked.key.scene])
            for picked, details in zip(best, shown, strict=True)
            if details is not None  # else its scene was replaced meanwhile
        ]

    def _candidates(self, encoder: str, asked: Asked, scenes: Sequence[str], most: int) -> list[Candidate]:
        """What may be among the best things of one encoder's scenes, best first."""
        known = self._tables.scenes()
        near = self._tables.nearest(encoder, asked.searches, CANDIDATES, scenes)
        fit = asked.fit(near.vectors)
        order = np.argsort(-fit.values, kind="stable")[:most]
        return [
            Candidate(
                Node(row["scene"], row["thing"], row["chain"], row["photos"]),
                Picked(
                    Key(row["scene"], row["run"], row["thing"], row["_rowid"]),
                    float(fit.values[k]),
                    float(fit.scores[k]),
                    None if fit.matches is None else bool(fit.matches[k]),
                ),
            )
            for k, row in zip(order.tolist(), near.rows(order), strict=True)
            if known.get(row["scene"], {}).get("run") == row["run"]
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
        if not name.isprintable() or not name.strip() or len(name) > LONGEST_NAME:
            raise LibraryError(
                f"{name!r} is no name for a scene in a library, which is of letters on one line, at most "
                f"{LONGEST_NAME}; give {root} another name with --name"
            )
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
    scene: Mapping[str, Any], picked: Picked, details: Mapping[str, Any], by: ScoredBy, state: State
) -> Found:
    """A result, from the rows of its scene and of itself."""
    center, size, axes = (np.array(details[name]) for name in ("center", "size", "axes"))
    return Found(
        scene=picked.key.scene,
        thing=picked.key.thing,
        kind=details["kind"],
        names=tuple(details["names"]),
        score=picked.score,
        by=by,
        matches=picked.matches,
        box=np.array([details["low"], details["high"]]),
        oriented=OrientedBox(center, size, axes.reshape(3, 3)),
        photos=details["photos"],
        seen_by=details["seen_by"],
        view=details["view"],
        thumbnail=details["thumbnail"],
        encoder=scene["encoder"],
        path=scene["path"],
        state=state,
    )
