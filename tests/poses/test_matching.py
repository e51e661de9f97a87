"""Which photos are compared."""

import cv2
import numpy as np
import pytest

from gags.poses.matching import (
    chosen_matching,
    exhaustive_pairs,
    nearest_pairs,
    photo_pairs,
    sequential_pairs,
    signatures,
)
from gags.poses.settings import PoseSettings


@pytest.mark.parametrize(
    ("settings", "count", "video", "chosen"),
    [
        (PoseSettings(), 70, False, "exhaustive"),
        (PoseSettings(), 200, False, "exhaustive"),
        (PoseSettings(), 201, False, "nearest"),
        (PoseSettings(), 12, True, "sequential"),
        (PoseSettings(exhaustive_up_to=5), 6, False, "nearest"),
        (PoseSettings(matching="exhaustive"), 5000, True, "exhaustive"),
    ],
)
def test_matching_fits_the_input(settings, count, video, chosen):
    assert chosen_matching(settings, count, video=video) == chosen


def test_all_pairs():
    assert exhaustive_pairs(4) == {(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)}
    assert len(exhaustive_pairs(70)) == 70 * 69 // 2
    assert exhaustive_pairs(1) == set()


def test_neighbours_in_order_and_powers_of_two():
    assert sequential_pairs(6, 1) == {(0, 1), (1, 2), (2, 3), (3, 4), (4, 5), (0, 2), (1, 3), (2, 4), (3, 5)}
    assert sequential_pairs(3, 0) == set()
    steps = {j - i for i, j in sequential_pairs(100, 3)}
    assert steps == {1, 2, 3, 4, 8}


def test_nearest_pairs_follow_the_likeness():
    angles = np.radians([0, 1, 90, 92, 180])
    rows = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    assert nearest_pairs(rows, 1) == {(0, 1), (2, 3), (3, 4)}
    assert nearest_pairs(rows, 99) == exhaustive_pairs(5)


def test_signatures_tell_places_apart():
    """Photos 0, 2, 4 hold features of one place, 1 and 3 of another; each in another order, with noise."""
    rng = np.random.default_rng(3)
    places = rng.integers(0, 200, (2, 120, 16))
    photos = [
        np.clip(rng.permutation(places[row % 2]) + rng.integers(-9, 10, (120, 16)), 0, 255).astype(np.uint8)
        for row in range(5)
    ]
    rows = signatures(photos)
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)
    likeness = rows @ rows.T
    same = np.equal.outer(np.arange(5) % 2, np.arange(5) % 2)
    assert likeness[same].min() > likeness[~same].max() + 0.2
    np.testing.assert_array_equal(rows, signatures(photos))
    assert (signatures([*photos, np.zeros((0, 16), np.uint8)])[-1] == 0).all()


def test_signatures_do_not_depend_on_opencvs_random_state():
    photos = list(np.random.default_rng(4).integers(0, 255, (3, 50, 8)).astype(np.uint8))
    rows = []
    for seed in (1, 2):
        cv2.setRNGSeed(seed)
        rows.append(signatures(photos))
    np.testing.assert_array_equal(rows[0], rows[1])
    assert not np.array_equal(rows[0], signatures(photos, seed=1))


def test_signatures_of_fewer_descriptors_than_clusters():
    """Each descriptor is a centre of its own, so that no photo differs from any."""
    photos = list(np.random.default_rng(5).integers(0, 255, (3, 2, 4)).astype(np.uint8))
    np.testing.assert_array_equal(signatures(photos), np.zeros((3, 6 * 4), np.float32))
    np.testing.assert_array_equal(signatures([np.zeros((0, 4), np.uint8)] * 2), np.zeros((2, 4)))


def test_photo_pairs_join_order_and_likeness():
    rng = np.random.default_rng(0)
    kinds = rng.integers(0, 255, (2, 60, 8)).astype(np.uint8)
    photos = [kinds[0], kinds[1], kinds[1], kinds[1], kinds[0]]
    settings = PoseSettings(overlap=1, neighbours=1)
    pairs = photo_pairs("nearest", photos, settings)
    assert (0, 4) in pairs  # far apart in order, alike
    assert set(sequential_pairs(5, 1)) <= set(pairs)
    assert (1, 4) not in pairs
    assert pairs == sorted(set(pairs))
    assert photo_pairs("exhaustive", [], settings, known=3) == [(0, 1), (0, 2), (1, 2)]
    # A video with few neighbours by likeness: a fifth of 1 is none.
    assert photo_pairs("sequential", photos, settings) == sorted(sequential_pairs(5, 1))


@pytest.mark.parametrize(
    "wrong",
    [{"overlap": -1}, {"neighbours": -2}, {"frames": 2}, {"least_share": 1.5}, {"max_size": 0}],
)
def test_settings_that_make_no_sense_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        PoseSettings(**wrong)
