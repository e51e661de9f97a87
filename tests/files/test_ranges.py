"""Ranges of settings: what is in them, how they are said, what is refused."""

import math
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gags.errors import GagsError, SettingsError
from gags.files.ranges import Range, Settings, check_value, is_number, parse_value, ranged, row_kinds
from gags.store import added, plain

ROWS = tuple[tuple[float, int], ...]


@dataclass(frozen=True)
class Inner(Settings, prefix="outer.inner"):
    rate: float = ranged(0.5, Range(0, 1, low_open=True))


@dataclass(frozen=True)
class Outer(Settings, prefix="outer"):
    steps: int = ranged(10, Range(1, 1000))
    size: int | None = ranged(None, Range(0, 8))
    share: float = added(0.25, Range(0, 1, high_open=True))
    rows: tuple[tuple[float, int], ...] = ranged(((0.0, 2),), Range(0, 1), Range(1, 4))
    loud: bool = False
    color: Literal["red", "blue"] = "red"
    name: str = "a"
    path: Path | None = None
    inner: Inner = field(default_factory=Inner)


@given(st.floats(allow_nan=True, allow_infinity=True), st.booleans(), st.booleans())
def test_a_number_is_in_a_range_between_its_ends(value, low_open, high_open):
    inside = -2 < value < 3 or (value == -2 and not low_open) or (value == 3 and not high_open)
    assert (value in Range(-2, 3, low_open, high_open)) == inside


@pytest.mark.parametrize(
    ("range_", "words"),
    [
        (Range(1, 1_000_000), "from 1 to 1000000"),
        (Range(0, 1, low_open=True), "above 0 and at most 1"),
        (Range(0, 1, high_open=True), "at least 0 and below 1"),
        (Range(0.001, 1e-2, low_open=True, high_open=True), "above 0.001 and below 0.01"),
    ],
)
def test_words_of_a_range(range_, words):
    assert str(range_) == words


@pytest.mark.parametrize(
    "value", [math.nan, math.inf, -math.inf, 0, -1, 1e20, 10**400, "5", None, [5], True, 2.5]
)
def test_a_wrong_number_is_refused_in_python(value):
    with pytest.raises(SettingsError, match=r"^outer.steps must be a whole number from 1 to 1000, got "):
        Outer(steps=value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"size": -1}, "outer.size must be a whole number from 0 to 8 or none, got -1"),
        ({"share": 1}, "outer.share must be a number at least 0 and below 1, got 1"),
        ({"share": "x" * 99}, f"outer.share must be a number at least 0 and below 1, got {'x' * 40}…"),
        ({"rows": ((0, 5),)}, "rows of a number from 0 to 1 and a whole number from 1 to 4, got ((0, 5),)"),
        ({"rows": ((0.5,),)}, "got ((0.5,),)"),
        ({"rows": "0 2"}, "got 0 2"),
        ({"loud": 1}, "outer.loud must be true or false, got 1"),
        ({"color": "green"}, "outer.color must be red or blue, got green"),
        ({"color": ["red"]}, "outer.color must be red or blue, got ['red']"),
        ({"name": 3}, "outer.name must be text, got 3"),
        ({"name": ""}, None),
        ({"path": 3}, "outer.path must be a path or none, got 3"),
        ({"inner": 3}, "outer.inner must be Inner, got 3"),
        ({"steps": "two\nlines"}, "got two lines"),
    ],
)
def test_other_wrong_values(changes, message):
    if message is None:
        assert Outer(**changes).name == ""
        return
    with pytest.raises(SettingsError) as caught:
        Outer(**changes)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_fits_is_kept_as_python_s_own_numbers():
    made = Outer(
        steps=np.int64(7), share=np.float32(0.5), size=np.uint8(3), rows=[[0, np.int64(4)], [0.5, 1]]
    )
    assert [type(v) for v in (made.steps, made.share, made.size)] == [int, float, int]
    assert made.rows == ((0, 4), (0.5, 1))
    assert made == Outer(steps=7, share=0.5, size=3, rows=((0.0, 4), (0.5, 1)))
    assert Outer(share=0).share == 0  # a whole number is a number
    with pytest.raises(SettingsError, match=r"outer\.steps"):
        replace(made, steps=0)


def test_a_range_changes_nothing_of_what_is_recorded():
    default = plain(Outer())
    assert default == {
        "steps": 10, "rows": [[0.0, 2]], "loud": False, "color": "red", "name": "a", "inner": {"rate": 0.5},
    }  # fmt: skip
    assert plain(Outer(share=0.5)) == default | {"share": 0.5}


def test_the_error_is_the_package_s_own_and_a_value_error_and_knows_its_option():
    import pickle

    error = SettingsError("distill.top_k", "must be odd, got 2")
    assert isinstance(error, GagsError)
    assert isinstance(error, ValueError)
    assert str(error) == "distill.top_k must be odd, got 2"
    assert error.option == "--distill.top-k must be odd, got 2"
    again = pickle.loads(pickle.dumps(error))  # it comes out of the processes of a comparison
    assert (str(again), again.name) == (str(error), "distill.top_k")


@pytest.mark.parametrize(
    ("texts", "kind", "ranges", "value"),
    [
        (["7"], int, [Range(1, 9)], 7),
        (["0.5"], float, [Range(0, 1)], 0.5),
        (["1"], float, [Range(0, 1)], 1.0),
        (["None"], int | None, [Range(0, 8)], None),
        (["3"], int | None, [Range(0, 8)], 3),
        (["0", "4", "0.5", "2"], ROWS, [Range(0, 1), Range(1, 4)], ((0, 4), (0.5, 2))),
        ([], ROWS, [Range(0, 1), Range(1, 4)], ()),
    ],
)  # fmt: skip
def test_numbers_of_the_command_line(texts, kind, ranges, value):
    assert parse_value("x", texts, kind, *ranges) == value


@pytest.mark.parametrize(
    ("texts", "kind", "ranges"),
    [
        (["7.5"], int, [Range(1, 9)]),
        (["nan"], float, [Range(0, 1)]),
        (["1e999"], float, [Range(0, 1)]),
        (["9" * 5000], int, [Range(0, 8)]),
        (["none"], int, [Range(0, 8)]),
        (["0", "4", "0.5"], ROWS, [Range(0, 1), Range(1, 4)]),
        (["0", "x"], ROWS, [Range(0, 1), Range(1, 4)]),
    ],
)
def test_wrong_numbers_of_the_command_line(texts, kind, ranges):
    with pytest.raises(SettingsError, match=r"^x must be"):
        parse_value("x", texts, kind, *ranges)


def test_kinds_of_types():
    assert is_number(int)
    assert is_number(float | None)
    assert not is_number(bool)
    assert not is_number(int | str)
    assert row_kinds(tuple[tuple[float, int], ...]) == (float, int)
    assert row_kinds(tuple[str, ...]) == row_kinds(int) == ()
    assert check_value("x", None, int | None) is None
