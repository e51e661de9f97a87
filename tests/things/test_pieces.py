"""Pieces: what photos cut out alike, wholes beside their parts, the best of those that do not go together."""

import numpy as np
import pytest

from gags.distill.evidence import Evidence, ViewEvidence, merge
from gags.things.clusters import clusters_of_masks, members_of_clusters
from gags.things.pieces import _consistent, pieces_of_masks, repeatability
from gags.things.tree import Overlap

COUNT = 30
SCREEN, BASE, DESK = [*range(12)], [*range(12, 25)], [*range(25, COUNT)]  # base and laptop: an IoU of 0.52
LAPTOP = SCREEN + BASE


def evidence_of(photos: list[tuple[float, list[list[int]]]]) -> Evidence:
    """Photos that all see all Gaussians, each with a weight of its own, and cut out some masks."""
    views = []
    for weight, masks in photos:
        rows = [*masks, [*range(COUNT)]]
        gaussians = np.concatenate([np.array(row) for row in rows]).astype(np.int32)
        numbers = np.repeat(np.arange(len(rows)), [len(row) for row in rows]).astype(np.int32)
        views.append(
            ViewEvidence(gaussians, numbers, np.full(len(gaussians), weight, np.float32), len(masks))
        )
    return merge(views, COUNT)


@pytest.fixture(scope="module")
def laptop() -> Evidence:
    """Seven photos from near part the laptop into screen and base; five from afar take it as one thing."""
    return evidence_of([(100.0, [SCREEN, BASE, DESK])] * 7 + [(1.0, [LAPTOP, DESK])] * 5)


def sets(pieces: list[np.ndarray]) -> list[list[int]]:
    return sorted(piece.tolist() for piece in pieces)


def test_a_whole_that_some_photos_cut_out_is_a_piece_beside_its_largest_part(laptop):
    assert sets(pieces_of_masks(laptop)) == [SCREEN, LAPTOP, BASE, DESK]


def test_clusters_that_share_masks_leave_the_whole_to_itself():
    """A base of 0.64 of the laptop, which photos from all sides cut out, and two a laptop."""
    base = [*range(9, 25)]
    evidence = evidence_of([(1.0, [base])] * 9 + [(1.0, [LAPTOP])] * 3)
    apart = clusters_of_masks(evidence)
    assert [sorted(masks.tolist()) for masks in apart] == [[*range(12)]]
    shared = clusters_of_masks(evidence, shared=True)
    assert [sorted(masks.tolist()) for masks in shared] == [[*range(12)]] * 2
    assert sorted(masks[-1] // 9 for masks in shared) == [0, 1]  # around a base, and around a laptop


def test_a_mask_of_two_clusters_counts_for_both():
    evidence = evidence_of([(1.0, [SCREEN, BASE])] * 3)
    rows, owners = members_of_clusters(
        evidence, [np.array([0, 2, 4]), np.array([1, 3, 5]), np.array([0, 2, 5])]
    )
    found = [rows[owners == cluster].tolist() for cluster in range(3)]
    # Two photos say "screen" and one "base": what the screens hold is most of it in their photos.
    assert found == [SCREEN, BASE, SCREEN]


def test_what_hardly_any_photo_cuts_out_is_no_piece():
    seldom = evidence_of([(1.0, [])] * 37 + [(100.0, [LAPTOP])] * 3)
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
    ("common", "kept"),
    [
        (0, [1, 0]),  # beside each other
        (20, [1, 0]),  # masks bled a little
        (40, [1]),  # a part of both: only the better one stays
        (60, [1, 0]),  # the smaller one lies in the larger one
        (95, [1]),  # about the same
    ],
)
def test_of_pieces_that_are_neither_nested_nor_apart_the_better_one_stays(common, kept):
    shared = np.array([[110.0, common], [common, 100.0]])
    assert _consistent(shared, np.array([0.5, 0.9])) == kept


def test_a_worse_piece_goes_only_if_the_better_one_stays():
    """The middle one of three shares a part with both others; it is the worst, or else the best."""
    shared = np.array([[100.0, 40, 0], [40, 100, 40], [0, 40, 100]])
    assert _consistent(shared, np.array([0.8, 0.5, 0.7])) == [0, 2]
    assert _consistent(shared, np.array([0.5, 0.8, 0.7])) == [1]
    # The best one takes the middle one out, so that this cannot take out the third.
    assert _consistent(shared, np.array([0.9, 0.8, 0.7])) == [0, 2]
