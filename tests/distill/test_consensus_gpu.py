"""Consensus as a GPU computes it, on the CPU: beside the kernels, in blocks of any size."""

import numpy as np
import pytest
import torch
from tests.distill.test_consensus import many_photos
from tests.distill.test_evidence_gpu import GAUSSIANS, VIEWS, pictures
from tests.helpers.pretend_gpu import marked, pretend_gpu
from torch.nn.functional import normalize

from gags.distill import consensus as by_kernels
from gags.distill import consensus_gpu
from gags.distill.consensus_gpu import Shares, photo_blocks
from gags.distill.evidence import Evidence, merge, view_evidence

HERE = torch.device("cpu")
BOUNDS = {"least_iou": by_kernels.CONSENSUS_IOU, "most_pairs": 1 << 24, "most_entries": 1 << 22}


@pytest.fixture(scope="module")
def evidence() -> Evidence:
    return merge([view_evidence(*picture) for picture in pictures()], GAUSSIANS)


def embeddings_of(evidence: Evidence) -> torch.Tensor:
    rng = torch.Generator().manual_seed(2)
    return normalize(torch.randn(evidence.mask_count, 12, generator=rng), dim=-1)


def test_overlaps_are_those_of_the_kernels(evidence):
    shares = Shares.of(evidence, range(VIEWS), HERE)
    for view in range(VIEWS):
        agreed = by_kernels.agreement(evidence, view)
        _, visible, best = consensus_gpu._compared(shares.of_photo(view), shares, view)
        np.testing.assert_allclose(visible, agreed.visible_share, atol=1e-5)
        others = np.arange(VIEWS) != view
        expected = by_kernels.best_of_photos(agreed, evidence.view_of[: evidence.mask_count])
        np.testing.assert_allclose(best[:, others], expected[:, others], atol=1e-5)


@pytest.mark.parametrize("landmarks", [GAUSSIANS, 60])
def test_consensus_is_that_of_the_kernels(evidence, monkeypatch, landmarks):
    monkeypatch.setattr(by_kernels.on_landmarks, "__defaults__", (landmarks,))
    monkeypatch.setattr(by_kernels.agreement, "__defaults__", (landmarks,))
    embeddings = embeddings_of(evidence)
    expected = by_kernels.consensus(evidence, embeddings)
    with pretend_gpu():
        there = by_kernels.consensus(evidence, embeddings.to("cuda"))
        assert marked(there.embeddings)
        found = by_kernels.Consensus(there.embeddings.cpu(), there.repeatability.cpu())
    torch.testing.assert_close(found.embeddings, expected.embeddings, rtol=0, atol=1e-4)
    torch.testing.assert_close(found.repeatability, expected.repeatability, rtol=0, atol=1e-5)
    assert (found.embeddings - embeddings).abs().max() > 0.1  # masks of several photos took part
    assert (expected.repeatability > 0.2).sum() > 50


def test_blocks_are_bounded_and_say_the_same(monkeypatch):
    evidence = many_photos()  # one of its photos has no mask
    embeddings = embeddings_of(evidence)
    expected = by_kernels.consensus(evidence, embeddings)
    found, entries, pairs = [], [], []
    shares_of, compared = Shares.of, consensus_gpu._compared

    def noted(*given):
        made = shares_of(*given)
        entries.append(len(made.values))
        return made

    def counted(dense, block, number):
        pairs.append((dense.shape[1] - 1) * block.transposed.shape[0])
        return compared(dense, block, number)

    monkeypatch.setattr(Shares, "of", staticmethod(noted))
    monkeypatch.setattr(consensus_gpu, "_compared", counted)
    for pairs_at_once, entries_at_once in ((1 << 24, 1 << 22), (60, 1 << 22), (1 << 24, 1500)):
        entries.clear()
        pairs.clear()
        bounds = BOUNDS | {"most_pairs": pairs_at_once, "most_entries": entries_at_once}
        found.append(consensus_gpu.consensus(evidence, embeddings, **bounds))
        assert max(pairs) <= pairs_at_once
        assert max(entries) <= entries_at_once
    assert len(entries) == 9  # three blocks, each with each
    for means, repeatability in found:
        torch.testing.assert_close(means, expected.embeddings, rtol=0, atol=1e-4)
        torch.testing.assert_close(repeatability, expected.repeatability, rtol=1e-4, atol=1e-5)


def test_where_memory_runs_out_blocks_are_half_as_large(evidence, monkeypatch):
    embeddings, tried, compute = embeddings_of(evidence), [], consensus_gpu.consensus
    expected = compute(evidence, embeddings, **BOUNDS)

    def small(*given, **bounds):
        tried.append((bounds["most_pairs"], bounds["most_entries"]))
        if bounds["most_entries"] > limit:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return compute(*given, **bounds)

    monkeypatch.setattr(consensus_gpu, "consensus", small)
    limit = 1 << 20
    with pretend_gpu():
        found = by_kernels.consensus(evidence, embeddings.to("cuda")).embeddings.cpu()
        torch.testing.assert_close(found, expected[0])
        assert tried == [(1 << 24, 1 << 22), (1 << 23, 1 << 21), (1 << 22, 1 << 20)]
        limit = 0
        tried.clear()
        with pytest.raises(torch.cuda.OutOfMemoryError):
            by_kernels.consensus(evidence, embeddings.to("cuda"))
        assert len(tried) == 7


def test_a_photo_that_is_too_large_has_a_block_of_its_own(evidence):
    assert photo_blocks(evidence, 1, 1) == [range(view, view + 1) for view in range(VIEWS)]
    assert photo_blocks(evidence, 1 << 24, 1 << 22) == [range(VIEWS)]


def test_a_photo_without_masks_takes_no_part():
    indices, weights, labels, count = pictures()[0]
    nothing = (indices, weights, np.full_like(labels, -1), 0)
    both = merge([view_evidence(*nothing), view_evidence(indices, weights, labels, count)], GAUSSIANS)
    means, repeatability = consensus_gpu.consensus(both, torch.eye(count), **BOUNDS)
    torch.testing.assert_close(means, torch.eye(count))
    assert not repeatability.any()


def test_no_masks_at_all():
    indices, weights, labels, _ = pictures()[0]
    nothing = merge([view_evidence(indices, weights, np.full_like(labels, -1), 0)], GAUSSIANS)
    means, repeatability = consensus_gpu.consensus(nothing, torch.zeros(0, 12), **BOUNDS)
    assert (means.shape, repeatability.shape) == ((0, 12), (0,))
