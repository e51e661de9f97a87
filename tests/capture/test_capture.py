"""A capture put together by hand: points read when asked, split, lookup."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.helpers.made_capture import plain_photo, write_photo

import gags
from gags.capture import Camera, Capture, View, load_capture
from gags.errors import CaptureError

POINTS = np.arange(6, dtype=np.float32).reshape(2, 3)
POINTS_RGB = np.array([[1, 2, 3], [4, 5, 6]], np.uint8)


class Reader:
    """Gives the points, and counts how often it is asked."""

    def __init__(self) -> None:
        self.asked = 0

    def __call__(self):
        self.asked += 1
        return POINTS, POINTS_RGB


@pytest.fixture
def views(tmp_path):
    camera = Camera(np.eye(4), np.eye(3), 50, 40)
    for name in ("a.png", "b.png"):
        write_photo(tmp_path / name, plain_photo(0))
    return [View(name, tmp_path / name, camera) for name in ("b.png", "a.png")]


def test_with_arrays(tmp_path, views):
    capture = Capture(tmp_path, views, POINTS, POINTS_RGB)
    assert [view.name for view in capture] == ["a.png", "b.png"]
    assert capture["a"].image().shape == (40, 50, 3)
    assert capture["a"].split == "train"
    np.testing.assert_array_equal(capture.points, POINTS)
    np.testing.assert_array_equal(capture.points_rgb, POINTS_RGB)


def test_without_points(tmp_path, views):
    capture = Capture(tmp_path, views)
    assert (capture.points.shape, capture.points.dtype) == ((0, 3), np.float32)
    assert (capture.points_rgb.shape, capture.points_rgb.dtype) == ((0, 3), np.uint8)


def test_points_are_read_once_and_only_when_asked(tmp_path, views):
    reader = Reader()
    capture = Capture(tmp_path, views, read_points=reader)
    split = capture.with_split(["a"])
    assert (len(capture), [view.name for view in split.test]) == (2, ["a.png"])
    assert reader.asked == 0
    for each in (split, capture, capture.with_split(["b"])):
        np.testing.assert_array_equal(each.points, POINTS)
        np.testing.assert_array_equal(each.points_rgb, POINTS_RGB)
    assert reader.asked == 1


def test_a_digest_that_is_known_needs_no_points(tmp_path, views):
    digest, reader = Capture(tmp_path, views, POINTS, POINTS_RGB).points_digest(), Reader()
    capture = Capture(tmp_path, views, read_points=reader, points_digest=digest)
    assert capture.fingerprint() == Capture(tmp_path, views, POINTS, POINTS_RGB).fingerprint()
    assert reader.asked == 0
    np.testing.assert_array_equal(capture.points, POINTS)


def test_points_that_do_not_have_the_digest_are_an_error(tmp_path, views):
    capture = Capture(tmp_path, views, read_points=Reader(), points_digest="0" * 64)
    with pytest.raises(CaptureError, match=r"sparse points .* changed"):
        _ = capture.with_split(["a"]).points


def test_the_bundled_capture_is_what_it_was():
    """Where its hash changes, every stage of every scene made by earlier versions counts as stale."""
    capture = load_capture(Path(gags.__file__).parent / "data" / "demo")
    assert capture.fingerprint() == "1db46ae5d2b1972272fadc4cc8fa61d026bb89e11f979ffdb286eac5d78dcfd1"


@pytest.mark.parametrize(("by", "same"), [(1e-15, True), (1e-13, True), (1e-9, False)])
@pytest.mark.parametrize("what", ["viewmat", "K"])
def test_cameras_that_differ_by_rounding_are_those_of_an_earlier_reading(tmp_path, views, what, by, same):
    """Hashes of captures hold every digit, and other processors round otherwise."""
    before = Capture(tmp_path, views, POINTS, POINTS_RGB)
    moved = []
    for view in views:
        other = getattr(view.camera, what).copy()
        other[0, 2] += by * max(1.0, np.abs(other).max())
        moved.append(replace(view, camera=replace(view.camera, **{what: other})))
    now = Capture(tmp_path, moved, POINTS, POINTS_RGB)
    assert now.fingerprint() != before.fingerprint()
    settled = now.settled(before)
    assert (settled.fingerprint() == before.fingerprint()) is same
    assert same or settled.fingerprint() == now.fingerprint()


def test_photos_that_came_are_not_settled(tmp_path, views):
    before = Capture(tmp_path, views[:1], POINTS, POINTS_RGB)
    now = Capture(tmp_path, views, POINTS, POINTS_RGB)
    assert now.settled(before).fingerprint() == now.fingerprint()
