"""Names of things, and the texts that a scene suggests."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from gags.embed.description import Description
from gags.query import names
from gags.query.names import EVERYDAY, Namer, commonness, suggest_texts
from gags.segment.masks import Masks
from gags.things.things import Things

WORDS = ("mug", "lamp", "horse")


def namer(table: torch.Tensor, texts: tuple[str, ...], opacities: list[float]) -> Namer:
    """One whose Gaussians' relevancies are the rows of a table."""
    words = SimpleNamespace(texts=texts, relevancy=lambda features, field: features)
    return Namer(SimpleNamespace(features=table), words, np.array(opacities), torch.zeros(len(texts)))  # type: ignore[arg-type]


def test_names_are_the_words_of_the_highest_weighted_mean():
    table = torch.tensor([[0.9, 0.2, 0.5], [0.1, 0.4, 0.5]])
    texts, rows = ("mug", "lamp", "cup"), np.arange(2)
    plain = namer(table, texts, [1.0, 1.0])
    assert plain.names(rows, count=2) == [("mug", pytest.approx(0.5)), ("cup", pytest.approx(0.5))]
    weighted = namer(table, texts, [1.0, 3.0]).names(rows)
    assert [word for word, _ in weighted] == ["cup", "lamp", "mug"]
    assert [score for _, score in weighted] == pytest.approx([0.5, 0.35, 0.3])


def test_many_gaussians_are_named_by_a_regular_sample_weighted_by_opacity(monkeypatch):
    monkeypatch.setattr(names, "NAMED_ON", 2)
    table = torch.tensor([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [1.0, 1.0], [0.0, 1.0]])
    made = namer(table, ("mug", "lamp"), [1.0, 0.25, 0.9, 0.9, 0.75])
    found = made.names(np.array([1, 2, 4]))  # of which 1 and 4 are looked at
    assert found == [("lamp", pytest.approx(0.75)), ("mug", pytest.approx(0.25))]


def test_commonness_is_the_mean_over_the_things_that_a_word_fits_best(monkeypatch):
    logits = torch.tensor([[3.0, -1.0], [1.0, -2.0], [-5.0, 4.0]])
    monkeypatch.setattr(names, "BEST_THINGS", 2)
    assert commonness(logits).tolist() == [2.0, 1.5]
    monkeypatch.setattr(names, "BEST_THINGS", 10)
    torch.testing.assert_close(commonness(logits), torch.tensor([-1 / 3, 1 / 3]))


def test_a_word_that_fits_everything_gives_way_to_one_that_fits_this():
    texts = ("computer", "keyboard", "monitor")
    table = torch.tensor([[0.99, 0.97, 0.10], [0.98, 0.10, 0.95], [0.97, 0.05, 0.05]])
    things = Things.build(np.arange(3), np.arange(3), [np.arange(4)] * 3)
    things.parents = np.full(3, -1)
    plain = namer(table, texts, [1.0] * 3)
    seen = Namer.of_scene(plain.field, plain.words, plain.opacities, things)
    rows = [np.array([row]) for row in range(3)]
    assert [plain.names(row)[0][0] for row in rows] == ["computer"] * 3
    assert [seen.names(row)[0][0] for row in rows] == ["keyboard", "monitor", "computer"]
    assert seen.names(rows[0])[0][1] == pytest.approx(0.97)  # told with its relevancy


def test_without_things_words_compare_by_relevancy_alone():
    plain = namer(torch.tensor([[0.9, 0.8]]), ("mug", "cup"), [1.0])
    seen = Namer.of_scene(plain.field, plain.words, plain.opacities, Things.none())
    assert seen.names(np.array([0])) == plain.names(np.array([0]))


class AxisEncoder:
    """Word number i is the i-th axis; the canonical phrase is the last one."""

    name, dim, image_size, crops, temperature, negatives = "axis", 4, 8, (), 10.0, ("thing",)
    same_meaning = 2.0

    def encode_images(self, crops):
        raise NotImplementedError

    def encode_texts(self, texts):
        return np.stack([np.eye(4)[WORDS.index(t) if t in WORDS else 3] for t in texts]).astype(np.float32)


def photo(*embeddings, small=()):
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
    photos = [photo(mug, lamp) for _ in range(3)]
    assert suggest_texts(photos, AxisEncoder(), words=WORDS) == ["mug", "lamp"]


def test_a_word_needs_several_masks_and_large_ones():
    mug, lamp = [1, 0, 0, 0], [0, 1, 0, 0]
    photos = [photo(mug, lamp), photo(mug, lamp), photo(mug, lamp, small=(1,))]
    assert suggest_texts(photos, AxisEncoder(), words=WORDS) == ["mug"]


def test_at_most_count_words_and_none_without_masks():
    photos = [photo([1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0])] * 3
    assert len(suggest_texts(photos, AxisEncoder(), words=WORDS, count=2)) == 2
    empty = np.full((3, 10, 10), -1, np.int16)
    nothing = Masks(empty, np.zeros(0, np.int8), np.zeros((0, 4), np.int32), np.zeros(0, np.float32))
    assert suggest_texts([Description(nothing, np.zeros((0, 4), np.float16), "axis")], AxisEncoder()) == []


def test_word_list_has_no_doubles_and_no_blanks():
    assert len(set(EVERYDAY)) == len(EVERYDAY) > 100
    assert all(word and word == word.strip() for word in EVERYDAY)
