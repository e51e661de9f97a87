import cv2
import numpy as np
import pytest

from gags.draw.scenes import slug, write_answer
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
