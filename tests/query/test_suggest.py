import numpy as np

from gags.embed.description import Description
from gags.query.names import EVERYDAY, suggest_texts
from gags.segment.masks import Masks

WORDS = ("mug", "lamp", "horse")


class AxisEncoder:
    """Word number i is the i-th axis; the canonical phrase is the last one."""

    name, dim, image_size, crops, temperature, negatives = "axis", 4, 8, (), 10.0, ("thing",)
    same_meaning = 2.0

    def encode_images(self, crops):
        raise NotImplementedError

    def encode_texts(self, texts):
        return np.stack([np.eye(4)[WORDS.index(t) if t in WORDS else 3] for t in texts]).astype(np.float32)


def _photo(*embeddings, small=()):
    """One photo of 100x100 with a mask of 400 px a row, of 4 px for rows in `small`."""
    labels = np.full((3, 100, 100), -1, np.int16)
    for row in range(len(embeddings)):
        if row in small:
            labels[0, row, :4] = row
        else:
            labels[0, 4 * row + 10 : 4 * row + 14, :] = row
    count = len(embeddings)
    masks = Masks(
        labels, np.zeros(count, np.int8), np.zeros((count, 4), np.int32), np.ones(count, np.float32)
    )
    return Description(masks, np.array(embeddings, np.float16), "axis")


def test_words_come_by_certainty():
    mug, lamp = [1, 0, 0, 0], [0, 0.8, 0, 0.6]
    photos = [_photo(mug, lamp) for _ in range(3)]
    assert suggest_texts(photos, AxisEncoder(), words=WORDS) == ["mug", "lamp"]


def test_a_word_needs_several_masks_and_large_ones():
    mug, lamp = [1, 0, 0, 0], [0, 1, 0, 0]
    photos = [_photo(mug, lamp), _photo(mug, lamp), _photo(mug, lamp, small=(1,))]
    assert suggest_texts(photos, AxisEncoder(), words=WORDS) == ["mug"]


def test_at_most_count_words_and_none_without_masks():
    photos = [_photo([1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0])] * 3
    assert len(suggest_texts(photos, AxisEncoder(), words=WORDS, count=2)) == 2
    empty = np.full((3, 10, 10), -1, np.int16)
    nothing = Masks(empty, np.zeros(0, np.int8), np.zeros((0, 4), np.int32), np.zeros(0, np.float32))
    assert suggest_texts([Description(nothing, np.zeros((0, 4), np.float16), "axis")], AxisEncoder()) == []


def test_word_list_has_no_doubles_and_no_blanks():
    assert len(set(EVERYDAY)) == len(EVERYDAY) > 100
    assert all(word and word == word.strip() for word in EVERYDAY)
