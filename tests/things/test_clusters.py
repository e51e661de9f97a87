"""Which masks are one thing: pairs of them are as many in a file as in memory, and then take none of it."""

import tracemalloc

import numpy as np
import pytest

from gags.distill.evidence import Evidence, Gathered, ViewEvidence
from gags.things.clusters import clusters_of_masks, similar_masks

THINGS, PHOTOS, EACH = 20, 40, 6


@pytest.fixture(scope="module")
def evidence() -> Evidence:
    """Photos that all see the same things, each of a few Gaussians, and cut all of them out alike."""
    gathered, rows = Gathered(THINGS * EACH), np.repeat(np.arange(THINGS * EACH, dtype=np.int32), 2)
    masks = np.stack([np.arange(THINGS * EACH) // EACH, np.full(THINGS * EACH, THINGS)], axis=1)
    for _ in range(PHOTOS):
        view = ViewEvidence(rows, masks.reshape(-1).astype(np.int32), np.ones(len(rows), np.float32), THINGS)
        gathered.add(view)
    merged = gathered.merged()
    assert isinstance(merged, Evidence)
    return merged


def test_a_mask_is_similar_to_those_of_the_same_thing_in_all_other_photos(evidence):
    similar = similar_masks(evidence)
    assert len(similar) == THINGS * PHOTOS
    assert not similar.in_file
    for mask, (others, ious) in enumerate(similar):
        same = np.arange(mask % THINGS, THINGS * PHOTOS, THINGS)
        np.testing.assert_array_equal(others, same[same != mask])
        np.testing.assert_allclose(ious, 1)


def test_pairs_in_a_file_make_the_same_clusters_and_take_no_memory(evidence, monkeypatch, tmp_path):
    in_memory = similar_masks(evidence)
    clusters = clusters_of_masks(evidence)
    assert [sorted(masks % THINGS) for masks in clusters] == [[thing] * PHOTOS for thing in range(THINGS)]
    monkeypatch.setattr("gags.files.rows.available_bytes", lambda: 0)
    tracemalloc.start()
    similar = similar_masks(evidence, folder=tmp_path)
    kept = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    pairs = THINGS * PHOTOS * (PHOTOS - 1)
    assert similar.in_file
    assert kept < 8 * pairs / 2  # half of what the pairs alone take
    for one, other in zip(similar, in_memory, strict=True):
        np.testing.assert_array_equal(one[0], other[0])
        np.testing.assert_array_equal(one[1], other[1])
    similar.release()
    for one, other in zip(clusters, clusters_of_masks(evidence, tmp_path), strict=True):
        np.testing.assert_array_equal(one, other)
