"""Which texts ask for a part of something."""

import pytest

from gags.query.parts import part_and_whole


@pytest.mark.parametrize(
    ("text", "named", "part", "whole"),
    [
        ("mug handle", "mug handle", "handle", "mug"),
        ("The Mug  handle", "mug handle", "handle", "mug"),
        ("bleach bottle cap", "bleach bottle cap", "cap", "bleach bottle"),
        ("chair legs", "chair legs", "legs", "chair"),
        ("handle of the mug", "mug handle", "handle", "mug"),
        ("the red handle of a fork", "fork red handle", "red handle", "fork"),
        ("laptop screen", "laptop screen", "screen", "laptop"),
        ("red mug handle", "red mug handle", "handle", "red mug"),
        ("plant leaves", "plant leaves", "leaves", "plant"),
        ("lamp switches", "lamp switches", "switches", "lamp"),
    ],
)
def test_a_part_and_its_whole(text, named, part, whole):
    assert part_and_whole(text) == (named, part, whole)


@pytest.mark.parametrize(
    "text",
    [
        *(
            "keyboard",
            "a handle",
            "red mug",
            "bag of almonds",
            "glass of water",
            "lamp with a shade",
            "",
            "of",
        ),
        *("red handle", "two handles", "big white screen", "wooden leg", "baseball cap", "handle of"),
        *("cap on the table", "screen on the desk"),  # where it is, not what it belongs to
    ],
)
def test_names_of_things_ask_for_no_part(text):
    assert part_and_whole(text) is None
