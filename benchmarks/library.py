"""Measure a library of scenes as it grows: time to build, disk, time of a question, recall of its index.

    python -m benchmarks.library SCENE [SCENE ...] --rows 1000000 --out DIR [--queries 100] [--sweep]

Things are made up from real ones. A *kind* is a real thing's embedding plus half the difference of two other
real things'; a row is its kind plus what tells a mask of a photo from the thing it shows, of two real masks.
There are ten rows of a kind. So vectors lie as close together, and in as few directions, as real ones.

Asked are words of the built-in list, and examples: further rows of some kinds. The exact answer is worked out
in NumPy while rows are made. *recall@20* is the share of the 20 truly best that are among the 20 that the
library gives; for texts by Eq. 8, for examples by cosine. *shortfall* is by how much the margins, or cosines,
of the latter are lower in the mean. Times are those of `Tables.nearest` and `Asked.fit` in one process, the
library open and asked before; embedding the question comes on top.

--sweep asks again with other numbers of partitions read and of vectors compared again.
"""

import argparse
import json
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from time import process_time
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from gags.embed import load_encoder
from gags.embed.description import Descriptions
from gags.embed.encoder import Encoder
from gags.library import index
from gags.library.library import CANDIDATES
from gags.library.nodes import Means, embeddings_of_things, unit
from gags.library.rank import Asked, Phrases
from gags.library.schemas import padded
from gags.library.tables import Tables
from gags.query.names import EVERYDAY
from gags.query.relevancy import margins_from_cosines
from gags.scene import Scene

BATCH = 100_000  # rows that are made at once
ROWS_OF_A_KIND = 10
APART = 0.5  # of the difference of two things, by which kinds are told apart
ALIKE = 0.8  # cosine from which on a mask shows a thing
TOP = 20


@dataclass(frozen=True, eq=False)
class Real:
    """Embeddings of real things, and how masks that show a thing differ from it. [n, D], [m, D]"""

    things: np.ndarray
    differences: np.ndarray

    @classmethod
    def of(cls, folders: list[Path]) -> "Real":
        things, differences = [], []
        for folder in folders:
            scene = Scene.load(folder)
            found = scene.things()
            kept = np.flatnonzero((found.photos > 0) & found.embeddings.any(axis=1)).tolist()
            means = Means.of_scene(scene, found, Phrases.of(scene.encoder))
            vectors = embeddings_of_things(found, means)[kept]
            for _, description in Descriptions(scene.workspace, scene.capture.train):
                masks = description.embeddings.astype(np.float32)
                cosines = masks @ vectors.T
                shows = cosines.max(axis=1) >= ALIKE
                differences.append(masks[shows] - vectors[cosines[shows].argmax(axis=1)])
            things.append(vectors)
        return cls(np.concatenate(things).astype(np.float32), np.concatenate(differences).astype(np.float32))

    def kinds(self, count: int, rng: np.random.Generator) -> np.ndarray:
        """Embeddings of some kinds of things. [count, D]"""
        one, other, third = (self.things[rng.integers(len(self.things), size=count)] for _ in range(3))
        return unit(one + np.float32(APART) * (other - third))

    def rows(self, kinds: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """One thing of each kind. [n, D]"""
        one, other = (
            self.differences[rng.integers(len(self.differences), size=len(kinds))] for _ in range(2)
        )
        return unit(kinds + (one - other) * np.float32(0.5**0.5))


class Exact:
    """The best rows of each question, kept while rows go by. [Q, TOP]"""

    def __init__(self, questions: list[Asked]) -> None:
        self.questions = questions
        self.vectors = torch.from_numpy(np.stack([asked.vector for asked in questions]))
        self.values = np.full((len(questions), TOP), -np.inf, np.float32)
        self.rows = np.full((len(questions), TOP), -1, np.int64)

    def see(self, vectors: np.ndarray, first: int) -> None:
        """Rows from number `first` on, as the library keeps them. [n, D]"""
        values = torch.from_numpy(vectors) @ self.vectors.T
        phrases = self.questions[0].phrases
        if phrases is not None:
            counted = torch.cat([asked.counted for asked in self.questions if asked.counted is not None])
            negatives = torch.from_numpy(vectors) @ phrases.vectors.T
            values = margins_from_cosines(values, negatives, counted=counted)
        best = values.topk(min(TOP, len(values)), dim=0)
        values = np.concatenate([self.values, best.values.T.numpy()], axis=1)
        rows = np.concatenate([self.rows, first + best.indices.T.numpy()], axis=1)
        order = np.argsort(-values, axis=1, kind="stable")[:, :TOP]
        self.values, self.rows = (np.take_along_axis(each, order, axis=1) for each in (values, rows))


def questions_of(
    encoder: Encoder, real: Real, count: int, rng: np.random.Generator
) -> dict[str, list[Asked]]:
    """Words and examples."""
    words = rng.choice(np.array(EVERYDAY), count, replace=False).tolist()
    phrases = Phrases.of(encoder)
    examples = real.rows(real.kinds(count, np.random.default_rng(1)), rng)
    return {
        "texts": [Asked.of_text(word, encoder, phrases) for word in words],
        "examples": [Asked(vector) for vector in examples],
    }


def batches(real: Real, rows: int, phrases: Phrases) -> Iterator[np.ndarray]:
    """Rows as the library keeps them. float16 [n, D + 1]"""
    for number, first in enumerate(range(0, rows, BATCH)):
        kinds = real.kinds(BATCH // ROWS_OF_A_KIND, np.random.default_rng(number + 1))
        rng = np.random.default_rng([number, 2])
        vectors = real.rows(np.repeat(kinds, ROWS_OF_A_KIND, axis=0), rng)[: rows - first]
        yield np.append(vectors, phrases.against(vectors)[:, None], axis=1).astype(np.float16)


def as_table(vectors: np.ndarray, first: int, schema: pa.Schema) -> pa.Table:
    """Rows of the library; all but the vectors is as long as usual, and thumbnails are left out."""
    count, full = len(vectors), padded(vectors)
    numbers = np.arange(first, first + count, dtype=np.int32)
    three = pa.array([[0.1, 0.2, 0.3]] * count)
    columns: dict[str, Any] = {
        "run": pa.array(["0123456789abcdef0123456789abcdef"] * count),
        "scene": pa.array([f"scene-{number // 250}" for number in numbers.tolist()]),
        "thing": pa.array(numbers),
        "chain": pa.array([[number, 0] for number in numbers.tolist()], pa.list_(pa.int32())),
        "kind": pa.array(["thing"] * count),
        "names": pa.array([["coffee machine", "kettle", "jug"]] * count),
        "photos": pa.array(np.full(count, 20, np.int32)),
        "seen_by": pa.array(np.full(count, 40, np.int32)),
        "center": three,
        "size": three,
        "axes": pa.array([[1.0, 0, 0, 0, 1, 0, 0, 0, 1]] * count),
        "low": three,
        "high": three,
        "view": pa.array(["frame_00030.jpg"] * count),
        "thumbnail": pa.array([b""] * count),
        "vector": pa.FixedSizeListArray.from_arrays(pa.array(full.ravel()), full.shape[1]),
    }
    return pa.table({field.name: columns[field.name] for field in schema}, schema=schema)


def asked_again(tables: Tables, encoder: str, questions: list[Asked], exact: Exact) -> dict[str, float]:
    """Recall and times of questions."""
    seconds, recalls, missing = [], [], []
    for number, asked in enumerate(questions):
        start = time.perf_counter()
        near = tables.nearest(encoder, asked.searches, CANDIDATES)
        values = asked.fit(near.vectors).values
        best = np.argsort(-values, kind="stable")[:TOP]
        found = {row["thing"] for row in near.rows(best)}
        seconds.append(time.perf_counter() - start)
        missing.append(float(exact.values[number].mean() - values[best].mean()))
        recalls.append(len(found & set(exact.rows[number].tolist())) / TOP)
    return {
        "recall": float(np.mean(recalls)),
        "shortfall": float(np.mean(missing)),
        "median ms": 1000 * float(np.median(seconds)),
        "p95 ms": 1000 * float(np.percentile(seconds, 95)),
    }


def build(
    options: argparse.Namespace, encoder: Encoder, real: Real, exact: dict[str, Exact]
) -> Iterator[dict[str, Any]]:
    """Write the library and the exact answers; yields a row of figures."""
    shutil.rmtree(options.out, ignore_errors=True)
    phrases, table = Phrases.of(encoder), Tables(options.out).made(encoder.name, encoder.dim)
    schema = table.schema
    writing, first = 0.0, 0
    for vectors in batches(real, options.rows, phrases):
        kept = vectors[:, : encoder.dim].astype(np.float32)
        for each in exact.values():
            each.see(kept, first)
        start = time.perf_counter()
        table.add(as_table(vectors, first, schema))
        writing, first = writing + time.perf_counter() - start, first + len(vectors)
    yield {"rows": first, "write s": writing, "rows GB": size_of(options.out)}
    np.savez(
        options.out.with_suffix(".npz"),
        **{name: each.rows for name, each in exact.items()},
        **{f"{name} values": each.values for name, each in exact.items()},
    )


def measure(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Build the library, if it is not built, and ask it; yields rows of figures."""
    encoder = load_encoder("lite")
    real = Real.of(options.scenes)
    yield {"real things": len(real.things), "real masks that show one": len(real.differences)}
    questions = questions_of(encoder, real, options.queries, np.random.default_rng(0))
    exact = {name: Exact(asked) for name, asked in questions.items()}
    if not options.again:
        yield from build(options, encoder, real, exact)
    with np.load(options.out.with_suffix(".npz")) as stored:
        for name, each in exact.items():
            each.rows, each.values = stored[name], stored[f"{name} values"]
    tables = Tables(options.out)
    for index.BITS in options.bits or ():
        yield {"bits": index.BITS} | make_index(tables.made(encoder.name, encoder.dim))
        yield from ask(options, tables, encoder.name, questions, exact)
    if not options.bits:
        yield from ask(options, tables, encoder.name, questions, exact)
    if options.exact:
        index.search = without_index
        yield {"no index": ask_all(tables, encoder.name, questions, exact, options.exact)}


def make_index(table: Any) -> dict[str, float]:
    """Make the index of a table anew; figures."""
    for config in table.list_indices():
        table.drop_index(config.name)
    start, used = time.perf_counter(), process_time()
    index.make_index(table, table.count_rows())
    took = {"index s": time.perf_counter() - start, "of the processor s": process_time() - used}
    return took | {"index GB": sum(config.size_bytes for config in table.list_indices()) / 1e9}


def ask(
    options: argparse.Namespace,
    tables: Tables,
    encoder: str,
    questions: dict[str, list[Asked]],
    exact: dict[str, Exact],
) -> Iterator[dict[str, Any]]:
    """Ask with the settings of the package; with --sweep also with others."""
    settings = [(index.parts_searched(options.rows), index.READ_AGAIN)]
    settings += list(product((8, 16, 32, 64, 128, 256), (1, 2, 4))) if options.sweep else []
    index.SHARE_SEARCHED = 0.0
    for index.PARTS_SEARCHED, index.READ_AGAIN in settings:
        ask_all(tables, encoder, questions, exact, 5)  # warm
        figures = ask_all(tables, encoder, questions, exact, options.queries)
        yield {"partitions read": index.PARTS_SEARCHED, "compared again": index.READ_AGAIN} | figures
    index.PARTS_SEARCHED, index.READ_AGAIN = settings[0]


def without_index(table: Any, vector: np.ndarray, count: int, where: str | None = None) -> Any:
    """As `gags.library.index.search`, but every row is compared."""
    del where
    asked = table.search(vector, vector_column_name="vector").distance_type("dot").limit(count)
    return asked.bypass_vector_index()


def ask_all(
    tables: Tables, encoder: str, questions: dict[str, list[Asked]], exact: dict[str, Exact], count: int
) -> dict[str, Any]:
    """Figures of the first `count` texts and examples."""
    return {
        name: asked_again(tables, encoder, asked[:count], exact[name]) for name, asked in questions.items()
    }


def size_of(folder: Path) -> float:
    """GB on disk."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e9


def main() -> None:
    """Print a line of JSON for each step."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("scenes", type=Path, nargs="+")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--out", type=Path, required=True, help="folder of the library; replaced")
    parser.add_argument("--queries", type=int, default=100, help="texts, and as many examples")
    parser.add_argument("--exact", type=int, default=0, help="of them that are asked without an index, too")
    parser.add_argument("--again", action="store_true", help="take the library that is there")
    parser.add_argument(
        "--bits", type=int, nargs="*", default=[index.BITS], help="indices to make; none: ask"
    )
    parser.add_argument("--sweep", action="store_true", help="also with other settings of the search")
    for row in measure(parser.parse_args()):
        print(json.dumps(row, default=float), flush=True)


if __name__ == "__main__":
    main()
