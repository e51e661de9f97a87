"""The tables: a scene is there whole or not, whatever happens; places with something else are refused."""

import builtins
import threading
from pathlib import Path

import lancedb
import numpy as np
import pyarrow as pa
import pytest
from tests.helpers.made_library import looks, put, thing, tree

from gags.errors import LibraryError
from gags.files.locks import locked
from gags.library import schemas
from gags.library import tables as module
from gags.library.library import Library
from gags.library.schemas import nodes_schema, padded, table_name, things_schema
from gags.library.tables import LOCK, NODES, SCENES, Key, Tables

BALL = "red ball"


def numbers(library: Library) -> dict[str, list[int]]:
    """Rows of things that are on disk, by scene."""
    table = library._tables._things("toy")
    found: dict[str, list[int]] = {}
    for row in table.to_arrow().to_pylist():
        found.setdefault(row["scene"], []).append(row["thing"])
    return found


def test_putting_a_scene_again_replaces_it(tmp_path):
    library = Library(tmp_path / "lib")
    put(library, "a", [thing(1, looks(BALL)), thing(2, looks("floor"))], run="first")
    put(library, "b", [thing(7, looks(BALL))], run="other")
    put(library, "a", [thing(3, looks(BALL))], run="second")
    assert numbers(library) == {"a": [3], "b": [7]}
    assert [(row.name, row.things) for row in Library(tmp_path / "lib").scenes()] == [("a", 1), ("b", 1)]


def test_what_a_killed_adding_left_does_not_count_and_goes_with_the_next(tmp_path, monkeypatch):
    library = Library(tmp_path / "lib")
    put(library, "a", [thing(1, looks(BALL))], run="first")
    table = library._tables._things("toy")
    half = {**thing(2, looks(BALL)), "run": "killed", "scene": "a"}
    half["vector"] = padded(half["vector"])
    table.add(pa.Table.from_pylist([half], schema=table.schema))  # and killed before the table of scenes
    assert numbers(library) == {"a": [1, 2]}
    near = library._tables.nearest("toy", [np.append(looks(BALL), 0)], 9)
    assert sorted(near.table["thing"].to_pylist()) == [1, 2]
    monkeypatch.setattr("gags.library.library.load_encoder", lambda name, progress=None: _toy())
    assert [found.thing for found in library.search(BALL)] == [1]
    put(library, "a", [thing(3, looks(BALL))], run="second")
    assert numbers(library) == {"a": [3]}


def test_trees_come_and_go_with_their_scenes(tmp_path):
    library = Library(tmp_path / "lib")
    tables = library._tables
    for name in ("a", "b"):
        put(library, name, [thing(0, looks(BALL))], nodes=tree([BALL], [-1]))
    killed = {"run": "killed", "scene": "a", "nodes": tree(["floor"], [-1]).to_bytes()}
    tables._add(NODES, nodes_schema(), [killed])  # and killed before the table of scenes
    assert set(tables.nodes(["run of a", "run of b", "no such run"])) == {"run of a", "run of b"}
    put(library, "a", [thing(0, looks(BALL))], run="again", nodes=tree([BALL, BALL], [-1, 0]))
    assert tables._table(NODES).count_rows() == 2
    assert len(tables.nodes(["again"])["again"].things) == 2
    library.remove("b")
    assert [row["scene"] for row in tables._table(NODES).to_arrow().to_pylist()] == ["a"]


def _toy():
    from tests.helpers.made_library import PictureEncoder

    return PictureEncoder()


def test_a_scene_that_changed_its_encoder_leaves_the_table_of_the_former(tmp_path):
    library = Library(tmp_path / "lib")
    put(library, "a", [thing(1, looks(BALL))], run="first")
    put(library, "a", [thing(1, looks(BALL))], run="second", encoder="other")
    assert numbers(library) == {}
    assert [row.encoder for row in library.scenes()] == ["other"]


def test_names_with_quotes_are_taken_as_they_are(tmp_path):
    library = Library(tmp_path / "lib")
    name = 'Oma\'s "desk"; DROP -- %'
    put(library, name, [thing(1, looks(BALL))], run="it's")
    put(library, "b", [thing(2, looks(BALL))])
    row = library._tables.thing(name, 1)
    assert row is not None
    assert row["scene"] == name
    library.remove(name)
    assert numbers(library) == {"b": [2]}


def test_removing_frees_the_disk(tmp_path):
    library = Library(tmp_path / "lib")
    rng = np.random.default_rng(0)
    rows = [{**thing(k, looks(BALL)), "thumbnail": rng.bytes(20_000)} for k in range(20)]
    put(library, "a", rows)
    before = _size(tmp_path)
    put(library, "b", [thing(2, looks(BALL))])
    assert before > 400_000
    library.remove("a")
    assert _size(tmp_path) < 100_000
    assert numbers(library) == {"b": [2]}


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def test_two_openings_see_what_the_other_writes(tmp_path):
    one = Library(tmp_path / "lib")
    put(one, "a", [thing(1, looks(BALL))])
    other = Library(tmp_path / "lib")
    assert [row.name for row in other.scenes()] == ["a"]
    put(one, "b", [thing(2, looks(BALL))])
    assert [row.name for row in other.scenes()] == ["a", "b"]
    other.remove("a")
    assert [row.name for row in one.scenes()] == ["b"]


@pytest.mark.parametrize("place", ["memory://lib", "file://{}/lib"])
def test_a_library_may_be_at_a_url(tmp_path, place):
    location = place.format(tmp_path)
    library = Library(location)
    with pytest.raises(LibraryError, match="there is no library at"):
        library.scenes()
    put(library, "a", [thing(1, looks(BALL)), thing(2, looks("floor"))])
    near = library._tables.nearest("toy", [np.append(looks("floor"), 0)], 1)
    assert near.table["thing"].to_pylist() == [2]
    library.remove("a")
    assert library.scenes() == []
    assert (tmp_path / "lib").exists() == location.startswith("file")


def test_nothing_is_made_where_there_is_no_library(tmp_path):
    library = Library(tmp_path / "lib")
    with pytest.raises(LibraryError, match="gags library add"):
        library.scenes()
    assert not (tmp_path / "lib").exists()


def test_a_folder_with_other_files_is_refused_and_stays(tmp_path):
    (tmp_path / "photo.jpg").write_bytes(b"x")
    with pytest.raises(LibraryError, match="is no library of scenes"):
        Library(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["photo.jpg"]


def test_a_file_is_refused(tmp_path):
    (tmp_path / "lib").write_bytes(b"x")
    with pytest.raises(LibraryError, match="is a file"):
        Library(tmp_path / "lib")


def test_other_tables_of_lancedb_are_refused(tmp_path):
    lancedb.connect(tmp_path).create_table(SCENES, data=[{"name": "x"}])
    with pytest.raises(LibraryError, match="other tables of LanceDB"):
        Library(tmp_path)


def test_a_library_of_a_newer_version_is_refused(tmp_path, monkeypatch):
    with monkeypatch.context() as newer:
        newer.setattr(schemas, "VERSION", 2)
        put(Library(tmp_path / "lib"), "a", [thing(1, looks(BALL))])
    with pytest.raises(LibraryError, match=r"newer gags.*version 2.*reads version 1"):
        Library(tmp_path / "lib")


def test_without_lancedb_the_error_names_the_extra(tmp_path, monkeypatch):
    imported = builtins.__import__

    def absent(name, *args, **kwargs):
        if name == "lancedb":
            raise ImportError(name)
        return imported(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", absent)
    with pytest.raises(LibraryError, match=r"pip install 'gags\[library\]'"):
        Library(tmp_path / "lib")


def test_an_unknown_kind_of_url_is_one_line(tmp_path):
    with pytest.raises(LibraryError, match=r"library foo://lib cannot be read or written \(.*foo"):
        Library("foo://lib")


def test_who_reads_what_is_taken_out_meanwhile_asks_again(tmp_path):
    reading = Library(tmp_path / "lib")
    put(reading, "a", [thing(1, looks(BALL))])
    put(reading, "b", [thing(2, looks(BALL))])
    stale = reading._tables._things("toy")
    stale.checkout(stale.version)  # as if a question had begun
    Library(tmp_path / "lib").remove("a")
    near = reading._tables.nearest("toy", [np.append(looks(BALL), 0)], 5)
    assert near.table["thing"].to_pylist() == [2]


def test_who_puts_a_scene_in_waits_for_others_that_do(tmp_path):
    library = Library(tmp_path / "lib")
    put(library, "a", [thing(1, looks(BALL))])
    with locked(tmp_path / "lib" / LOCK, "held by another process"):
        waiting = threading.Thread(target=put, args=(library, "b", [thing(2, looks(BALL))]))
        waiting.start()
        waiting.join(timeout=0.3)
        assert waiting.is_alive()
        assert numbers(library) == {"a": [1]}
        assert [row.name for row in Library(tmp_path / "lib").scenes()] == ["a"]  # who asks does not wait
    waiting.join()
    assert numbers(library) == {"a": [1], "b": [2]}
    assert not (tmp_path / "lib" / LOCK).exists()


def test_a_folder_that_another_process_is_about_to_fill_is_no_other_folder(tmp_path):
    (tmp_path / LOCK).touch()
    put(Library(tmp_path), "a", [thing(1, looks(BALL))])
    assert [row.name for row in Library(tmp_path).scenes()] == ["a"]


def test_lost_things_are_said(tmp_path):
    import shutil

    put(Library(tmp_path / "lib"), "a", [thing(1, looks(BALL))])
    shutil.rmtree(tmp_path / "lib" / f"{table_name('toy')}.lance")
    with pytest.raises(LibraryError, match="the things of encoder toy are missing"):
        Library(tmp_path / "lib")._tables.nearest("toy", [np.append(looks(BALL), 0)], 1)


def test_what_moved_meanwhile_is_found_by_its_name(tmp_path):
    library = Library(tmp_path / "lib")
    put(library, "a", [thing(1, looks(BALL), name="cup"), thing(2, looks("floor"))])
    near = library._tables.nearest("toy", [np.append(looks(BALL), 0)], 1)
    put(library, "b", [thing(5, looks(BALL))])
    module._free(library._tables._things("toy"))
    keys = [
        Key("a", "run of a", 1, near.table["_rowid"][0].as_py()),
        Key("a", "run of a", 77, near.table["_rowid"][0].as_py()),
        Key("b", "run of b", 5),
        Key("b", "run of a", 5),
    ]
    shown, lost, named, other = library._tables.shown("toy", keys)
    assert shown is not None
    assert shown["names"] == ["cup", "toy"]
    assert lost is None
    assert named is not None
    assert named["names"] == ["ball", "toy"]
    assert other is None


def test_names_of_tables_tell_encoders_apart():
    names = {table_name(name) for name in ("a/b", "a-b", "a_b", "lite", "x" * 300)}
    assert len(names) == 5
    assert all(len(name) < 90 and set(name) <= set(_ALLOWED) for name in names)


_ALLOWED = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-"


def test_vectors_are_cut_evenly():
    assert things_schema("lite", 523).field("vector").type.list_size == 528
    assert things_schema("clip", 512).field("vector").type.list_size == 528
    full = padded(np.ones((2, 5)))
    assert full.shape == (2, 16)
    assert full.sum() == 10


def test_tables_of_no_place_have_no_scenes(tmp_path):
    assert not Tables(tmp_path / "lib").exist
