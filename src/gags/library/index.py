"""When the things of a library get an index, which one, and how it is searched.

`benchmarks/library.py` measures what is chosen here.
"""

import re
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import numpy as np

INDEX_FROM = 100_000  # rows; an exact search of fewer takes less time than a person notices
BITS = 4  # of each number of a vector in the index; with 1, texts lose too many of their best things
ROWS_PER_PARTITION = 8192  # about, of which a search reads some
TRAINED_TIMES = 4  # how many times more rows than it was trained with an index takes before it is made anew
LATE_SHARE = 0.05  # of the rows that may wait outside of the index: they are searched one by one
PARTS_SEARCHED = 32  # partitions that a search reads, at least …
SHARE_SEARCHED = 0.1  # … and this share of them: to a text, which lies far from all things, many are as near
READ_AGAIN = 2  # times as many rows as are wanted are compared by their own vectors, not by the index's
MOST_PIECES = 32  # of a table as it was written, each scene one, before they are put together …
PIECES_SHARE = 0.05  # … and this share of all scenes: all that was put together before is written again
KEPT = timedelta(hours=1)  # how long files that no row needs any more stay, for whoever still reads them
NAME = re.compile(r"^vectors_(\d+)$")


@dataclass(frozen=True)
class Index:
    """The index of a table.

    Attributes:
        name: Its name in the table.
        trained: Rows that the table had when it was trained.
        waiting: Rows that it does not hold yet.
    """

    name: str
    trained: int
    waiting: int


def index_of(table: Any) -> Index | None:
    """The index of a table's vectors; None if it has none."""
    for config in table.list_indices():
        match = NAME.match(config.name)
        if match:
            statistics = table.index_stats(config.name)
            return Index(config.name, int(match[1]), statistics.num_unindexed_rows if statistics else 0)
    return None


def tidy(table: Any, scenes: int) -> Index | None:
    """Keep a table quick to search: few pieces, an index where it pays, new rows in it.

    Args:
        table: Of things, as LanceDB opens it.
        scenes: How many the library has.

    Returns:
        Its index; None if it has too few rows for one.
    """
    rows, index = table.count_rows(), index_of(table)
    if rows >= INDEX_FROM and (index is None or rows >= TRAINED_TIMES * index.trained):
        make_index(table, rows)
        if index is not None:
            table.drop_index(index.name)
        index = index_of(table)
    if index is not None and index.waiting > LATE_SHARE * rows:
        table.optimize(cleanup_older_than=KEPT)
    else:
        join_pieces(table, scenes)
    return index_of(table)


def join_pieces(table: Any, scenes: int) -> None:
    """Put a table together that was written in many pieces, for how many scenes the library has."""
    if table.stats()["fragment_stats"]["num_fragments"] > max(MOST_PIECES, PIECES_SHARE * scenes):
        table.optimize(cleanup_older_than=KEPT)


def make_index(table: Any, rows: int) -> None:
    """Make the index of a table's vectors, and one of the scenes that searches are held to.

    IVF-RQ: vectors are sorted into partitions around the nearest of some centres, and each is kept there as
    a few bits a dimension (Gao and Long 2024, "RaBitQ: quantizing high-dimensional vectors with a theoretical
    error bound for approximate nearest neighbor search"; Gao et al. 2025 for more than one). It has no code
    book to train: product quantisation took 13 times as long for 5,000 rows, with codes as long as one bit's.

    Args:
        table: Of things.
        rows: How many it has.
    """
    from lancedb.index import BTree, IvfRq

    partitions = max(1, round(rows / ROWS_PER_PARTITION))
    table.create_index("scene", config=BTree(), replace=True)
    config = IvfRq(distance_type="dot", num_partitions=partitions, num_bits=BITS)
    table.create_index("vector", config=config, name=f"vectors_{rows}")


def parts_searched(rows: int) -> int:
    """How many partitions a search of a table reads, by its rows."""
    return max(PARTS_SEARCHED, round(SHARE_SEARCHED * rows / ROWS_PER_PARTITION))


def search(table: Any, vector: np.ndarray, count: int, where: str | None = None) -> Any:
    """A search for the largest dot products, ready to run; exact for rows outside of an index.

    Args:
        table: Of things.
        vector: As long as those of the table.
        count: How many are wanted.
        where: SQL that rows must fulfil.
    """
    asked = table.search(vector, vector_column_name="vector").distance_type("dot").limit(count)
    asked = asked.nprobes(parts_searched(table.count_rows())).refine_factor(READ_AGAIN)
    return asked if where is None else asked.where(where, prefilter=True)
