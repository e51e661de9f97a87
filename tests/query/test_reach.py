"""What counts as a match is the same for any temperature, and for cosines as close together as CLIP's."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, cast

import numpy as np
import pytest
import torch
from tests.helpers import blobs

from gags.distill.field import LanguageField
from gags.query.instances import Instance, locate_instances
from gags.query.reach import MATCHES, Reach, needed_margin
from gags.query.relevancy import Queries
from gags.things.find import find_things
from gags.things.things import Things

WORLDS = range(4)  # seeds
THINGS = ("floor", "mug", "cup", "bowl", "plate")  # what the floor and the balls are; the balls are alike
ABSENT = tuple(f"absent {number}" for number in range(30))
FAMILIES = 6  # of names that are alike
DIM = 512

# --- Reach


def test_shares_and_strengths_of_a_hand_worked_case():
    margins = np.array([-0.3, -0.2, -0.1, 0.0, 0.2, 0.6, 0.9])
    opacities = np.array([1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.2])  # the last is nearly transparent
    reach = Reach.of(margins, opacities, needed=0.2)
    assert reach.typical == pytest.approx(-0.05)  # the median of six
    assert reach.best == pytest.approx(0.6)
    assert reach.matches
    np.testing.assert_allclose(reach.shares(np.array([-0.05, 0.275, 0.6])), [0, 0.5, 1], atol=1e-12)
    asked = np.array([-0.3, -0.05, 0.075, 0.2, 0.4, 0.6, 0.9])
    np.testing.assert_allclose(reach.strengths(asked), [0, 0, 0.25, MATCHES, 0.75, 1, 1], atol=1e-6)


def test_a_text_that_names_most_of_the_scene_is_measured_from_the_middle():
    margins = np.repeat([0.0, 0.1], [20, 80])
    reach = Reach.of(margins, np.ones(100))
    assert (reach.typical, reach.best) == (pytest.approx(0.05), pytest.approx(0.1))
    np.testing.assert_allclose(reach.shares(margins), np.repeat([-1.0, 1.0], [20, 80]))


def test_what_does_not_match_stays_below_a_match():
    reach = Reach.of(np.array([0.0, 0.0, 0.03]), np.ones(3), needed=0.04)
    assert not reach.matches
    np.testing.assert_allclose(reach.strengths(np.array([0.0, 0.03])), [0, 0.375], atol=1e-6)


def test_without_any_difference_all_are_alike():
    reach = Reach.of(np.full(4, 0.1), np.ones(4))
    np.testing.assert_array_equal(reach.shares(np.full(4, 0.1)), np.zeros(4))
    assert reach.matches
    assert (reach.strengths(np.full(4, 0.1)) >= MATCHES).all()


# --- What a match needs


class Cosines:
    """A field whose Gaussians are given embeddings; `factor` moves all its cosines closer together."""

    encoder_name = "made up"

    def __init__(self, embeddings: torch.Tensor, factor: float = 1.0) -> None:
        self.features = embeddings
        self.factor = factor

    def remembered_similarities(self, vectors):
        return None

    def similarities(self, vectors):
        return self.factor * (self.features @ vectors.T)


def test_needed_margin_is_what_three_of_four_phrases_reach_among_each_other():
    cosines = torch.tensor(
        [  # of five Gaussians with four phrases
            [0.30, 0.20, 0.10, 0.10],
            [0.10, 0.20, 0.20, 0.18],
            [0.10, 0.26, 0.20, 0.10],
            [0.10, 0.10, 0.17, 0.20],
            [0.00, 0.00, 0.90, 0.00],  # transparent: does not count
        ]
    )
    opacities = np.array([1.0, 0.9, 0.8, 0.9, 0.3])
    phrases = torch.eye(4)
    queries = Queries(("mug",), torch.ones(1, 4), phrases, 10.0, vague_phrases=True)
    field = cast(LanguageField, Cosines(cosines))
    # Best of each phrase against the largest of the others: 0.30 − 0.20, 0.26 − 0.20, 0.20 − 0.20 and
    # 0.20 − 0.17. Sorted 0, 0.03, 0.06, 0.10; three quarters lie at 0.06 + 0.25 · 0.04.
    assert needed_margin(field, queries, opacities) == pytest.approx(0.07, abs=1e-6)
    queries.vague_phrases = False  # phrases that name things are rivals: to beat them is enough
    assert needed_margin(field, queries, opacities) == 0.0


def test_needed_margin_is_never_negative_and_needs_two_phrases():
    alike = cast(LanguageField, Cosines(torch.tensor([[0.2, 0.1, 0.2], [0.3, 0.3, 0.0]])))
    queries = Queries(("mug",), torch.ones(1, 3), torch.eye(3), 10.0, vague_phrases=True)
    assert needed_margin(alike, queries, np.ones(2)) == 0.0  # bests are 0, 0 and 0
    one = Queries(("mug",), torch.ones(1, 3), torch.eye(3)[:1], 10.0, vague_phrases=True)
    assert needed_margin(alike, one, np.ones(2)) == 0.0


# --- Things of an encoder whose cosines lie as CLIP's do


@dataclass(eq=False)
class World:
    """Names, canonical phrases and the Gaussians of the balls, as CLIP would have them.

    Names share a direction, and some of them, of one family, another one. Images share a direction that no
    text has, CLIP's gap between modalities. What an image has of its own name is little beside both.
    """

    names: np.ndarray  # [35, D], the things first
    phrases: np.ndarray  # [4, D]
    pictures: np.ndarray  # of the things, [5, D]
    gaussians: np.ndarray  # [N, D]
    common: np.ndarray  # what all texts share, [D]
    parts: dict[str, np.ndarray] = field(default_factory=dict)  # names of parts, and with their wholes

    temperature = 10.0
    name = "made up"
    negatives = ("object", "things", "stuff", "texture")
    same_meaning = 2.0
    dim = DIM
    image_size = 1
    crops = ()

    def encode_texts(self, texts: Sequence[str]) -> np.ndarray:
        known = dict(zip((*THINGS, *ABSENT, *self.negatives), [*self.names, *self.phrases], strict=True))
        known |= self.parts
        return np.stack([known[text] for text in texts]).astype(np.float32)

    def encode_images(self, crops: np.ndarray) -> np.ndarray:
        raise NotImplementedError

    def field(self, factor: float = 1.0) -> LanguageField:
        return cast(LanguageField, Cosines(torch.from_numpy(self.gaussians).float(), factor))

    def queries(self, *texts: str) -> Queries:
        return Queries.encode(texts, self, cast(Any, self.field()))


def unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def make_world(owner: np.ndarray, seed: int) -> World:
    rng = np.random.default_rng(seed)

    def directions(count: int, beside: np.ndarray | None = None) -> np.ndarray:
        vectors = rng.normal(size=(count, DIM))
        return unit(vectors if beside is None else vectors - np.outer(vectors @ beside, beside))

    common = directions(1)[0]
    family = np.concatenate([[1, 0, 0, 0, 0], rng.integers(0, FAMILIES, len(ABSENT))])
    families, single = directions(FAMILIES, common), directions(len(family), common)
    own = unit(np.sqrt(0.7) * families[family] + np.sqrt(0.3) * single)
    names = unit(np.sqrt(0.65) * common + np.sqrt(0.35) * own)
    phrases = unit(np.sqrt(0.8) * common + np.sqrt(0.2) * directions(4, common))
    look = 0.15 * directions(len(THINGS))
    pictures = 0.24 * common + 0.9 * directions(1, common) + 0.12 * own[: len(THINGS)] + look
    noise = 0.3 * directions(len(owner))
    return World(names, phrases, unit(pictures), unit(pictures[owner] + noise), common)


@pytest.fixture(scope="module")
def scene():
    return blobs.make_scene()


@pytest.fixture(scope="module")
def things(scene):
    return find_things(scene.gaussians, scene.items())


@pytest.fixture(scope="module")
def worlds(scene):
    return [make_world(scene.owner, seed) for seed in WORLDS]


def test_the_made_up_encoder_has_the_geometry_of_clip(worlds):
    for world in worlds:
        between = (world.names @ world.names.T)[np.triu_indices(len(world.names), 1)]
        assert 0.55 < between.min() < 0.7
        assert 0.85 < between.max() < 0.95
        to_names = world.pictures @ world.names[: len(THINGS)].T
        assert ((np.diag(to_names) > 0.18) & (np.diag(to_names) < 0.35)).all()
        assert (world.pictures @ world.pictures.T).min() > 0.8  # all images are alike
        assert (np.diag(to_names) - to_names.mean(axis=1)).max() < 0.1  # a name is little ahead of others


def owner_of(instance: Instance, owner: np.ndarray) -> int:
    return int(np.bincount(owner[instance.mask.numpy()]).argmax())


def listed_by_old_rule(relevancy: np.ndarray, owner: np.ndarray) -> int:
    """Things that a share of the best relevancy lists: all of at least 0.9 of it, if any reaches 0.5."""
    means = np.array([relevancy[owner == thing].mean() for thing in range(len(THINGS))])
    return int((means >= 0.9 * means.max()).sum()) if relevancy.max() >= 0.5 else 0


@pytest.fixture(scope="module")
def listed(scene, things, worlds) -> list[tuple[list[list[Instance]], list[int]]]:
    """For things, then absent ones, what is located, and how much the old rule would list; of every world."""
    rows = []
    for world in worlds:
        queries, field = world.queries(*THINGS, *ABSENT), world.field()
        located = locate_instances(scene.gaussians, field, queries, things)
        relevancy = queries.of_gaussians(field).numpy()
        assert relevancy.min() > 0.15
        assert relevancy.max() < 0.75
        rows.append((located, [listed_by_old_rule(column, scene.owner) for column in relevancy.T]))
    return rows


def test_few_are_listed_for_what_is_there(scene, listed):
    texts, count, old_count = 0, 0, 0
    for located, old in listed:
        for ball in range(1, len(THINGS)):  # they are of one family; the floor is of another
            assert owner_of(located[ball][0], scene.owner) == ball
            texts, count, old_count = texts + 1, count + len(located[ball]), old_count + old[ball]
    assert count <= 1.4 * texts
    assert old_count >= 2.5 * texts  # of 4 balls


def test_nothing_is_listed_for_most_of_what_is_not_there(listed):
    located = [rows for found, _ in listed for rows in found[len(THINGS) :]]
    old = [count for _, counts in listed for count in counts[len(THINGS) :]]
    assert sum(not rows for rows in located) >= 0.7 * len(located)
    assert old.count(0) <= 0.5 * len(old)
    assert sum(map(len, located)) <= 0.4 * sum(old)


# --- Parts


MUG, HANDLE = 1, 5  # of the floor, four balls, and the upper half of the first
NO_PARTS = (
    "screen",
    "lid",
    "cap",
    "spout",
    "legs",
    "wheels",
    "pages",
    "strings",
)  # words for parts that no ball has


def with_a_handle(scene: blobs.Scene, world: World) -> tuple[World, Things]:
    """The first ball is a mug whose upper half is its handle."""
    height = scene.gaussians.means[:, 2].numpy()
    ball = np.flatnonzero(scene.owner == MUG)
    half = ball[height[ball] >= np.median(height[ball])]
    members = [np.flatnonzero(scene.owner == thing) for thing in range(len(THINGS))] + [half]
    owners = np.repeat(np.arange(len(members)), list(map(len, members)))
    things = Things.build(np.concatenate(members), owners, [np.arange(12)] * len(members))
    things.parents[HANDLE] = MUG
    rng = np.random.default_rng(7)
    common = world.common
    own = {word: unit(rng.normal(size=DIM)) for word in ("handle", *NO_PARTS)}
    parts = {word: unit(np.sqrt(0.65) * common + np.sqrt(0.35) * mine) for word, mine in own.items()}
    parts |= {f"mug {word}": unit(world.names[MUG] + vector) for word, vector in parts.items()}
    gaussians = world.gaussians.copy()
    mug = unit(world.names[MUG] - np.sqrt(0.65) * world.common)
    gaussians[half] = unit(gaussians[half] + 0.15 * own["handle"])
    rest = np.setdiff1d(ball, half)
    gaussians[rest] = unit(gaussians[rest] + 0.15 * mug)
    return replace(world, gaussians=gaussians, parts=parts), things


@pytest.mark.parametrize("factor", [1.0, 0.25])
def test_a_part_that_is_there_answers_and_one_that_is_not_does_not(scene, worlds, factor):
    asked = ("mug handle", *(f"mug {word}" for word in NO_PARTS))
    wrong = []
    for bare in worlds:
        world, things = with_a_handle(scene, bare)
        field, queries = world.field(factor), world.queries(*asked)
        handle, *others = locate_instances(scene.gaussians, field, queries, things)
        assert [one.thing for one in handle] == [HANDLE]
        wrong += [bool(found) and found[0].thing == HANDLE for found in others]
    assert sum(wrong) <= 0.2 * len(wrong)  # the bar is rough, see `needed_margin`


# --- Scale


@pytest.mark.parametrize(("factor", "temperature"), [(0.1, 100.0), (3.0, 10 / 3), (1.0, 50.0), (0.25, 10.0)])
@pytest.mark.parametrize("vague", [True, False])
def test_neither_temperature_nor_spread_of_cosines_changes_a_decision(
    scene, things, worlds, factor, temperature, vague
):
    world = worlds[0]

    def decisions(factor: float, temperature: float) -> tuple[list, np.ndarray, list[bool]]:
        queries, field = world.queries(*THINGS, *ABSENT[:6]), world.field(factor)
        queries.temperature, queries.vague_phrases = temperature, vague
        located = locate_instances(scene.gaussians, field, queries, things)
        opacities = scene.gaussians.opacities.double().numpy()
        needed = needed_margin(field, queries, opacities)
        margins = queries.margins_of_gaussians(field).numpy().T
        reaches = [Reach.of(row, opacities, needed) for row in margins]
        strengths = np.stack([reach.strengths(row) for reach, row in zip(reaches, margins, strict=True)])
        return located, strengths, [reach.matches for reach in reaches]

    located, strengths, matches = decisions(1.0, world.temperature)
    located_too, strengths_too, matches_too = decisions(factor, temperature)
    assert True in matches
    if vague:
        assert False in matches
    assert matches_too == matches
    np.testing.assert_allclose(strengths_too, strengths, atol=2e-5)
    assert [len(rows) for rows in located_too] == [len(rows) for rows in located]
    for rows, rows_too in zip(located, located_too, strict=True):
        assert bool(rows) == bool(rows_too)
        for row, row_too in zip(rows, rows_too, strict=True):  # in the same order
            assert torch.equal(row.mask, row_too.mask)
            if factor * temperature == pytest.approx(world.temperature):  # Eq. 8 is the same, too
                assert row_too.score == pytest.approx(row.score, abs=1e-5)
