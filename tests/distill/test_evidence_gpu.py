"""Evidence, uplift and consensus as a GPU computes them, on the CPU: beside the kernels and beside sets."""

import numpy as np
import pytest
import torch
from tests.helpers.blobs import make_scene
from tests.helpers.pretend_gpu import marked, pretend_gpu

from gags.distill import consensus as by_kernels
from gags.distill import evidence_gpu
from gags.distill.evidence import Evidence, gather_evidence, merge, uplift, view_evidence
from gags.distill.evidence_gpu import DeviceEvidence, merge_views, segment_sums, view_entries

GAUSSIANS, VIEWS, PIXELS = 150, 5, 400


def pictures(seed: int = 0) -> list[tuple[torch.Tensor, torch.Tensor, np.ndarray, int]]:
    """Pixels of photos: neighbouring Gaussians, weights, labels that follow the Gaussians, mask counts."""
    rng = np.random.default_rng(seed)
    made = []
    for view in range(VIEWS):
        nearest = rng.integers(0, GAUSSIANS * (view + 5) // (VIEWS + 5), PIXELS)
        indices = np.clip(nearest[:, None] + rng.integers(-3, 4, (PIXELS, 4)), -1, GAUSSIANS - 1)
        weights = rng.uniform(0, 0.4, (PIXELS, 4)).astype(np.float32)
        weights[rng.random(weights.shape) < 0.2] = 0.009  # tells nothing
        sizes = np.array([10, 25, 60])
        firsts = np.cumsum([0, *(-(-GAUSSIANS // sizes))])
        labels = nearest[:, None] // sizes + firsts[:3]
        labels[rng.random(labels.shape) < 0.1] = -1
        made.append((torch.from_numpy(indices), torch.from_numpy(weights), labels, int(firsts[-1])))
    return made


@pytest.fixture(scope="module")
def both() -> tuple[Evidence, DeviceEvidence]:
    """The same evidence by the kernels and by PyTorch."""
    views = [view_evidence(*picture) for picture in pictures()]
    there = [view_entries(i, w, torch.from_numpy(labels), m) for i, w, labels, m in pictures()]
    merged = merge(views, GAUSSIANS)
    assert isinstance(merged, Evidence)
    return merged, merge_views(there, GAUSSIANS)


def dense(evidence: Evidence) -> np.ndarray:
    matrix = np.zeros((len(evidence.starts) - 1, len(evidence.view_of)))
    rows = np.repeat(np.arange(len(matrix)), np.diff(evidence.starts))
    matrix[rows, evidence.columns] = evidence.weights
    return matrix


def test_entries_are_those_of_the_kernels(both):
    here, there = both[0], Evidence(*both[1].arrays())
    assert (there.mask_count, there.view_count) == (here.mask_count, here.view_count)
    for name in ("starts", "columns", "weights", "view_of"):
        mine, other = getattr(there, name), getattr(here, name)
        assert mine.dtype == other.dtype
        assert mine.shape == other.shape
    np.testing.assert_array_equal(there.starts, here.starts)
    np.testing.assert_array_equal(there.view_of, here.view_of)
    np.testing.assert_allclose(dense(there), dense(here), rtol=1e-5)


def test_segment_sums():
    values, counts = torch.tensor([1.0, 2, 3, 4, 5, 6]), torch.tensor([1, 3, 2])
    assert segment_sums(values, counts).tolist() == [1, 9, 11]
    assert segment_sums(values[:0], counts[:0]).tolist() == []


def test_uplift_is_that_of_the_kernels(both):
    rng = torch.Generator().manual_seed(1)
    values = torch.randn(both[0].mask_count, 7, generator=rng)
    counts = (torch.rand(both[0].mask_count, generator=rng) > 0.3).float()
    torch.testing.assert_close(uplift(both[1], values, counts), uplift(both[0], values, counts))


@pytest.mark.parametrize("landmarks", [GAUSSIANS, 60])
def test_overlaps_are_those_of_the_kernels(both, landmarks):
    shares = evidence_gpu.Shares.of(both[1], landmarks)
    for view in range(VIEWS):
        agreed = by_kernels.agreement(both[0], view, landmarks)
        overlaps, _ = shares.overlaps(view)
        whole = overlaps[:, both[0].mask_count :]
        share = (whole / whole[:, [view]].clamp(min=1e-6)).clamp(max=1)
        share[:, view] = 0
        np.testing.assert_allclose(share, agreed.visible_share, atol=1e-5)


@pytest.mark.parametrize("landmarks", [GAUSSIANS, 60])
def test_consensus_is_that_of_the_kernels(both, monkeypatch, landmarks):
    monkeypatch.setattr(by_kernels, "LANDMARKS", landmarks)
    monkeypatch.setattr(by_kernels.on_landmarks, "__defaults__", (landmarks,))
    embeddings = torch.nn.functional.normalize(
        torch.randn(both[0].mask_count, 12, generator=torch.Generator().manual_seed(2)), dim=-1
    )
    expected = by_kernels.consensus(both[0], embeddings)
    found = by_kernels.consensus(both[1], embeddings)
    torch.testing.assert_close(found.embeddings, expected.embeddings, rtol=0, atol=1e-4)
    torch.testing.assert_close(found.repeatability, expected.repeatability, rtol=0, atol=1e-5)
    assert (found.embeddings - embeddings).abs().max() > 0.1  # masks of several photos took part
    assert (expected.repeatability > 0.2).sum() > 50


def test_a_photo_without_masks_takes_no_part():
    indices, weights, labels, count = pictures()[0]
    nothing = (indices, weights, np.full_like(labels, -1), 0)
    views = [
        view_entries(i, w, torch.from_numpy(ls), m)
        for i, w, ls, m in (nothing, (indices, weights, labels, count))
    ]
    evidence = merge_views(views, GAUSSIANS)
    found = by_kernels.consensus(evidence, torch.eye(count))
    torch.testing.assert_close(found.embeddings, torch.eye(count))
    assert not found.repeatability.any()


def test_on_a_gpu_nothing_comes_back_before_it_is_done():
    """Per photo, the CPU waits for lengths alone; things get the evidence as arrays at the end."""
    scene = make_scene(3)
    items = scene.items()
    plain, levels = gather_evidence(scene.gaussians, items, stage="")
    with pretend_gpu() as work:
        there = scene.gaussians.to("cuda")
        work.clear()
        found, found_levels = gather_evidence(there, items, stage="")
        copied = {what: count for what, count in work.waits.items() if what.startswith(("cpu", "sends"))}
        assert sum(copied.values()) == 3, copied  # the three arrays at the end
        assert marked(there.means)
    np.testing.assert_array_equal(found_levels, levels)
    np.testing.assert_allclose(dense(found), dense(plain), rtol=1e-5)
