"""Files of answers; things framed and named where they are seen: what hides a thing is not part of it."""

import cv2
import numpy as np
import pytest
import torch
from tests.helpers.blobs import WORDS, make_scene

from gags.draw.colors import label_colors
from gags.draw.scenes import labelled_picture, slug, things_in_view, write_answer
from gags.query.answers import Answer


@pytest.mark.parametrize(
    ("text", "name"),
    [("red mug", "red-mug"), ("laptop", "laptop"), ("  mug ", "mug")],
)
def test_slug_of_plain_texts_is_readable(text, name):
    assert slug(text) == name


def test_slugs_of_different_texts_differ():
    texts = [
        "red mug",
        "Red mug",
        "red/mug",
        "../red mug",
        "röd mugg",
        "赤いマグ",
        "青いマグ",
        "x" * 90,
        "x" * 91,
    ]
    names = {slug(text) for text in texts}
    assert len(names) == len(texts)
    assert all(set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789-") for name in names)
    assert all(len(name) < 60 for name in names)


def test_files_of_an_answer_hold_what_it_says(tmp_path):
    relevancy = np.linspace(0, 1, 60 * 80).reshape(60, 80).astype(np.float32)
    mask = relevancy > 0.7
    answer = Answer("red mug", "room/photo.1.jpg", relevancy, mask, (79, 59), 1.0)
    files = write_answer(answer, np.full((60, 80, 3), 128, np.uint8), tmp_path)
    np.testing.assert_array_equal(np.load(files["relevancy"]), relevancy)
    written = cv2.imread(files["mask"], cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(written, np.where(mask, 255, 0))
    assert cv2.imread(files["overlay"]).shape[0] > 60
    assert (tmp_path / "room" / "photo.1" / "red-mug_mask.png").exists()


def test_things_are_seen_where_they_make_up_half_of_a_pixel():
    toy = make_scene(views=2)
    masks = [torch.from_numpy(toy.owner == WORDS.index(word)) for word in WORDS]
    seen = things_in_view(toy.gaussians, masks, toy.cameras[0])
    assert seen.shape == (len(WORDS), 48, 64)
    assert seen.sum(axis=0).max() == 1
    for number in range(len(WORDS)):
        truth = toy.ids[0] == number
        assert (seen[number] & truth).sum() / (seen[number] | truth).sum() > 0.9


def test_a_gaussian_of_two_things_belongs_to_the_smaller():
    toy = make_scene(views=2)
    ball = torch.from_numpy(toy.owner == 1)
    everything, part = things_in_view(toy.gaussians, [torch.ones_like(ball), ball], toy.cameras[0])
    np.testing.assert_array_equal(part, things_in_view(toy.gaussians, [ball], toy.cameras[0])[0])
    assert not (everything & part).any()


def test_frames_are_tight_and_names_stand_in_them():
    photo = np.full((100, 400, 3), 90, np.uint8)
    regions = np.zeros((2, 100, 400), bool)
    regions[0, 20:60, 50:150] = True
    regions[1, 5, 5] = True  # too small to be framed
    drawn = labelled_picture(photo, regions, ["mug", "speck"])
    assert drawn.shape == (300, 1200, 3)  # three times as large, to have room for names
    color = label_colors(2)[0]
    for row, column in ((179, 300), (120, 449), (179, 449)):  # the frame, far from the name
        np.testing.assert_array_equal(drawn[row, column], color)
    plate = drawn[61:75, 151:158].reshape(-1, 3)
    assert (plate == color).all(axis=1).mean() > 0.4
    assert (drawn[:55] == 90).all()
    assert (photo == 90).all()
