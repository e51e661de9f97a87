"""Which texts ask for a part of something."""

import pytest

from gags.query.parts import part_and_whole


@pytest.mark.parametrize(
    ("text", "part", "whole"),
    [
        ("mug handle", "mug handle", "mug"),
        ("The Mug  handle", "mug handle", "mug"),
        ("bleach bottle cap", "bleach bottle cap", "bleach bottle"),
        ("chair legs", "chair legs", "chair"),
        ("handle of the mug", "mug handle", "mug"),
        ("the red handle of a fork", "fork red handle", "fork"),
        ("lid on my jar", "jar lid", "jar"),
        ("laptop screen", "laptop screen", "laptop"),
    ],
)
def test_a_part_and_its_whole(text, part, whole):
    assert part_and_whole(text) == (part, whole)


@pytest.mark.parametrize(
    "text",
    ["keyboard", "a handle", "red mug", "bag of almonds", "glass of water", "lamp with a shade", "", "of"],
)
def test_names_of_things_ask_for_no_part(text):
    assert part_and_whole(text) is None
