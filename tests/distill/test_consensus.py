"""Which masks of different photos are the same thing, and what they say together."""

import numpy as np
import pytest
import torch

import gags.distill.consensus as consensus_module
from gags.distill.consensus import agreement, consensus, on_landmarks, photo_blocks, repeatability
from gags.distill.evidence import Evidence, merge, view_evidence
from gags.things.clusters import similar_masks

# Gaussians 0-9. The first photo sees 0-7, the second 2-9, the third 0-4; each Gaussian fills one pixel.
SEEN = (range(8), range(2, 10), range(5))
MASKS = (  # on one level, of each photo
    {0: range(4), 1: range(4, 8)},
    {0: range(2, 4), 1: range(4, 10)},
    {0: range(5)},
)


@pytest.fixture
def evidence() -> Evidence:
    views = []
    for seen, masks in zip(SEEN, MASKS, strict=True):
        labels = np.full((len(seen), 3), -1)
        for mask, members in masks.items():
            labels[[seen.index(g) for g in members], 1] = mask
        indices = torch.tensor(list(seen))[:, None]
        views.append(view_evidence(indices, torch.full(indices.shape, 0.5), labels, len(masks)))
    return merge(views, 10)


def expected_iou(first: tuple[int, int], second: tuple[int, int]) -> float:
    """IoU of two masks on what both photos see, with sets."""
    both = set(SEEN[first[0]]) & set(SEEN[second[0]])
    a, b = (set(MASKS[view][mask]) & both for view, mask in (first, second))
    return len(a & b) / len(a | b) if a | b else 0.0


def test_agreement_is_the_iou_on_what_both_photos_see(evidence):
    names = [(view, mask) for view, masks in enumerate(MASKS) for mask in masks]
    for view in range(3):
        found = agreement(evidence, view).iou
        rows = [name for name in names if name[0] == view]
        expected = [
            [expected_iou(row, column) if row[0] != column[0] else float(row == column) for column in names]
            for row in rows
        ]
        np.testing.assert_allclose(found, expected, atol=1e-6)


def test_agreeing_masks_take_each_others_mean(evidence):
    """Masks 0 and 2 agree fully, 1 and 3 as well; mask 4 agrees with 0 and 2 by 4/5 and 2/3."""
    vectors = torch.eye(5)
    means = consensus(evidence, vectors).embeddings
    weights = torch.tensor(
        [
            [1, 0, 1, 0, 0.8**2],
            [0, 1, 0, 1, 0],
            [1, 0, 1, 0, (2 / 3) ** 2],
            [0, 1, 0, 1, 0],
            [0.8**2, 0, (2 / 3) ** 2, 0, 1],
        ]
    )
    torch.testing.assert_close(means, torch.nn.functional.normalize(weights, dim=-1), atol=1e-5, rtol=0)


def test_repeatability_is_the_best_iou_of_other_photos_by_what_they_see(evidence):
    agreed = agreement(evidence, 0)
    np.testing.assert_allclose(agreed.visible_share, [[0, 2 / 4, 1], [0, 1, 1 / 4]], atol=1e-6)
    found = repeatability(agreed, evidence.view_of[: evidence.mask_count])
    # Mask 0 is 2-3 of the second photo to the letter, and 4 of the 5 Gaussians of the third; mask 1 is 4-7 of
    # the second photo, and 1 of the 5 of the third.
    expected = [(0.5 * 1 + 1 * 0.8) / 1.5, (1 * 1 + 0.25 * 0.2) / 1.25]
    np.testing.assert_allclose(found, expected, atol=1e-6)
    np.testing.assert_allclose(consensus(evidence, torch.eye(5)).repeatability[:2], expected, atol=1e-6)


def test_landmarks_thin_out_the_comparison(evidence):
    found = agreement(evidence, 0, landmarks=5).iou  # every second Gaussian: 0, 2, 4, 6, 8
    both = [g for g in range(0, 10, 2) if 2 <= g < 8]
    assert both == [2, 4, 6]
    np.testing.assert_allclose(found[0, 2], 1.0, atol=1e-6)
    np.testing.assert_allclose(found[1, 3], 1.0, atol=1e-6)
    np.testing.assert_allclose(found[0, 4], 2 / 3, atol=1e-6)  # {0, 2} and {0, 2, 4}


def many_photos() -> Evidence:
    """Thirteen photos of 400 Gaussians, of which each sees some, in up to five masks that overlap."""
    rng = np.random.default_rng(3)
    views = []
    while len(views) < 13:
        seen = np.sort(rng.choice(400, 150, replace=False))
        count = int(rng.integers(2, 6))
        labels = np.stack([(seen + shift) * count // 401 for shift in rng.integers(-40, 40, 3)], axis=1)
        labels = np.where(rng.random(labels.shape) < 0.8, labels.clip(0, count - 1), -1)
        weights = torch.from_numpy(rng.uniform(0.1, 1, (150, 1)))
        views.append(view_evidence(torch.from_numpy(seen)[:, None], weights, labels, count))
        if len(views) == 6:  # a photo in which nothing was found
            views.append(view_evidence(torch.arange(9)[:, None], torch.ones(9, 1), np.full((9, 3), -1), 0))
    return merge(views, 400)


def test_masks_are_compared_with_blocks_of_photos_as_with_all_at_once(monkeypatch):
    evidence = many_photos()
    vectors = torch.nn.functional.normalize(torch.randn(evidence.mask_count, 8), dim=1)
    at_once, similar = consensus(evidence, vectors), similar_masks(evidence, 0.3)
    whole = [agreement(evidence, view) for view in range(13)]
    monkeypatch.setattr(consensus_module, "MOST_PAIRS", 60)
    sizes = []
    compare = consensus_module.agreement

    def noted(*given, **named):
        found = compare(*given, **named)
        sizes.append(found.iou.size + found.visible_share.size)
        return found

    monkeypatch.setattr(consensus_module, "agreement", noted)
    in_blocks = consensus(evidence, vectors)
    assert len(sizes) > 3 * 13
    assert max(sizes) <= 60
    torch.testing.assert_close(in_blocks.embeddings, at_once.embeddings)
    torch.testing.assert_close(in_blocks.repeatability, at_once.repeatability)
    for view in range(13):
        parts = [compare(evidence, view, photos=block) for block in photo_blocks(evidence, view)]
        # Which other photos are in the evidence changes nothing: every number is the same.
        assert np.array_equal(np.concatenate([part.iou for part in parts], axis=1), whole[view].iou)
        shares = np.concatenate([part.visible_share for part in parts], axis=1)
        assert np.array_equal(shares, whole[view].visible_share)
    for one, other in zip(similar, similar_masks(evidence, 0.3), strict=True):
        assert np.array_equal(one[0], other[0])
        assert np.array_equal(one[1], other[1])


def test_landmarks_are_chosen_once():
    evidence = many_photos()
    few = on_landmarks(evidence, 100)
    assert len(few.starts) - 1 == 100
    assert on_landmarks(few, 100) is few
    assert np.array_equal(agreement(few, 4, 100).iou, agreement(evidence, 4, 100).iou)
