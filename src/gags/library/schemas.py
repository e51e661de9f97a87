"""What the tables of a library hold, column by column, and how they are named and asked."""

import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from gags.store import stamp

FORMAT = "gags-library-"
VERSION = 1
MULTIPLE = 16  # of which the length of vectors must be one: an index cuts them into equal pieces


def table_name(encoder: str) -> str:
    """Name of the table of an encoder's things: LanceDB takes letters, digits and a few signs."""
    return f"things-{re.sub('[^A-Za-z0-9]+', '-', encoder)[-60:].strip('-')}-{stamp(encoder)[:8]}"


def padded(vectors: np.ndarray) -> np.ndarray:
    """Vectors with zeros behind them, so that an index can cut them. [..., n] → [..., n']"""
    behind = -vectors.shape[-1] % MULTIPLE
    return np.pad(vectors, [(0, 0)] * (vectors.ndim - 1) + [(0, behind)])


def things_schema(encoder: str, dim: int) -> Any:
    """Columns of a table of things.

    Args:
        encoder: Name of the encoder.
        dim: Length D of its embeddings. A row's vector holds D + 1 numbers, see `Asked.searches`, and zeros.
    """
    import pyarrow as pa

    floats, text = pa.list_(pa.float64()), pa.string()
    return pa.schema(
        {
            "run": text,  # of the adding that wrote the row
            "scene": text,
            "thing": pa.int32(),  # row among the things of the scene
            "chain": pa.list_(pa.int32()),  # the thing and all that it lies in, from itself upwards
            "kind": text,
            "names": pa.list_(text),
            "photos": pa.int32(),
            "seen_by": pa.int32(),
            "center": floats,
            "size": floats,
            "axes": floats,  # row by row
            "low": floats,
            "high": floats,
            "view": text,
            "thumbnail": pa.binary(),
            "vector": pa.list_(pa.float16(), len(padded(np.zeros(dim + 1)))),
        },
        metadata={"format": f"{FORMAT}{VERSION}", "encoder": encoder, "dim": str(dim)},
    )


def scenes_schema() -> Any:
    """Columns of the table of scenes."""
    import pyarrow as pa

    text = pa.string()
    columns = ("name", "path", "encoder", "added", "run", "looks", "stamp", "gags")
    metadata = {"format": f"{FORMAT}{VERSION}"}
    return pa.schema({"things": pa.int32()} | dict.fromkeys(columns, text), metadata=metadata)


def names_schema() -> Any:
    """Columns of the table of taught names."""
    import pyarrow as pa

    text = pa.string()
    return pa.schema(
        {
            "key": text,  # the name in the form of `plain_name`
            "name": text,
            "by": text,  # where it was taught: "scene" or "library"
            "encoder": text,
            "scene": text,
            "run": text,  # of the adding that `thing` counts in
            "thing": pa.int32(),  # -1 if the library has none that is meant
            "vector": pa.list_(pa.float16()),  # what it looks like, L2-normalised
        },
        metadata={"format": f"{FORMAT}{VERSION}"},
    )


def nodes_schema() -> Any:
    """Columns of the table of trees, see `gags.library.nodes`."""
    import pyarrow as pa

    text = pa.string()
    columns = {"run": text, "scene": text, "nodes": pa.binary()}
    return pa.schema(columns, metadata={"format": f"{FORMAT}{VERSION}"})


def one_of(texts: Sequence[str]) -> str:
    """That a column is one of some strings, in SQL."""
    return f"IN ({', '.join(map(quoted, texts))})"


def quoted(text: str) -> str:
    """A string of SQL."""
    return "'" + text.replace("'", "''") + "'"
