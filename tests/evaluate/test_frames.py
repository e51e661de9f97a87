"""Labels find their views by name, and say so where they cannot."""

from pathlib import Path

import numpy as np
import pytest

from gags.capture import Camera, Capture, View
from gags.errors import LabelError
from gags.evaluate.frames import held_out_frames, match_frames, match_view
from gags.evaluate.labels import FrameLabels, Label

CAMERA = Camera(np.eye(4), np.eye(3), 8, 6)


def capture(*names: str, held_out: tuple[str, ...] = ()) -> Capture:
    views = [View(name, Path(name), CAMERA, "test" if name in held_out else "train") for name in names]
    return Capture(Path("photos"), views)


def frame(name: str, *categories: str) -> FrameLabels:
    labels = [Label(category, [np.zeros((3, 2))], np.zeros((1, 4))) for category in categories]
    return FrameLabels(name, 8, 6, labels, Path(f"labels/{name}.json"))


def test_names_count_not_positions():
    found = match_frames([frame("b", "cup"), frame("a", "cup")], capture("left/a.jpg", "b.png", "c.jpg"))
    assert [(labels.frame, view.name) for labels, view in found] == [("b", "b.png"), ("a", "left/a.jpg")]


def test_a_name_that_no_photo_has_is_an_error():
    with pytest.raises(LabelError, match=r"labels/d\.json labels 'd', but no photo .*\(a\.jpg, b\.jpg\)"):
        match_view(frame("d", "cup"), capture("a.jpg", "b.jpg"))


def test_a_name_in_two_folders_is_an_error():
    with pytest.raises(LabelError, match=r"2 photos of that name .*\(left/a\.jpg, right/a\.jpg\)"):
        match_view(frame("a", "cup"), capture("left/a.jpg", "right/a.jpg"))


def test_a_picture_of_other_proportions_is_an_error_before_any_is_scored():
    taller = FrameLabels("b", 8, 12, [Label("cup", [], np.zeros((1, 4)))], Path("labels/b.json"))
    with pytest.raises(LabelError, match=r"labels/b\.json labels a picture of 8x12, the view has 8x6"):
        match_frames([frame("a", "cup"), taller], capture("a.jpg", "b.jpg"))


def test_frames_without_labels_are_allowed_but_not_alone():
    photos = capture("a.jpg", "b.jpg")
    assert len(match_frames([frame("a"), frame("b", "cup")], photos)) == 2
    with pytest.raises(LabelError, match=r"nothing is labelled \(labels/a\.json\)"):
        match_frames([frame("a")], photos)
    with pytest.raises(LabelError, match="nothing is labelled"):
        match_frames([], photos)


def test_held_out_frames_are_those_not_trained_on():
    photos = capture("a.jpg", "b.jpg", "c.jpg", held_out=("b.jpg",))
    pairs = match_frames([frame("a", "cup"), frame("b", "cup")], photos)
    assert [view.name for _, view in held_out_frames(pairs, photos)] == ["b.jpg"]
    for others in (pairs[:1], match_frames([frame("a", "cup"), frame("b")], photos)):
        with pytest.raises(LabelError, match=r"no labelled photo was held out: .*held out are b\.jpg"):
            held_out_frames(others, photos)
    with pytest.raises(LabelError, match="held out are none"):
        held_out_frames(match_frames([frame("a", "cup")], capture("a.jpg")), capture("a.jpg"))
