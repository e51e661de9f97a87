"""The tables of a library, kept by LanceDB: in a folder, or in an object store by its URL.

One table lists the scenes. Things lie in one table for each encoder, a row a thing or part. Rows of one
adding have a name of their own, the run; they count from the moment on at which the table of scenes names
that run, in one write. So whoever is killed, or asks meanwhile, has the scene as it was before or as it is
after.
"""

import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np

from gags.errors import GagsError, LibraryError, LibraryUnreadableError, WorkspaceError
from gags.files.locks import locked
from gags.library import index
from gags.library.nodes import Nodes
from gags.library.schemas import (
    FORMAT,
    VERSION,
    names_schema,
    nodes_schema,
    one_of,
    padded,
    quoted,
    scenes_schema,
    table_name,
    things_schema,
)

SCENES = "scenes"
LOCK = ".lock"  # in the folder of a library, held by the process that writes
WAIT = 0.05  # seconds until it is looked at again
NAMES = "names"  # that were taught; libraries of earlier versions lack it
NODES = "nodes"  # a row a scene, see `gags.library.nodes`; likewise
FOLDER_FRESH = timedelta(0)  # how old what is known of a table in a folder may be: looking is one system call
STORE_FRESH = timedelta(seconds=5)  # the same in an object store, where looking is a round trip
LIGHT = ("run", "scene", "thing", "chain", "photos")  # what candidates are judged by, beside vectors
SHOWN = ("kind", "names", "center", "size", "axes", "low", "high", "seen_by", "view", "thumbnail")

_T = TypeVar("_T")


@dataclass(frozen=True, eq=False)
class Near:
    """Things that lie near a question.

    Attributes:
        vectors: Their embeddings. float32 [n, D]
        table: `LIGHT` of each, and its row, as PyArrow has them.
    """

    vectors: np.ndarray
    table: Any

    def rows(self, which: np.ndarray) -> list[dict[str, Any]]:
        """`LIGHT` of some of them, and "_rowid": their row in the table of things."""
        return self.table.take(which).to_pylist()


class Key(NamedTuple):
    """What tells a row of a table of things.

    Attributes:
        scene: Name of its scene.
        run: The adding that wrote it.
        thing: Its number in the scene.
        row: Where it was found in the table, from where it may have moved since; None if that is not known.
    """

    scene: str
    run: str
    thing: int
    row: int | None = None


class Tables:
    """The tables of one library.

    Args:
        location: Its folder or URL.

    Raises:
        LibraryError: If LanceDB is not installed, the place cannot be reached, it holds something else, or a
            library of a newer version.
    """

    def __init__(self, location: Path | str) -> None:
        self.location = str(location)
        self._url = "://" in self.location
        self._open: dict[str, Any] = {}  # tables by name
        self._db: Any = None  # LanceDB makes the folder when it connects, so not before it must
        self._known: tuple[int, dict[str, dict[str, Any]]] | None = None  # scenes at a version of the table
        lancedb_module()
        self._check_place()
        if self._url or Path(self.location).exists():
            self._connect()
            self._check_format()

    @property
    def exist(self) -> bool:
        """Whether there is a library, if an empty one."""
        return self._table(SCENES) is not None

    def scenes(self) -> dict[str, dict[str, Any]]:
        """Rows of the table of scenes by name, in order of their names.

        Raises:
            LibraryError: If there is no library.
        """
        return self._read(self._read_scenes)

    def _read_scenes(self) -> dict[str, dict[str, Any]]:
        table = self._table(SCENES)
        if table is None:
            raise LibraryError(
                f"there is no library at {self.location}; make one: gags library add {self.location} WS"
            )
        version = table.version
        if self._known is None or self._known[0] != version:
            rows = sorted(table.to_arrow().to_pylist(), key=lambda row: row["name"])
            self._known = version, {row["name"]: row for row in rows}
        return self._known[1]

    def put(
        self,
        scene: Mapping[str, Any],
        rows: Sequence[Mapping[str, Any]],
        names: Sequence[Mapping[str, Any]] = (),
        nodes: Nodes | None = None,
    ) -> None:
        """Put a scene in, in place of the one of that name, if there is one.

        Args:
            scene: Its row of the table of scenes.
            rows: Its things: what `things_schema` names, but for scene and run.
            names: What the scene was taught, see `gags.library.taught.names_of_scene`.
            nodes: The tree of its things.
        """
        import pyarrow as pa

        with self._told(), self._one_writer():
            things = self.made(scene["encoder"], len(rows[0]["vector"]) - 1)
            before = self.scenes().get(scene["name"])
            whose = {"run": scene["run"], "scene": scene["name"]}
            full = [{**row, **whose, "vector": padded(row["vector"])} for row in rows]
            things.add(pa.Table.from_pylist(full, schema=things.schema))
            self.add_names([{**name, **whose} for name in names])
            self._add(NODES, nodes_schema(), [] if nodes is None else [{"nodes": nodes.to_bytes(), **whose}])
            table = self._table(SCENES)
            replacing = table.merge_insert("name").when_matched_update_all().when_not_matched_insert_all()
            replacing.execute(pa.Table.from_pylist([dict(scene)], schema=table.schema))
            others = f"scene = {quoted(scene['name'])} AND run != {quoted(scene['run'])}"
            for encoder in {scene["encoder"], before["encoder"] if before else scene["encoder"]}:
                self._delete(table_name(encoder), others)
            self._delete(NAMES, f"{others} AND by = 'scene'")
            self._delete(NODES, others)

    def names(self) -> list[dict[str, Any]]:
        """Rows of the table of taught names; what was taught of a scene as it is not any more is left out."""
        scenes = self.scenes()

        def valid(row: Mapping[str, Any]) -> bool:
            return row["by"] == "library" or scenes.get(row["scene"], {}).get("run") == row["run"]

        def read() -> list[dict[str, Any]]:
            table = self._table(NAMES)
            return [] if table is None else table.to_arrow().to_pylist()

        return [row for row in self._read(read) if valid(row)]

    def add_names(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Add taught names; the table is made if need be."""
        self._add(NAMES, names_schema(), rows)

    def _add(self, name: str, schema: Any, rows: Sequence[Mapping[str, Any]]) -> None:
        """Add rows to a table that is made if need be."""
        import pyarrow as pa

        if not rows:
            return
        with self._told():
            db = self._connect() if self._db is None else self._db
            if self._table(name) is None:
                self._open[name] = db.create_table(name, schema=schema, exist_ok=True)
            table = self._table(name)
            table.add(pa.Table.from_pylist([dict(row) for row in rows], schema=table.schema))

    def forget(self, key: str) -> None:
        """Remove all that was taught in the library under a name, in the form of `plain_name`."""
        self._delete(NAMES, f"key = {quoted(key)} AND by = 'library'")

    def _delete(self, name: str, where: str) -> None:
        with self._told():
            table = self._table(name)
            if table is not None:
                table.delete(where)

    def nodes(self, runs: Sequence[str]) -> dict[str, Nodes]:
        """The trees of some scenes by the run that put each in; those that were put in without one lack it.

        Raises:
            LibraryError: If one is damaged.
        """

        def read() -> list[dict[str, Any]]:
            table = self._table(NODES)
            if table is None or not runs:
                return []
            asked = table.search().where(f"run {one_of(runs)}").select(["run", "scene", "nodes"])
            return asked.limit(len(runs)).to_arrow().to_pylist()

        found = {}
        for row in self._read(read):
            nodes = Nodes.from_bytes(row["nodes"])
            if nodes is None:
                raise LibraryUnreadableError(
                    f"{self.location} is damaged: what it holds of scene {row['scene']!r} cannot be read; "
                    "add that scene again"
                )
            found[row["run"]] = nodes
        return found

    def made(self, encoder: str, dim: int) -> Any:
        """The table of an encoder's things, as LanceDB opens it; library and table are made if need be.

        Args:
            encoder: Name of the encoder.
            dim: Length D of its embeddings.
        """
        with self._told():
            db = self._connect() if self._db is None else self._db
            for name, schema in (
                (SCENES, scenes_schema()),
                (table_name(encoder), things_schema(encoder, dim)),
            ):
                if self._table(name) is None:
                    self._open[name] = db.create_table(name, schema=schema, exist_ok=True)
            return self._things(encoder)

    def remove(self, names: Sequence[str]) -> None:
        """Take scenes out, their things, and what is kept of them on disk."""
        with self._told(), self._one_writer():
            encoders = {self.scenes()[name]["encoder"] for name in names}
            chosen = one_of(names)
            scenes = self._table(SCENES)
            scenes.delete(f"name {chosen}")
            for table in (self._things(encoder) for encoder in encoders):
                if table is not None:
                    table.delete(f"scene {chosen}")
                    _free(table)
            self._delete(NAMES, f"scene {chosen} AND by = 'scene'")
            self._delete(NODES, f"scene {chosen}")
            for table in (scenes, self._table(NODES)):
                if table is not None:
                    _free(table)

    def tidy(self, encoder: str) -> index.Index | None:
        """Keep a table quick to search, see `gags.library.index.tidy`; returns its index, if it has one."""
        with self._told(), self._one_writer():
            table, trees, scenes = self._things(encoder), self._table(NODES), len(self.scenes())
            if trees is not None:
                index.join_pieces(trees, scenes)
            return None if table is None else index.tidy(table, scenes)

    def nearest(
        self, encoder: str, searches: Sequence[np.ndarray], count: int, scenes: Sequence[str] = ()
    ) -> "Near":
        """The things that have the largest dot products with some vectors.

        Args:
            encoder: Of which table.
            searches: See `gags.library.rank.Asked.searches`. [D + 1] each
            count: How many of each, at most.
            scenes: Names of scenes to look in; all if there are none.

        Returns:
            Each thing once, nearest first.
        """
        import pyarrow as pa

        where = f"scene {one_of(scenes)}" if scenes else None

        def look(vector: np.ndarray) -> Any:
            asked = index.search(self._known_things(encoder), padded(vector), count, where)
            return asked.select([*LIGHT, "vector", "_distance"]).with_row_id(True).to_arrow()

        found = pa.concat_tables([self._read(partial(look, vector)) for vector in searches])
        found = found.take(np.sort(np.unique(found["_rowid"].to_numpy(), return_index=True)[1]))
        vectors = found["vector"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
        vectors = vectors.reshape(found.num_rows, -1)[:, : len(searches[0]) - 1].astype(np.float32)
        return Near(vectors, found.select([*LIGHT, "_rowid"]))

    def thing(self, scene: str, thing: int) -> dict[str, Any] | None:
        """One row of a scene's things; None if it has no such thing."""
        known = self.scenes()[scene]
        key = Key(scene, known["run"], thing)
        found = self._read(lambda: self._rows(known["encoder"], [key], (*LIGHT, "vector")))
        return found[0] if found else None

    def dim(self, encoder: str) -> int:
        """Length D of an encoder's embeddings."""
        return int(self._known_things(encoder).schema.metadata[b"dim"])

    def shown(self, encoder: str, keys: Sequence[Key]) -> list[dict[str, Any] | None]:
        """What is shown of some things; None for a thing that is not there any more."""
        return self._read(lambda: self._shown(encoder, keys)) if keys else []

    def _shown(self, encoder: str, keys: Sequence[Key]) -> list[dict[str, Any] | None]:
        columns, rows = ("run", "thing", "photos", *SHOWN), [key.row for key in keys if key.row is not None]
        found = {}
        if rows:
            taken = self._known_things(encoder).take_row_ids(rows)
            for row in taken.select(list(columns)).to_arrow().to_pylist():
                found[row["run"], row["thing"]] = row
        others = [key for key in keys if (key.run, key.thing) not in found]
        for row in self._rows(encoder, others, columns) if others else ():
            found[row["run"], row["thing"]] = row
        return [found.get((key.run, key.thing)) for key in keys]

    def _rows(self, encoder: str, keys: Sequence[Key], columns: Sequence[str]) -> list[dict[str, Any]]:
        """The rows of some things, in any order; those that are not there are left out."""
        things: dict[tuple[str, str], list[int]] = {}
        for key in keys:
            things.setdefault((key.scene, key.run), []).append(key.thing)
        where = " OR ".join(
            f"(scene = {quoted(scene)} AND run = {quoted(run)} AND thing IN ({', '.join(map(str, numbers))}))"
            for (scene, run), numbers in things.items()
        )
        asked = self._known_things(encoder).search().where(where).select(list(columns)).limit(len(keys))
        return asked.to_arrow().to_pylist()

    def _read(self, work: Callable[[], _T]) -> _T:
        """Do some reading, and once more if it fails: what was read may have been taken out meanwhile."""
        with self._told():
            try:
                return work()
            except (OSError, RuntimeError, ValueError):
                self._open.clear()
                return work()

    def _known_things(self, encoder: str) -> Any:
        table = self._things(encoder)
        if table is None:
            raise LibraryUnreadableError(
                f"{self.location} is damaged: the things of encoder {encoder} are missing; remove its scenes "
                "and add them again"
            )
        return table

    def _things(self, encoder: str) -> Any:
        return self._table(table_name(encoder))

    def _table(self, name: str) -> Any:
        """An open table; None if there is none."""
        if name not in self._open and self._db is not None:
            try:
                self._open[name] = self._db.open_table(name)
            except (ValueError, FileNotFoundError) as error:
                if "not found" not in str(error):
                    raise
        return self._open.get(name)

    def _check_place(self) -> None:
        """Make sure that a folder is a library, or may become one."""
        folder = Path(self.location)
        if self._url or not folder.exists():
            return
        if not folder.is_dir():
            raise LibraryError(f"{folder} is a file, not the folder of a library; name another place")
        if any(path.name != LOCK for path in folder.iterdir()) and not (folder / f"{SCENES}.lance").is_dir():
            raise LibraryError(
                f"{folder} is no library of scenes: it holds other files; name another folder, or a new one, "
                f"which `gags library add` makes"
            )

    def _connect(self) -> Any:
        fresh = STORE_FRESH if self._url else FOLDER_FRESH
        with self._told():
            self._db = lancedb_module().connect(self.location, read_consistency_interval=fresh)
        return self._db

    def _check_format(self) -> None:
        with self._told():
            table = self._table(SCENES)
        if table is None:
            return
        told = (table.schema.metadata or {}).get(b"format", b"").decode()
        number = told.removeprefix(FORMAT)
        if not told.startswith(FORMAT) or not number.isdigit():
            raise LibraryError(f"{self.location} is no library of scenes, but other tables of LanceDB")
        if int(number) > VERSION:
            raise LibraryError(
                f"{self.location} was made by a newer gags: it is a library of version {number}, this gags "
                f"reads version {VERSION}; upgrade with pip install -U gags"
            )

    @contextmanager
    def _one_writer(self) -> Iterator[None]:
        """Wait until no other process puts in or takes out scenes; in an object store nobody is waited for.

        Two that replaced a scene at once would each remove what the other has put in.
        """
        if self._url:
            yield
            return
        folder = Path(self.location)
        folder.mkdir(parents=True, exist_ok=True)
        with ExitStack() as held:
            while True:
                try:
                    held.enter_context(locked(folder / LOCK, "another process writes"))
                    break
                except WorkspaceError:
                    time.sleep(WAIT)
            yield

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Errors of LanceDB as one that says which library it is."""
        try:
            yield
        except GagsError:
            raise
        except (OSError, RuntimeError, ValueError, KeyError) as error:
            reason = str(error).split(", /")[0].removeprefix("lance error: ")
            raise LibraryUnreadableError(
                f"library {self.location} cannot be read or written ({reason}); check the place, and that "
                "this machine may use it"
            ) from error


def _free(table: Any) -> None:
    """Delete what earlier versions of a table hold; who reads one at this moment has to ask again."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of just that, see `Tables._read`
        table.optimize(cleanup_older_than=timedelta(0))


def lancedb_module() -> Any:
    """LanceDB, loaded where it is used.

    Raises:
        LibraryError: If it is not installed.
    """
    try:
        import lancedb
    except ImportError as error:
        raise LibraryError(
            "a library of scenes needs the extra `library`; pip install 'gags[library]'"
        ) from error
    return lancedb
