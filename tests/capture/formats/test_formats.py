"""The list of formats: each finds, reads and gives the points of its own captures, and of no others."""

import itertools

import numpy as np
import pytest
from tests.helpers.heard import Heard
from tests.helpers.made_capture import CAPTURES, pose

from gags.capture import load_capture
from gags.capture.formats import FORMATS, find_format, format_named, formats_in
from gags.errors import CaptureError
from gags.progress import SILENT

POINTS = {"colmap": 5, "nerfstudio": 2, "polycam": 3 * 48, "record3d": 0}
BY_NAME = {format.name: format for format in FORMATS}


def test_every_format_has_a_made_capture():
    assert list(BY_NAME) == list(CAPTURES) == ["colmap", "nerfstudio", "polycam", "record3d"]


@pytest.mark.parametrize("name", CAPTURES)
def test_every_format_finds_reads_and_gives_points(tmp_path, name):
    CAPTURES[name](tmp_path, 3)
    assert [format.name for format in formats_in(tmp_path)] == [name]
    format = BY_NAME[name]
    assert find_format(tmp_path) is format
    assert format.find(tmp_path).exists()
    source = format.read(tmp_path, SILENT)
    assert len(source.poses) == len(source.photos) == 3
    for index, each in enumerate(sorted(source.poses, key=lambda each: each.name)):
        np.testing.assert_allclose(each.viewmat, pose(index), atol=1e-9)
        assert source.photos[each.name] == each.path
    points, points_rgb = format.points(tmp_path)
    assert (len(points), points.dtype, points_rgb.dtype) == (POINTS[name], np.float32, np.uint8)
    np.testing.assert_array_equal(points, source.points)
    np.testing.assert_array_equal(points_rgb, source.points_rgb)
    assert load_capture(tmp_path, require_points=False).format == name


@pytest.mark.parametrize(("first", "second"), itertools.combinations(CAPTURES, 2))
def test_the_first_of_two_formats_counts_and_is_said(tmp_path, first, second):
    CAPTURES[second](tmp_path, 2)
    CAPTURES[first](tmp_path, 3)
    heard = Heard()
    capture = load_capture(tmp_path, require_points=False, progress=heard)
    assert (capture.format, len(capture)) == (first, 3)
    a, b = BY_NAME[first], BY_NAME[second]
    assert heard.said == [f"{tmp_path} holds {a.layout} and {b.layout}; reading the {a.title}"]


def test_photos_alone_have_no_format(tmp_path):
    CAPTURES["colmap"](tmp_path, 2)
    assert find_format(tmp_path / "images") is None
    assert find_format(tmp_path / "nowhere") is None


@pytest.mark.parametrize("name", CAPTURES)
def test_formats_by_name(tmp_path, name):
    assert format_named(name, tmp_path) is BY_NAME[name]


@pytest.mark.parametrize("name", ["COLMAP", "", "bundler", None, ["colmap"]])
def test_an_unknown_name_is_an_error(tmp_path, name):
    with pytest.raises(
        CaptureError, match=r"x\.json says .*format .*only these .*: colmap, nerfstudio, polycam, record3d;"
    ):
        format_named(name, tmp_path / "x.json")
