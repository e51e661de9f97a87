"""Ignored pixels of labelled photos: left out where the protocol is our own, scored where it is not."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from gags.capture import Camera, View
from gags.evaluate.labels import FrameLabels, Label
from gags.evaluate.protocols import PROTOCOLS
from gags.evaluate.score import score_frame
from gags.query.maps import ValueMaps

WIDTH, HEIGHT = 64, 48


def rectangle(x1: int, y1: int, x2: int, y2: int) -> np.ndarray:
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[y1:y2, x1:x2] = True
    return mask


def label(name: str, x1: int, y1: int, x2: int, y2: int) -> Label:
    corners = np.array([[x1, y1], [x2 - 1, y1], [x2 - 1, y2 - 1], [x1, y2 - 1]], float)
    return Label(name, [corners], np.array([[x1, y1, x2, y2]], float))


@pytest.fixture
def view(tmp_path) -> View:
    """Its left third is to be ignored."""
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((HEIGHT, WIDTH, 3), np.uint8))
    cv2.imwrite(str(tmp_path / "mask.png"), 255 * (~rectangle(0, 0, 20, HEIGHT)).astype(np.uint8))
    camera = Camera(np.eye(4), np.eye(3), WIDTH, HEIGHT)
    return View("a.png", tmp_path / "a.png", camera, "test", mask=tmp_path / "mask.png")


LABELS = [label("cup", 10, 10, 30, 30), label("person", 0, 0, 16, HEIGHT)]
ANSWERS = np.stack([rectangle(0, 10, 30, 30), rectangle(0, 0, 16, HEIGHT)]).astype(np.float32)


def ask(camera: Camera, texts: list[str]) -> ValueMaps:
    values = torch.from_numpy(ANSWERS)
    return ValueMaps(values, torch.ones(HEIGHT, WIDTH, dtype=torch.bool), instances=[v[None] for v in values])


@pytest.mark.parametrize("name", ["select-3d", "things"])
def test_our_own_protocols_leave_them_out(view, name):
    frame = FrameLabels("a", WIDTH, HEIGHT, LABELS, Path("a.json"))
    (cup,) = score_frame(ask, frame, LABELS, view, PROTOCOLS[name])  # of the person nothing is left
    assert cup.row.category == "cup"
    assert (cup.row.mask_pixels, cup.row.truth_pixels, cup.row.iou) == (200, 200, 1.0)
    if name == "things":
        assert cup.row.instances is not None
        assert (cup.row.instances.right, cup.row.instances.found) == (1, 1)


@pytest.mark.parametrize("name", ["lerf-ovs", "held-out", "lerf-ovs-strict"])
def test_protocols_of_others_score_them(view, name):
    frame = FrameLabels("a", WIDTH, HEIGHT, LABELS, Path("a.json"))
    cup, person = score_frame(ask, frame, LABELS, view, PROTOCOLS[name])
    assert cup.truth.sum() == pytest.approx(400, abs=45)  # corners are rounded or truncated
    assert cup.truth[:, :20].any()
    assert cup.mask[:, :20].any()
    assert person.row.iou > 0.9


def test_photos_without_masks_are_scored_as_before(view):
    frame = FrameLabels("a", WIDTH, HEIGHT, LABELS, Path("a.json"))
    bare = View(view.name, view.path, view.camera, view.split)
    cup, _ = score_frame(ask, frame, LABELS, bare, PROTOCOLS["select-3d"])
    assert (cup.row.mask_pixels, cup.row.truth_pixels) == (600, 400)
    assert cup.row.iou == pytest.approx(400 / 600)
