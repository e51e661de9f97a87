"""Which answers count as the worst, and names of pictures."""

import re
from dataclasses import replace

from tests.helpers.made_report import card, full_report

from gags.report.data import answer_keys, view_key, worst_answers


def test_worst_answers_are_misses_then_poor_overlaps() -> None:
    known = [(0.9, True), (0.2, True), (0.0, False), (0.3, False), (0.0, True), (None, None), (0.25, True)]
    cards = [card(iou=iou, hit=hit) for iou, hit in known]
    assert worst_answers(replace(full_report(), answers=cards)) == [2, 3, 4, 1]
    assert len(worst_answers(replace(full_report(), answers=[cards[2]] * 20))) == 6


def test_keys_are_safe_unique_file_names() -> None:
    texts = ["a/b", "A B", "a b", "кот", "..", "con:|?*"]
    keys = [
        key for pair in answer_keys(replace(full_report(), answers=[card(t) for t in texts])) for key in pair
    ]
    assert len(set(keys)) == 2 * len(texts)
    assert all(re.fullmatch(r"(answer|cutout)_\d{3}_[a-z0-9-]+_[a-z0-9-]+", key) for key in keys)
    assert view_key(full_report(), 0, "Masks: sub-part") == "view_01_a-b-jpg_masks-sub-part"
