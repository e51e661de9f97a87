"""What the tensor files of a scene must hold, and the one check of it: names, types, shapes, ranges.

Sizes are letters, as in the docstrings: N Gaussians, d numbers a feature, M masks, C things, D numbers an
embedding. A letter has one value in a file.
"""

import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

Size = int | str
Contents = Mapping[str, "Expected"]

_BLOCK = 1 << 20  # numbers looked at together, so that they stay in the cache of the processor
OTHERS = "*"  # what every tensor that is not named must be


@dataclass(frozen=True)
class Expected:
    """What one tensor of a file must be.

    Attributes:
        dtype: As NumPy calls it.
        shape: Sizes; a letter has the same value everywhere in the file, "C+1" is one more. None for any.
        least: Smallest value; None for any. Values that are not finite are never right.
        below: Values are below this, a number or a letter; None for any.
        optional: Whether files may lack it.
    """

    dtype: str
    shape: tuple[Size, ...] | None = None
    least: float | None = None
    below: float | str | None = None
    optional: bool = False


# Embeddings have length 1, rounded to half precision.
_EMBEDDINGS = {"dtype": "float16", "least": -1.01, "below": 1.01}

DESCRIPTION: Contents = {
    "labels": Expected("int16", (3, "H", "W"), least=-1, below="M"),
    "levels": Expected("int8", ("M",), least=0, below=3),
    "boxes": Expected("int32", ("M", 4), least=0),
    "scores": Expected("float32", ("M",)),
    "embeddings": Expected(shape=("M", "D"), **_EMBEDDINGS),
    "prompts": Expected("float32", ("P", 2)),
    "whole_words": Expected("uint64", ("V",), optional=True),
    "whole_boxes": Expected("int32", ("M", 4), least=0, optional=True),
    "kept": Expected("uint8", ("H", "B"), optional=True),
}
"""Masks and embeddings of one photo of H × W px."""

FIELD: Contents = {"features": Expected("float16", ("N", "d")), OTHERS: Expected("float32")}
"""The language field: features, and the weights of the decoder, whose shapes the decoder itself checks."""

THINGS: Contents = {
    "starts": Expected("int64", ("C+1",), least=0),
    "members": Expected("int32", ("E",), least=0),
    "parents": Expected("int32", ("C",), least=-1, below="C"),
    "photos": Expected("int32", ("C",), least=0),
    "seen_by": Expected("int32", ("C",), least=0),
    "levels": Expected("float32", ("C",), least=0, below=2.01),
    "embeddings": Expected(shape=("C", "D"), **_EMBEDDINGS),
}
"""Things and parts."""


def check_contents(tensors: Mapping[str, Any], contents: Contents) -> None:
    """Make sure that the tensors of a file are what they must be.

    Args:
        tensors: Arrays of NumPy or tensors of PyTorch on the CPU, by name.
        contents: What they must be.

    Raises:
        ValueError: If one is missing, has another type or shape, is not finite, or out of its range.
    """
    missing = [name for name, e in contents.items() if name not in (*tensors, OTHERS) and not e.optional]
    if missing:
        raise ValueError(f"it has no tensor {missing[0]!r}")
    sizes: dict[str, int] = {}
    arrays = {name: as_array(tensor) for name, tensor in tensors.items()}
    for name, array in arrays.items():
        expected = contents.get(name, contents.get(OTHERS))
        if expected is not None:
            _check_form(name, array, expected, sizes)
    for name, array in arrays.items():
        expected = contents.get(name, contents.get(OTHERS))
        if expected is not None:
            _check_values(name, array, expected, sizes)


def checksum(tensors: Mapping[str, Any]) -> str:
    """Checksum of tensors: CRC-32 of their names, types, shapes and bytes, whatever their order.

    It is there to notice damage, at 2 GB/s; SHA-256 takes ten times as long where the processor has no
    instructions for it.

    Args:
        tensors: Arrays of NumPy or tensors of PyTorch, by name.

    Returns:
        "crc32:" and 8 hexadecimal digits.
    """
    total = 0
    for name in sorted(tensors):
        array = np.ascontiguousarray(as_array(tensors[name]))
        shape = np.shape(tensors[name])
        total = zlib.crc32(f"{name}\0{array.dtype.str}\0{tuple(shape)}\0".encode(), total)
        total = zlib.crc32(array.reshape(-1).view(np.uint8).data, total)
    return f"crc32:{total:08x}"


def is_finite(array: np.ndarray) -> bool:
    """Whether all numbers of an array are finite; some times faster than `np.isfinite` on large ones."""
    if array.dtype.kind != "f":
        return True
    flat = np.ascontiguousarray(array).reshape(-1)
    for start in range(0, flat.size, _BLOCK):
        block = flat[start : start + _BLOCK]
        if block.dtype == np.float16:  # all bits of the exponent are set: infinite, or not a number
            if (block.view(np.uint16) & 0x7C00 == 0x7C00).any():
                return False
        else:
            with np.errstate(over="ignore", invalid="ignore"):
                total = np.dot(block, block)  # finite only if all are; the largest floats have no square
            if not np.isfinite(total) and not np.isfinite(block).all():
                return False
    return True


def as_array(tensor: Any) -> np.ndarray:
    """A tensor as an array of NumPy, if possible without a copy; bfloat16, which NumPy lacks, as bytes."""
    if isinstance(tensor, np.ndarray):
        return tensor
    import torch

    there = tensor.detach().cpu()
    return (there.contiguous().view(torch.uint8) if there.dtype == torch.bfloat16 else there).numpy()


def _check_form(name: str, array: np.ndarray, expected: Expected, sizes: dict[str, int]) -> None:
    if array.dtype.name != expected.dtype:
        raise ValueError(f"{name} is {array.dtype.name}, not {expected.dtype}")
    if expected.shape is None:
        return
    if array.ndim != len(expected.shape):
        raise ValueError(f"{name} has the shape {_shape(array.shape)}, not {_shape(expected.shape)}")
    for size, wanted in zip(array.shape, expected.shape, strict=True):
        if not _fits(size, wanted, sizes):
            known = "".join(f", {letter} = {value}" for letter, value in sizes.items())
            raise ValueError(
                f"{name} has the shape {_shape(array.shape)}, not {_shape(expected.shape)}{known}"
            )


def _fits(size: int, wanted: Size, sizes: dict[str, int]) -> bool:
    """Whether a size is the wanted one; a letter that was not met before takes its value from it."""
    if isinstance(wanted, int):
        return size == wanted
    letter, _, more = re.sub(r"\s", "", wanted).partition("+")
    value = size - int(more or 0)
    return value >= 0 and sizes.setdefault(letter, value) == value


def _check_values(name: str, array: np.ndarray, expected: Expected, sizes: dict[str, int]) -> None:
    if array.size == 0:
        return
    if not is_finite(array):
        raise ValueError(f"{name} holds values that are not finite")
    if expected.least is not None and array.min() < expected.least:
        raise ValueError(f"{name} holds {array.min()}, below {expected.least}")
    below = sizes.get(expected.below) if isinstance(expected.below, str) else expected.below
    if below is not None and array.max() >= below:
        raise ValueError(f"{name} holds {array.max()}, which must be below {below}")


def _shape(sizes: tuple[Size, ...]) -> str:
    return f"[{', '.join(map(str, sizes))}]"
