"""What a setting may be: one range a number, declared where the field is, checked whenever settings are made.

A settings class is a frozen dataclass on top of `Settings`. Its numbers carry their range:

    @dataclass(frozen=True)
    class ExampleSettings(Settings, prefix="example"):
        steps: int = ranged(1000, STEPS)
        share: float = ranged(0.5, SHARE)

So `ExampleSettings(steps=0)` fails as `--example.steps 0` does, before anything starts, and `--help` shows
the same range. The upper ends are generous; they are there so that a slip of the keyboard neither runs for
ever nor takes all memory.
"""

import dataclasses
import numbers
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, ClassVar, Literal, Union, get_args, get_origin, get_type_hints

import numpy as np

from gags.errors import SettingsError

RANGE = "range"  # metadata of fields made by `ranged`
LONGEST_SHOWN = 40  # characters of a wrong value in a message


@dataclass(frozen=True)
class Range:
    """The numbers from one end to another.

    Attributes:
        low: Lower end.
        high: Upper end.
        low_open: Whether the lower end itself is left out.
        high_open: Whether the upper end itself is left out.
    """

    low: float
    high: float
    low_open: bool = False
    high_open: bool = False

    def __contains__(self, value: float) -> bool:
        """Whether a number is in it; NaN never is."""
        above = self.low < value if self.low_open else self.low <= value
        return bool(above and (value < self.high if self.high_open else value <= self.high))

    def __str__(self) -> str:
        low, high = _figure(self.low), _figure(self.high)
        if not self.low_open and not self.high_open:
            return f"from {low} to {high}"
        return f"{'above' if self.low_open else 'at least'} {low} and " + (
            f"below {high}" if self.high_open else f"at most {high}"
        )


SHARE = Range(0, 1)
STEPS = Range(1, 1_000_000)  # of a training; the longest published ones of this kind have 30,000 to 100,000
RATE = Range(0, 1)  # of Adam, which moves a parameter by about its rate a step: beyond 1 nothing is learnt
SEED = Range(0, 2**31 - 1)  # COLMAP takes an int32
BATCH = Range(1, 1 << 18)  # pixels a step; each takes about 2 KB
PIXELS = Range(1, 1_000_000)  # drawn from a photo; each takes 8 bytes for each of its Gaussians
TOP_K = Range(1, 256)  # Gaussians of a pixel; in a trained scene, hardly any pixel has more


def ranged(default: Any, *ranges: Range) -> Any:
    """A field of a settings class with the range of its numbers.

    Args:
        default: The default.
        ranges: Of the number; or of each column, for a field of rows such as `tuple[tuple[float, int], ...]`.
    """
    return field(default=default, metadata=range_metadata(*ranges))


def range_metadata(*ranges: Range) -> dict[str, Any]:
    """What a field's metadata holds of its ranges."""
    return {RANGE: ranges} if ranges else {}


def ranges_of(declared: "dataclasses.Field[Any]") -> tuple[Range, ...]:
    """Ranges that a field was declared with."""
    return declared.metadata.get(RANGE, ())


class Settings:
    """Base of settings classes: every field is checked, by its type and its range, when an object is made."""

    prefix: ClassVar[str] = ""
    """What stands before the names of its fields where a user writes them: `distill` in `--distill.steps`."""

    def __init_subclass__(cls, prefix: str = "", **arguments: Any) -> None:
        super().__init_subclass__(**arguments)
        cls.prefix = prefix

    def __post_init__(self) -> None:
        """Check all fields; numbers of NumPy become Python's own, and rows become tuples.

        Raises:
            SettingsError: If a value is of the wrong type or out of its range.
        """
        for declared, kind in fields_of(type(self)):
            value = getattr(self, declared.name)
            checked = check_value(self.named(declared.name), value, kind, *ranges_of(declared))
            if checked is not value:
                object.__setattr__(self, declared.name, checked)

    @classmethod
    def named(cls, name: str) -> str:
        """A field's name as users write it: "distill.steps"."""
        return f"{cls.prefix}.{name}" if cls.prefix else name


@cache
def fields_of(settings: type) -> tuple[tuple["dataclasses.Field[Any]", Any], ...]:
    """Fields of a settings class with their types."""
    kinds = get_type_hints(settings)
    return tuple((declared, kinds[declared.name]) for declared in dataclasses.fields(settings))


def check_value(name: str, value: Any, kind: Any, *ranges: Range) -> Any:
    """Make sure that a value is of a type and within its range.

    Args:
        name: Of the setting, as the user writes it.
        value: The value.
        kind: Its type: int, float, bool, str, a path, a Literal, rows of numbers, a class, or one of these or
            None.
        ranges: Of the number, or of each column of rows.

    Returns:
        The value; a number as Python's own int or float, rows as tuples.

    Raises:
        SettingsError: If it is something else.
    """
    choices = get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)
    if value is None and NoneType in choices:
        return None
    choices = [choice for choice in choices if choice is not NoneType]
    for choice in choices:
        fitting, checked = _fitted(value, choice, ranges)
        if fitting:
            return checked
    raise SettingsError(name, f"must be {wanted(kind, *ranges)}, got {_shown(value)}")


def parse_value(name: str, texts: Sequence[str], kind: Any, *ranges: Range) -> Any:
    """A number from the command line, or None, or rows of numbers.

    Args:
        name: Of the setting, as the user writes it.
        texts: What the user gave; one text for a number.
        kind: The type, as in `check_value`.
        ranges: Of the number, or of each column.

    Raises:
        SettingsError: If it is something else.
    """
    columns = row_kinds(kind)
    if columns:
        cells = [_parsed(text, columns[i % len(columns)]) for i, text in enumerate(texts)]
        rows = [cells[i : i + len(columns)] for i in range(0, len(cells), len(columns))]
        return check_value(name, rows, kind, *ranges)
    return check_value(name, _parsed(texts[0], kind), kind, *ranges)


def wanted(kind: Any, *ranges: Range) -> str:
    """What a setting may be, in words: "a whole number from 1 to 256"."""
    choices = get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)
    return " or ".join(_words(choice, ranges) for choice in choices)


def is_number(kind: Any) -> bool:
    """Whether a type is a number, or that or None."""
    choices = set(get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,))
    return bool(choices & {int, float}) and choices <= {int, float, NoneType}


def row_kinds(kind: Any) -> tuple[Any, ...]:
    """Types of the columns of a type of rows, such as `tuple[tuple[float, int], ...]`; empty for others."""
    return (
        get_args(get_args(kind)[0])
        if get_origin(kind) is tuple and get_origin(get_args(kind)[0]) is tuple
        else ()
    )


def _parsed(text: str, kind: Any) -> Any:
    """A number, or None where a type has that; the text itself if it is neither."""
    choices = get_args(kind) or (kind,)
    if text.lower() == "none" and NoneType in choices:
        return None
    try:
        return int(text) if int in choices else float(text)
    except ValueError:
        return text


def _fitted(value: Any, kind: Any, ranges: tuple[Range, ...]) -> tuple[bool, Any]:
    """Whether a value is of a type and in its range, and the value as it is kept."""
    origin = get_origin(kind)
    if kind in (int, float):
        return _fitted_number(value, kind, ranges)
    if origin is Literal:
        return isinstance(value, str | bool | int) and value in get_args(kind), value
    if columns := row_kinds(kind):
        return _fitted_rows(value, columns, ranges)
    if kind is bool:
        return isinstance(value, bool | np.bool_), value if isinstance(value, bool) else bool(value)
    if kind is Path:
        return isinstance(value, str | os.PathLike), value
    if kind is Any:
        return True, value
    return isinstance(value, origin or kind), value


def _fitted_number(value: Any, kind: Any, ranges: tuple[Range, ...]) -> tuple[bool, Any]:
    whole = isinstance(value, numbers.Integral)
    if isinstance(value, bool | np.bool_) or not (
        whole or (kind is float and isinstance(value, numbers.Real))
    ):
        return False, value
    plain: Any = value if type(value) in (int, float) else int(value) if whole else float(value)
    return all(plain in within for within in ranges), plain


def _fitted_rows(value: Any, kinds: Sequence[Any], ranges: tuple[Range, ...]) -> tuple[bool, Any]:
    """Whether a value is a list of rows whose columns have these types and ranges."""
    if isinstance(value, str) or not isinstance(value, Sequence):
        return False, value
    rows = []
    for row in value:
        if isinstance(row, str) or not isinstance(row, Sequence) or len(row) != len(kinds):
            return False, value
        cells = [_fitted(cell, k, (r,)) for cell, k, r in zip(row, kinds, ranges, strict=True)]
        if not all(fitting for fitting, _ in cells):
            return False, value
        rows.append(tuple(cell for _, cell in cells))
    return True, tuple(rows)


def _words(kind: Any, ranges: Sequence[Range]) -> str:
    within = f" {ranges[0]}" if kind in (int, float) and ranges else ""
    origin = get_origin(kind)
    if origin is Literal:
        return " or ".join(str(choice) for choice in get_args(kind))
    if columns := row_kinds(kind):
        return f"rows of {' and '.join(_words(k, (r,)) for k, r in zip(columns, ranges, strict=True))}"
    named = {
        int: "a whole number",
        float: "a number",
        bool: "true or false",
        str: "text",
        Path: "a path",
        NoneType: "none",
        Mapping: "settings by name",
    }
    return named.get(origin or kind, getattr(kind, "__name__", str(kind))) + within


def _figure(value: float) -> str:
    return str(int(value)) if value == int(value) else f"{value:g}"


def _shown(value: Any) -> str:
    """A wrong value, cut to a length that a line can hold."""
    text = " ".join(str(value).split()) if isinstance(value, str | numbers.Number) else repr(value)
    text = text if text.strip() else repr(value)
    return text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}…"
