"""The hierarchy: what holds what, what masks hold together, what is left over."""

import numpy as np
import pytest

from gags.distill.evidence import Evidence, ViewEvidence, merge
from gags.things.tree import LEFTOVER, Overlap, grow, shared_sizes, together

PHOTOS = 4


def evidence_of(count: int, *masks: list[int]) -> Evidence:
    """Four photos with the same masks, each a list of Gaussians of which every one has a weight of 100."""
    rows = [np.array(mask) for mask in masks] + [np.arange(count)]
    gaussians = np.concatenate(rows).astype(np.int32)
    numbers = np.repeat(np.arange(len(rows)), [len(row) for row in rows]).astype(np.int32)
    weights = np.full(len(gaussians), 100, np.float32)
    return merge([ViewEvidence(gaussians, numbers, weights, len(masks))] * PHOTOS, count)


def in_a_row(count: int) -> np.ndarray:
    """Centres a tenth apart."""
    return np.stack([np.arange(count) / 10, np.zeros(count), np.zeros(count)], axis=1)


def grown(count: int, pieces: list[list[int]], *masks: list[int], means: np.ndarray | None = None):
    evidence = evidence_of(count, *masks)
    means = in_a_row(count) if means is None else means
    return grow(evidence, [np.array(piece) for piece in pieces], means, np.ones(count))


def test_a_piece_lies_in_the_smallest_that_holds_most_of_it():
    tree = grown(20, [[*range(20)], [*range(10)], [0, 1, 2], [9, 10, 11, 12]], [0])
    assert tree.parents == [-1, 0, 1, 0]


def test_of_pieces_that_are_nearly_the_same_the_first_stays():
    tree = grown(20, [[*range(10)], [*range(9)], [*range(5)]], [0])
    assert tree.parents == [-1, 0]
    assert set(range(10)) <= set(tree.members[0].tolist())


def test_pieces_that_masks_hold_together_get_a_common_parent():
    left, right, other = [*range(6)], [*range(6, 12)], [*range(12, 18)]
    tree = grown(18, [left, right, other], left, right, left + right, other)
    assert len(tree.members) == 4
    assert tree.parents == [3, 3, -1, -1]
    assert tree.members[3].tolist() == left + right


def test_pieces_apart_are_not_united_whatever_the_masks_say():
    left, right = [*range(30)], [*range(30, 60)]
    assert grown(60, [left, right], left, right, left + right).parents == [2, 2, -1]
    means = in_a_row(60)
    means[30:, 0] += 10
    tree = grown(60, [left, right], left, right, left + right, means=means)
    assert tree.parents == [-1, -1]


def test_a_scrap_is_taken_in_by_its_neighbour():
    large, scrap = [*range(20)], [20, 21]
    tree = grown(22, [large, scrap], large, scrap, large + scrap)
    assert tree.parents == [-1, 0]
    assert tree.members[0].tolist() == [*range(22)]


def test_what_no_mask_was_sure_of_goes_to_what_is_around_it_and_what_that_lies_in():
    left, right, gap = [*range(6)], [*range(8, 14)], [6, 7]
    tree = grown(14, [left, right, [0, 1, 2]], left, right, left + gap + right)
    held = np.concatenate(tree.members)
    assert set(gap) <= set(held.tolist())
    for node, parent in enumerate(tree.parents):
        if parent >= 0:
            inside = np.isin(tree.members[node], tree.members[parent])
            assert inside.all()


DENSE = 3000  # Gaussians in a row, about 18 in a voxel


def test_what_lies_between_two_nodes_goes_to_the_nearer_one():
    """A pole that no mask cuts out, between foot and shade, voxels away from both."""
    tree = grown(DENSE, [[*range(1500)], [*range(1600, DENSE)]], [0])
    assert set(range(1535)) <= set(tree.members[0].tolist())
    assert set(range(1565, DENSE)) <= set(tree.members[1].tolist())
    assert sorted(np.concatenate(tree.members).tolist()) == [*range(DENSE)]


def test_what_lies_far_from_all_nodes_is_a_node_of_its_own():
    tree = grown(DENSE, [[*range(1500)]], [0])
    near, far = tree.members
    assert 1500 + 3 * 17 <= len(near) <= 1500 + 5 * 19
    assert sorted([*near, *far]) == [*range(DENSE)]
    assert tree.parents == [-1, -1]


def test_specks_make_no_node():
    means = in_a_row(DENSE)
    means[-LEFTOVER + 1 :, 1] = 100
    assert len(grown(DENSE, [[*range(DENSE - 100)]], [0], means=means).members) == 1


def test_what_no_photo_sees_beside_a_node_stays_free():
    seen = np.arange(1520)
    one = ViewEvidence(seen.astype(np.int32), np.zeros(1520, np.int32), np.full(1520, 100, np.float32), 0)
    evidence = merge([one] * PHOTOS, DENSE)
    tree = grow(evidence, [np.arange(1500)], in_a_row(DENSE), np.ones(DENSE))
    assert tree.members[0].max() < 1520 + 18  # the rest of a voxel that the node holds a part of


def test_togetherness_is_the_mean_over_photos_of_the_best_mask():
    left, right = [*range(4)], [*range(4, 8)]
    # Of the mask's 8 Gaussians 6 are theirs; it holds all of the one and half of the other.
    evidence = evidence_of(12, left + right[:2] + [8, 9])
    sizes = evidence.sizes()
    one, two = (Overlap.of(evidence, np.array(rows)) for rows in (left, right))
    assert together(one, two, evidence, sizes) == pytest.approx(0.5 * 6 / 8)
    apart = Overlap.of(evidence, np.array([10, 11]))
    assert together(one, apart, evidence, sizes) == 0


def test_sizes_in_common():
    rng = np.random.default_rng(0)
    nodes = [rng.choice(100, size, replace=False) for size in (5, 40, 80)]
    weights = rng.random(100)
    expected = [[weights[np.intersect1d(a, b)].sum() for b in nodes] for a in nodes]
    np.testing.assert_allclose(shared_sizes(nodes, weights), expected)
    assert shared_sizes([], weights).shape == (0, 0)


def test_weight_that_photos_see_counts_no_mask_twice():
    evidence = evidence_of(3, [0], [0, 1])
    assert evidence.seen().tolist() == [400, 400, 400]


def test_an_overlap_keeps_no_more_than_it_says():
    evidence = evidence_of(30, *([one] for one in range(30)))
    overlap = Overlap.of(evidence, np.arange(3))
    assert overlap.masks.tolist() == [photo * 30 + mask for photo in range(PHOTOS) for mask in range(3)]
    assert overlap.shared.tolist() == [100.0] * 12
    assert overlap.photos.tolist() == [300.0] * PHOTOS
    # Memory of none of the arrays goes with the number of all masks.
    kept = [array if array.base is None else array.base for array in vars(overlap).values()]
    assert max(len(array) for array in kept) == 12
