"""The vertex table of a PLY file, ascii or binary, as numpy columns.

Own code, because gsply expects certain layouts: of 12 that the format allows it reads 7, this file all 12
(`benchmarks/ply.py`, which also shows that gsply takes a quarter of the time where it can). plyfile is GPL.
"""

import os
from pathlib import Path
from typing import BinaryIO

import numpy as np

from gags.files.trouble import check_file

_TYPES = {
    "char": "i1",
    "uchar": "u1",
    "short": "i2",
    "ushort": "u2",
    "int": "i4",
    "uint": "u4",
    "float": "f4",
    "double": "f8",
    "int8": "i1",
    "uint8": "u1",
    "int16": "i2",
    "uint16": "u2",
    "int32": "i4",
    "uint32": "u4",
    "float32": "f4",
    "float64": "f8",
}
FEW_LINES = 1000  # rows of an ascii file for which no memory to speak of is asked
_FORMATS = {"ascii": "", "binary_little_endian": "<", "binary_big_endian": ">"}


class PlyError(ValueError):
    """Not a PLY file, or a damaged one; the message is a clause that callers put behind the file's name."""


def read_vertices(path: Path) -> np.ndarray:
    """Read the element `vertex`, whatever its properties; other elements are skipped.

    Returns:
        Structured array, one field a property, in the types and the byte order of the file. [N]

    Raises:
        PlyError: If the file is not a PLY, ends too early, or has lists where numbers are needed.
        OSError: If it cannot be opened.
    """
    return read_elements(path, until="vertex")["vertex"]


def read_elements(path: Path, *, until: str = "") -> dict[str, np.ndarray]:
    """Read all elements, or those up to one; `vertex` must be among them.

    Args:
        path: The file.
        until: Name of the last element that is wanted.

    Returns:
        Elements by name, as `read_vertices` gives them.

    Raises:
        PlyError: If the file is not a PLY, ends too early, or has lists where numbers are needed.
        OSError: If it cannot be opened.
    """
    found: dict[str, np.ndarray] = {}
    check_file(path)
    with open(path, "rb") as file:
        byte_order, elements = _read_header(file)
        for name, count, properties in elements:
            dtype = _row_type(name, properties, byte_order)
            _check_claim(file, name, count, dtype, binary=bool(byte_order))
            read = _read_rows if byte_order else _read_lines
            found[name] = read(file, count, dtype, name)
            if name == until:
                break
    if "vertex" not in found:
        raise PlyError("has no element `vertex`")
    return found


def _read_header(file: BinaryIO) -> tuple[str, list[tuple[str, int, list[list[str]]]]]:
    """Byte order ("" for ascii), and name, row count and properties of every element."""
    if file.readline(16).strip() != b"ply":
        raise PlyError("is not a PLY file")
    byte_order = None
    elements: list[tuple[str, int, list[list[str]]]] = []
    while True:
        line = file.readline(4096)
        if not line.endswith(b"\n"):
            raise PlyError("ends inside its header")
        words = line.decode("ascii", "replace").split()
        match words:
            case ["end_header"]:
                break
            case ["format", name, *_] if name in _FORMATS:
                byte_order = _FORMATS[name]
            case ["element", name, count] if count.isdigit():
                elements.append((name, int(count), []))
            case ["property", *description] if elements and len(description) > 1:
                elements[-1][2].append(description)
            case [] | ["comment" | "obj_info", *_]:
                pass
            case _:
                raise PlyError(f"has a header line that is not PLY: {' '.join(words)[:60]!r}")
    if byte_order is None:
        raise PlyError("does not say which format it is in")
    return byte_order, elements


def _row_type(element: str, properties: list[list[str]], byte_order: str) -> np.dtype:
    fields = []
    for kind, *name in properties:
        if kind not in _TYPES or len(name) != 1:
            raise PlyError(
                f"has a property of element `{element}` that is not a number: {' '.join([kind, *name])}"
            )
        fields.append((name[0], (byte_order or "=") + _TYPES[kind]))
    if len({name for name, _ in fields}) < len(fields):
        raise PlyError(f"names a property of element `{element}` twice")
    return np.dtype(fields)


def _check_claim(file: BinaryIO, element: str, count: int, dtype: np.dtype, *, binary: bool) -> None:
    """Make sure that a file is long enough for the rows it claims, before memory is asked for.

    Raises:
        PlyError: If it is not.
    """
    if not binary and count <= FEW_LINES:
        return  # reading them tells better what is wrong
    left = os.fstat(file.fileno()).st_size - file.tell()
    # A number of an ascii file takes a digit and a blank at least; the last may lack the blank.
    least = dtype.itemsize if binary else 2 * len(dtype.names or ())
    if count and not least:
        raise PlyError(f"has {count} rows of `{element}`, but no properties of it")
    if count * least > left + (not binary):
        raise PlyError(f"ends too early: {left // least} of {count} rows of `{element}` are there")


def _read_rows(file: BinaryIO, count: int, dtype: np.dtype, element: str) -> np.ndarray:
    rows = np.fromfile(file, dtype, count)  # straight into place; `read` would make a copy first
    if len(rows) < count:
        raise PlyError(f"ends too early: {len(rows)} of {count} rows of `{element}` are there")
    return rows


def _read_lines(file: BinaryIO, count: int, dtype: np.dtype, element: str) -> np.ndarray:
    rows = np.empty(count, dtype)
    for row in range(count):
        words = file.readline().split()
        if len(words) != len(dtype.names or ()):
            raise PlyError(f"ends too early or is damaged: row {row} of {count} of `{element}` is not whole")
        try:
            with np.errstate(over="ignore"):  # what is too large for its type is infinite
                rows[row] = tuple(words)
        except ValueError as error:
            raise PlyError(
                f"is damaged: row {row} of `{element}` holds something that is no number"
            ) from error
    return rows
