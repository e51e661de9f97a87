"""Pieces: what photos cut out alike, wholes beside their parts, the best of those that do not go together."""

import numpy as np
import pytest

from gags.distill.evidence import Evidence, ViewEvidence, merge
from gags.things.clusters import clusters_of_masks, members_of_clusters
from gags.things.pieces import consistent, pieces_of_masks, repeatability
from gags.things.tree import Overlap

COUNT = 30
SCREEN, BASE, DESK = [*range(12)], [*range(12, 25)], [*range(25, COUNT)]  # base and laptop: an IoU of 0.52
LAPTOP = SCREEN + BASE


def evidence_of(photos: list[tuple[float | np.ndarray, list[list[int]]]]) -> Evidence:
    """Photos that see all Gaussians with a weight each, or weights [COUNT], and cut out some masks."""
    views = []
    for weight, masks in photos:
        rows = [*masks, [*range(COUNT)]]
        gaussians = np.concatenate([np.array(row) for row in rows]).astype(np.int32)
        numbers = np.repeat(np.arange(len(rows)), [len(row) for row in rows]).astype(np.int32)
        weights = np.broadcast_to(np.asarray(weight, np.float32), COUNT)[gaussians]
        views.append(ViewEvidence(gaussians, numbers, weights, len(masks)))
    return merge(views, COUNT)


@pytest.fixture(scope="module")
def laptop() -> Evidence:
    """Seven photos from near part the laptop into screen and base; five from afar take it as one thing."""
    return evidence_of([(100.0, [SCREEN, BASE, DESK])] * 7 + [(1.0, [LAPTOP, DESK])] * 5)


def sets(pieces: list[np.ndarray]) -> list[list[int]]:
    return sorted(piece.tolist() for piece in pieces)


def test_a_whole_that_some_photos_cut_out_is_a_piece_beside_its_largest_part(laptop):
    assert sets(pieces_of_masks(laptop)) == [SCREEN, LAPTOP, BASE, DESK]


def test_clusters_that_share_masks_are_never_equal():
    """Twelve photos see a laptop, eight of them its lid and base apart; a base is 0.64 of a laptop."""
    base, lid = [*range(9, 25)], [*range(9)]
    evidence = evidence_of([(1.0, [base, lid])] * 8 + [(1.0, [LAPTOP])] * 2 + [(1.0, [LAPTOP, lid])] * 2)
    apart = clusters_of_masks(evidence)
    assert len(np.concatenate(apart)) == len(np.unique(np.concatenate(apart)))
    assert [len(masks) for masks in apart] == [12, 10]
    shared = clusters_of_masks(evidence, shared=True)
    # Bases and laptops once, though a laptop is left, too.
    assert [len(masks) for masks in shared] == [12, 10]
    assert sorted(shared[0].tolist()) == sorted(apart[0].tolist())


def test_whole_and_part_are_pieces_though_a_mask_agrees_with_those_of_both():
    """Three photos look along the screen: there the laptop is hardly more than its base."""
    along = np.where(np.arange(COUNT) < len(SCREEN), 0.3, 1.0)
    photos = [(1.0, [SCREEN, BASE])] * 8 + [(1.0, [LAPTOP])] * 9 + [(along, [LAPTOP])] * 3
    evidence = evidence_of(photos)
    assert [len(masks) for masks in clusters_of_masks(evidence)] == [20, 8]  # all but the screens are one
    assert sets(pieces_of_masks(evidence)) == [SCREEN, LAPTOP, BASE]


def test_a_mask_of_two_clusters_counts_for_both():
    evidence = evidence_of([(1.0, [SCREEN, BASE])] * 3)
    rows, owners = members_of_clusters(
        evidence, [np.array([0, 2, 4]), np.array([1, 3, 5]), np.array([0, 2, 5])]
    )
    found = [rows[owners == cluster].tolist() for cluster in range(3)]
    # Two photos say "screen" and one "base": what the screens hold is most of it in their photos.
    assert found == [SCREEN, BASE, SCREEN]


def test_what_hardly_any_photo_cuts_out_is_no_piece():
    seldom = evidence_of([(1.0, [])] * 37 + [(1.0, [LAPTOP])] * 3)
    assert pieces_of_masks(seldom) == []
    assert pieces_of_masks(evidence_of([(1.0, [])] * 5)) == []


@pytest.mark.parametrize(
    ("piece", "near", "far", "cut_out"),
    [(BASE, 1, 13 / 25, 12), (LAPTOP, 13 / 25, 1, 12), (SCREEN, 1, 12 / 25, 7)],
)
def test_repeatability_is_the_mean_of_the_best_mask_of_each_photo(laptop, piece, near, far, cut_out):
    alike = evidence_of([(1.0, [SCREEN, BASE, DESK])] * 7 + [(1.0, [LAPTOP, DESK])] * 5)
    overlap = Overlap.of(alike, np.array(piece))
    expected = (7 * near + 5 * far) / 12 * cut_out / (cut_out + 3)
    assert repeatability(overlap, alike, alike.sizes()) == pytest.approx(expected)
    # Photos that see 1 % of what the nearest one sees do not count.
    overlap = Overlap.of(laptop, np.array(piece))
    assert repeatability(overlap, laptop, laptop.sizes()) == pytest.approx(near * 7 / (7 + 3))


def test_what_no_photo_sees_is_not_repeated(laptop):
    unseen = Overlap(np.zeros(0, np.int64), np.zeros(0), np.zeros(12))
    assert repeatability(unseen, laptop, laptop.sizes()) == 0


@pytest.mark.parametrize(
    ("first", "second", "stays"),
    [
        (range(100), range(100, 200), True),  # beside each other
        (range(100), range(80, 180), True),  # masks bled a little
        (range(100), range(60, 160), False),  # a part of both
        (range(100), range(30, 130), False),  # most of both, but neither holds the other
        (range(130), range(70, 170), True),  # most of the second lies in the first, which is larger
        (range(100), range(110), False),  # about the same
        (range(100), range(50), True),
        (range(100), [], False),
    ],
)
def test_of_two_pieces_that_are_neither_nested_nor_apart_the_first_stays(first, second, stays):
    pieces = [np.array([*first]), np.array([*second], np.int64)]
    assert len(consistent(pieces, np.ones(200))) == 1 + stays


def test_a_piece_goes_only_if_what_it_is_compared_with_stays():
    left, middle, right = np.arange(100), np.arange(60, 160), np.arange(120, 220)
    for pieces, stay in (
        ([left, middle, right], [left, right]),  # the middle one is gone before the right one is looked at
        ([middle, left, right], [middle]),
        ([right, left, middle], [right, left]),
    ):
        found = consistent(pieces, np.ones(220))
        assert [piece.tolist() for piece in found] == [piece.tolist() for piece in stay]


def test_shares_go_by_weight():
    weights = np.ones(160)
    weights[60:100] = 0.1  # what both hold counts little
    assert len(consistent([np.arange(100), np.arange(60, 160)], weights)) == 2


def test_what_is_cut_out_from_afar_belongs_to_its_cluster_only_where_that_is_enough(laptop):
    laptops = [np.array([21, 23, 25, 27, 29])]  # of five photos that hold 1 % of the weight each
    assert members_of_clusters(laptop, laptops)[0].tolist() == []
    assert members_of_clusters(laptop, laptops, from_afar=True)[0].tolist() == LAPTOP


def test_small_things_that_few_photos_are_near_enough_for_are_pieces():
    """Of 120 photos ten are near a mug, and these alone cut it out; from the others it is a few pixels."""
    evidence = evidence_of([(100.0, [SCREEN])] * 10 + [(1.0, [])] * 110)
    assert sets(pieces_of_masks(evidence)) == [SCREEN]


def test_of_a_conflict_the_piece_stays_that_photos_repeat_best_though_fewer_cut_it_out():
    """Seven photos cut something out, each in another way; six always alike what shares half with it."""
    firm, vague = [*range(15)], [*range(8, 25)]
    cuts = [[x for x in vague if not 8 + 2 * i <= x < 11 + 2 * i] for i in range(7)]
    evidence = evidence_of([(1.0, [firm, cut]) for cut in cuts[:6]] + [(1.0, [cuts[6]]), (1.0, [])])
    clusters = clusters_of_masks(evidence, shared=True)
    assert [len(masks) for masks in clusters] == [7, 6]
    assert sets(pieces_of_masks(evidence)) == [firm]


def test_pieces_come_in_the_order_of_their_repeatability():
    evidence = evidence_of([(1.0, [SCREEN[:-1], BASE])] * 3 + [(1.0, [SCREEN, BASE])] * 5)
    assert [piece.tolist() for piece in pieces_of_masks(evidence)] == [BASE, SCREEN]


def test_gaussians_are_looked_up_block_by_block(laptop, monkeypatch):
    clusters = clusters_of_masks(laptop, shared=True)
    rows, owners = members_of_clusters(laptop, clusters)
    monkeypatch.setattr("gags.distill.entries.BLOCK_ENTRIES", 50)
    assert len(list(laptop.blocks())) > 5
    again = members_of_clusters(laptop, clusters)
    assert again[0].tolist() == rows.tolist()
    assert again[1].tolist() == owners.tolist()
