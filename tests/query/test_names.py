"""Names of things."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from gags.query import names
from gags.query.names import Namer, commonness
from gags.things.things import Things


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
