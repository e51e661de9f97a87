"""The index: made where it pays, made anew when the table has grown, and close to the exact answer."""

import numpy as np
import pytest
from tests.helpers.blobs import DIM
from tests.helpers.made_library import put, thing, tree

from gags.library import index as module
from gags.library.library import Library
from gags.library.rank import Asked


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    monkeypatch.setattr(module, "INDEX_FROM", 600)
    monkeypatch.setattr(module, "ROWS_PER_PARTITION", 100)


def near_few(count: int, seed: int = 0) -> np.ndarray:
    """Embeddings around thirty directions. [count, DIM]"""
    rng = np.random.default_rng(seed)
    centers = np.random.default_rng(99).normal(size=(30, DIM))
    vectors = centers[rng.integers(30, size=count)] + 0.5 * rng.normal(size=(count, DIM))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def filled(folder, vectors: np.ndarray, scene: str = "a", first: int = 0) -> Library:
    library = Library(folder)
    rows = [thing(first + row, vector) for row, vector in enumerate(vectors)]
    put(library, scene, [{**row, "thumbnail": b""} for row in rows])
    return library


def test_few_rows_have_no_index_and_their_answers_are_exact(tmp_path):
    vectors = near_few(599)
    library = filled(tmp_path / "lib", vectors)
    assert library._tables.tidy("toy") is None
    asked = near_few(1, seed=5)[0]
    near = library._tables.nearest("toy", Asked(asked).searches, 20)
    exact = np.argsort(-(vectors.astype(np.float16).astype(np.float32) @ asked))[:20]
    assert near.table["thing"].to_pylist() == exact.tolist()


def test_many_rows_get_an_index_that_finds_nearly_what_is_nearest(tmp_path, monkeypatch):
    vectors = near_few(1500)
    library = filled(tmp_path / "lib", vectors)
    made = library._tables.tidy("toy")
    assert made is not None
    assert (made.trained, made.waiting) == (1500, 0)
    monkeypatch.setattr(module, "PARTS_SEARCHED", 8)
    recalls = []
    for asked in near_few(20, seed=5):
        near = library._tables.nearest("toy", Asked(asked).searches, 20)
        exact = np.argsort(-(vectors @ asked))[:20]
        recalls.append(len({*near.table["thing"].to_pylist()} & {*exact.tolist()}) / 20)
    assert np.mean(recalls) > 0.9
    assert _plan(library).count("ANNSubIndex") == 1
    # It is the index that answers: of one partition of 15, much is missing.
    monkeypatch.setattr(module, "PARTS_SEARCHED", 1)
    near = library._tables.nearest("toy", Asked(near_few(1, seed=5)[0]).searches, 1500)
    assert len(near.table["thing"].to_pylist()) < 750


def test_the_partitions_that_are_read_grow_with_the_table(monkeypatch):
    monkeypatch.setattr(module, "ROWS_PER_PARTITION", 8192)
    assert module.parts_searched(100_000) == module.parts_searched(1_000_000) == 32
    assert module.parts_searched(10_000_000) == 122


def _plan(library: Library) -> str:
    table = library._tables._things("toy")
    return module.search(
        table, np.zeros(table.schema.field("vector").type.list_size, np.float32), 5
    ).explain_plan()


def test_rows_that_are_added_later_are_found_before_the_index_holds_them(tmp_path):
    library = filled(tmp_path / "lib", near_few(1500))
    assert library._tables.tidy("toy") is not None
    new = np.eye(DIM, dtype=np.float32)[0]
    put(library, "b", [thing(7, new)])
    near = library._tables.nearest("toy", Asked(new).searches, 1)
    assert (near.table["scene"].to_pylist(), near.table["thing"].to_pylist()) == (["b"], [7])


def test_the_index_takes_up_what_waits_when_it_is_much(tmp_path):
    library = filled(tmp_path / "lib", near_few(1500))
    assert library._tables.tidy("toy") is not None
    put(library, "b", [thing(row, vector) for row, vector in enumerate(near_few(40, seed=2))])
    waiting = library._tables.tidy("toy")
    assert waiting is not None
    assert (waiting.trained, waiting.waiting) == (1500, 40)
    put(library, "c", [thing(row, vector) for row, vector in enumerate(near_few(60, seed=3))])
    taken = library._tables.tidy("toy")
    assert taken is not None
    assert (taken.trained, taken.waiting) == (1500, 0)


def test_a_table_that_has_grown_gets_its_index_anew(tmp_path, monkeypatch):
    library = filled(tmp_path / "lib", near_few(700))
    assert library._tables.tidy("toy") is not None
    monkeypatch.setattr(module, "TRAINED_TIMES", 2)
    put(library, "b", [thing(row, vector) for row, vector in enumerate(near_few(700, seed=2))])
    anew = library._tables.tidy("toy")
    assert anew is not None
    assert (anew.trained, anew.waiting) == (1400, 0)
    names = [config.name for config in library._tables._things("toy").list_indices()]
    assert [name for name in names if name.startswith("vectors")] == ["vectors_1400"]


def test_searches_held_to_scenes_find_all_there(tmp_path):
    library = filled(tmp_path / "lib", near_few(1500))
    put(library, "b", [thing(row, vector) for row, vector in enumerate(near_few(30, seed=2))])
    assert library._tables.tidy("toy") is not None
    near = library._tables.nearest("toy", Asked(near_few(1, seed=5)[0]).searches, 30, ["b"])
    assert set(near.table["scene"].to_pylist()) == {"b"}
    assert sorted(near.table["thing"].to_pylist()) == list(range(30))


def test_many_pieces_are_put_together(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "MOST_PIECES", 3)
    library = Library(tmp_path / "lib")
    nodes = tree(["floor"], [-1])
    for number in range(5):
        put(library, f"s{number}", [thing(number, near_few(1, seed=number)[0])], nodes=nodes)
    tables = [library._tables._things("toy"), library._tables._table("nodes")]
    pieces = lambda: [table.stats()["fragment_stats"]["num_fragments"] for table in tables]  # noqa: E731
    assert pieces() == [5, 5]
    with monkeypatch.context() as many:
        many.setattr(module, "PIECES_SHARE", 1.0)  # five of five scenes are not yet too many
        library._tables.tidy("toy")
    assert pieces() == [5, 5]
    library._tables.tidy("toy")
    assert pieces() == [1, 1]
    assert [table.count_rows() for table in tables] == [5, 5]
