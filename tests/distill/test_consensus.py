"""Which masks of different photos are the same thing, and what they say together."""

import numpy as np
import pytest
import torch

from gags.distill.consensus import agreement, consensus, repeatability
from gags.distill.evidence import Evidence, merge, view_evidence

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
