"""Evidence and uplift as a GPU computes them, on the CPU: beside the kernels."""

import numpy as np
import pytest
import torch
from tests.helpers.blobs import make_scene
from tests.helpers.pretend_gpu import marked, pretend_gpu

from gags.distill import evidence as evidence_module
from gags.distill.evidence import Evidence, gather_evidence, merge, uplift, view_evidence
from gags.distill.evidence_gpu import segment_sums

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


def merged_from_a_gpu() -> Evidence:
    """Evidence of entries that lay on a GPU, which is not there."""
    with pretend_gpu():
        there = [(i.to("cuda"), w.to("cuda"), labels, m) for i, w, labels, m in pictures()]
        return merge([view_evidence(*picture) for picture in there], GAUSSIANS)


@pytest.fixture(scope="module")
def both() -> tuple[Evidence, Evidence]:
    """The same evidence by the kernels and by PyTorch."""
    return merge([view_evidence(*picture) for picture in pictures()], GAUSSIANS), merged_from_a_gpu()


def dense(evidence: Evidence) -> np.ndarray:
    matrix = np.zeros((len(evidence.starts) - 1, len(evidence.view_of)))
    rows = np.repeat(np.arange(len(matrix)), np.diff(evidence.starts))
    matrix[rows, evidence.columns] = evidence.weights
    return matrix


def test_entries_are_those_of_the_kernels(both):
    here, there = both
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


def test_uplift_is_that_of_a_cpu(both, monkeypatch):
    rng = torch.Generator().manual_seed(1)
    values = torch.randn(both[0].mask_count, 7, generator=rng)
    counts = (torch.rand(both[0].mask_count, generator=rng) > 0.3).float()
    expected = uplift(both[0], values, counts)
    monkeypatch.setattr(evidence_module, "UPLIFTED_ENTRIES", 500)
    with pretend_gpu() as work:
        given = values.to("cuda"), counts.to("cuda")
        work.clear()
        found = uplift(both[1], *given)
        assert marked(found)
        assert not work.waits, work.waits
        found = found.cpu()
    torch.testing.assert_close(found, expected)


def test_entries_of_a_photo_come_back_once_and_a_gpu_keeps_none():
    scene = make_scene(3)
    items = scene.items()
    plain, levels = gather_evidence(scene.gaussians, items, stage="")
    with pretend_gpu() as work:
        there = scene.gaussians.to("cuda")
        work.clear()
        found, found_levels = gather_evidence(there, items, stage="")
        copied = {what: count for what, count in work.waits.items() if what.startswith(("cpu", "sends"))}
        assert sum(copied.values()) == 3 * len(items), copied  # Gaussians, masks and weights of each photo
        assert marked(there.means)
    np.testing.assert_array_equal(found_levels, levels)
    np.testing.assert_allclose(dense(found), dense(plain), rtol=1e-5)


def test_entries_of_many_photos_from_a_gpu_lie_in_a_file(monkeypatch, tmp_path):
    monkeypatch.setattr("gags.files.rows.available_bytes", lambda: 0)
    scene = make_scene(3)
    with pretend_gpu():
        found, _ = gather_evidence(scene.gaussians.to("cuda"), scene.items(), stage="", folder=tmp_path)
    assert [(rows.in_file, rows.folder) for rows in found.stored] == [(True, tmp_path)] * 2
