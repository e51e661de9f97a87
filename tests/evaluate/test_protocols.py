"""Names of protocols are frozen; "all" takes those that can be scored."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from gags.capture import Camera, Capture, View
from gags.errors import LabelError
from gags.evaluate.labels import FrameLabels, Label
from gags.evaluate.protocols import PROTOCOLS, judge, named_protocol, protocols_called
from gags.query.maps import ValueMaps

CAPTURE = Capture(
    Path("photos"),
    [
        View(name, Path(name), Camera(np.eye(4), np.eye(3), 8, 6), split)
        for name, split in (("a.jpg", "train"), ("b.jpg", "test"))
    ],
)


def labelled(name: str) -> FrameLabels:
    label = Label("cup", [np.zeros((3, 2))], np.zeros((1, 4)))
    return FrameLabels(name, 8, 6, [label], Path(f"{name}.json"))


def test_names_and_rules_are_frozen():
    view = {
        "size": "view",
        "polygons": "rounded",
        "uncovered": "left-out",
        "vote": "whole",
        "level": "method",
        "one_by_one": False,
    }
    label = {
        "size": "label",
        "polygons": "truncated",
        "uncovered": "kept",
        "vote": "inner",
        "level": "largest",
        "one_by_one": False,
    }
    frozen = {
        "lerf-ovs": {"asks": "relevancy", "frames": "all"} | view,
        "lerf-ovs-strict": {"asks": "relevancy", "frames": "all"} | label,
        "held-out": {"asks": "relevancy", "frames": "held-out"} | view,
        "select-3d": {"asks": "share", "frames": "all"} | view,
        "things": {"asks": "share", "frames": "all"} | view | {"one_by_one": True},
    }
    rules = {name: dataclasses.asdict(protocol) for name, protocol in PROTOCOLS.items()}
    assert all(rules[name].pop("name") == name and rules[name].pop("meaning") for name in rules)
    assert rules == frozen
    assert all(named_protocol(name).name == name for name in frozen)
    with pytest.raises(LabelError, match=r"unknown protocol 'other'; known: lerf-ovs, lerf-ovs-str.*, all$"):
        named_protocol("other")


def test_all_leaves_held_out_away_where_nothing_was():
    both = [labelled("a"), labelled("b")]
    assert [p.name for p in protocols_called("all", both, CAPTURE)] == list(PROTOCOLS)
    trained_on = [labelled("a")]
    assert [p.name for p in protocols_called("all", trained_on, CAPTURE)] == [
        "lerf-ovs",
        "lerf-ovs-strict",
        "select-3d",
        "things",
    ]
    assert [p.name for p in protocols_called("held-out", trained_on, CAPTURE)] == ["held-out"]
    with pytest.raises(LabelError, match="unknown protocol"):
        protocols_called("any", both, CAPTURE)


def test_a_share_of_half_is_chosen_where_it_is_known():
    shares, known = torch.tensor([[0.49, 0.5], [0.9, 0.7]]), torch.tensor([[True, True], [True, False]])
    verdict = judge(PROTOCOLS["select-3d"], ValueMaps(shares[None], known), 0)
    assert verdict.mask.tolist() == [[False, True], [True, False]]
    assert verdict.threshold == 0.5
    assert torch.equal(verdict.values, shares)
