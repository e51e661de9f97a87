"""Which masks cover what the Gaussians show, and weighted means over them."""

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torch

import gags.distill.evidence as evidence_module
from gags.distill import entries
from gags.distill.evidence import Evidence, Gathered, ViewEvidence, merge, uplift, view_evidence


def dense(evidence: Evidence) -> np.ndarray:
    """The sparse matrix as an ordinary one. [N, M + V]"""
    matrix = np.zeros((len(evidence.starts) - 1, len(evidence.view_of)))
    for row, (begin, end) in enumerate(zip(evidence.starts[:-1], evidence.starts[1:], strict=True)):
        matrix[row, evidence.columns[begin:end]] = evidence.weights[begin:end]
    return matrix


@pytest.fixture
def evidence() -> Evidence:
    """Two photos of three Gaussians: masks 0 and 1 in the first, mask 2 in the second."""
    first = view_evidence(
        torch.tensor([[0, 1], [1, 0], [2, -1]]),
        torch.tensor([[0.5, 0.25], [0.75, 0.125], [1.0, 0.9]]),
        np.array([[0, -1, 1], [-1, -1, 1], [-1, -1, -1]]),
        2,
    )
    second = view_evidence(torch.tensor([[1, 1]]), torch.tensor([[0.5, 0.25]]), np.array([[-1, 0, -1]]), 1)
    return merge([first, second], 3)


def test_entries_are_sums_of_blending_weights(evidence):
    assert (evidence.mask_count, evidence.view_count) == (3, 2)
    np.testing.assert_array_equal(evidence.view_of, [0, 0, 1, 0, 1])
    expected = [  # masks 0, 1, 2, then all pixels of the first and of the second photo
        [0.5, 0.625, 0.0, 0.625, 0.0],
        [0.25, 1.0, 0.75, 1.0, 0.75],
        [0.0, 0.0, 0.0, 1.0, 0.0],
    ]
    np.testing.assert_allclose(dense(evidence), expected, atol=1e-6)


def test_uplift_is_the_weighted_mean(evidence):
    values = torch.tensor([[1.0, 0.0], [0.0, 4.0], [7.0, 7.0]])
    found = uplift(evidence, values, torch.tensor([1.0, 1.0, 1.0]))
    matrix = torch.from_numpy(dense(evidence)[:, :3]).float()
    expected = matrix @ values / matrix.sum(1, keepdim=True).clamp(min=1e-8)
    torch.testing.assert_close(found, expected)
    assert found[2].tolist() == [0.0, 0.0]  # no mask covers it
    only = uplift(evidence, values, torch.tensor([0.0, 0.0, 1.0]))
    torch.testing.assert_close(only, torch.tensor([[0.0, 0.0], [7.0, 7.0], [0.0, 0.0]]))


def test_random_pixels_against_a_plain_loop():
    rng = np.random.default_rng(0)
    pixels, kept, gaussians, masks = 200, 4, 30, 9
    indices = rng.integers(-1, gaussians, (pixels, kept))
    weights = rng.uniform(0.02, 1, (pixels, kept)).astype(np.float32)
    labels = rng.integers(-1, masks, (pixels, 3))
    labels[:, 1] = np.where(labels[:, 1] == labels[:, 0], -1, labels[:, 1])  # a mask has one level
    labels[:, 2] = -1
    expected = np.zeros((gaussians, masks + 1))
    for p in range(pixels):
        for k in range(kept):
            if indices[p, k] >= 0:
                expected[indices[p, k], masks] += weights[p, k]
                for mask in labels[p][labels[p] >= 0]:
                    expected[indices[p, k], mask] += weights[p, k]
    found = merge(
        [view_evidence(torch.from_numpy(indices), torch.from_numpy(weights), labels, masks)], gaussians
    )
    np.testing.assert_allclose(dense(found), expected, rtol=1e-5)


def test_nothing_seen_at_all():
    nothing = view_evidence(torch.full((2, 3), -1), torch.zeros(2, 3), np.full((2, 3), -1), 1)
    evidence = merge([nothing], 4)
    torch.testing.assert_close(uplift(evidence, torch.ones(1, 2), torch.ones(1)), torch.zeros(4, 2))


def random_views(count: int, photos: int) -> list[ViewEvidence]:
    rng = np.random.default_rng(0)
    views = []
    for _ in range(photos):
        indices = torch.from_numpy(rng.integers(-1, count, (200, 4)))
        labels = rng.integers(-1, 5, (200, 3))
        views.append(view_evidence(indices, torch.from_numpy(rng.random((200, 4))), labels, 5))
    return views


def by_sorting(views: list[ViewEvidence], count: int) -> Evidence:
    """Merged by a sort of all entries at once."""
    total = 5 * len(views)
    columns = [np.where(v.masks == 5, total + n, v.masks + 5 * n) for n, v in enumerate(views)]
    gaussians = np.concatenate([view.gaussians for view in views])
    order = np.argsort(gaussians, kind="stable")
    return Evidence(
        np.searchsorted(gaussians[order], np.arange(count + 1)),
        np.concatenate(columns)[order],
        np.concatenate([view.weights for view in views])[order],
        np.concatenate([np.repeat(np.arange(len(views)), 5), np.arange(len(views))]),
    )


@pytest.mark.parametrize("in_file", [False, True])
def test_evidence_in_blocks_and_files_is_that_of_one_sort(monkeypatch, tmp_path, in_file):
    views, count = random_views(300, 7), 300
    wanted = by_sorting(views, count)
    values = torch.from_numpy(np.random.default_rng(1).standard_normal((35, 3)).astype(np.float32))
    lifted = uplift(wanted, values, torch.rand(35, generator=torch.Generator().manual_seed(0)))
    monkeypatch.setattr(entries, "BLOCK_ENTRIES", 500)
    monkeypatch.setattr(evidence_module, "UPLIFTED_ENTRIES", 300)
    monkeypatch.setattr(evidence_module, "READ_AT_ONCE", 20)
    if in_file:
        monkeypatch.setattr("gags.files.rows.available_bytes", lambda: 0)
    gathered, blocks = Gathered(count, tmp_path), []
    hand_out = evidence_module.hand_out
    monkeypatch.setattr(
        evidence_module,
        "hand_out",
        lambda *given, **named: blocks.append(len(named["columns"])) or hand_out(*given, **named),
    )
    for view in views:
        gathered.add(view)
    found = gathered.merged()
    assert all(rows.in_file == in_file for rows in found.stored)
    assert max(blocks) <= 500
    assert sum(blocks) == len(wanted.columns) > 5 * 500
    for name in ("starts", "columns", "weights", "view_of"):
        np.testing.assert_array_equal(getattr(found, name), getattr(wanted, name))
    matrix = dense(wanted)
    np.testing.assert_allclose(found.sizes(), matrix.sum(0))
    np.testing.assert_allclose(found.seen(), matrix[:, 35:].sum(1))
    rows = np.array([7, 3, 250])
    np.testing.assert_allclose(found.shared(rows), matrix[rows].sum(0))
    np.testing.assert_array_equal(dense(found.of_gaussians(rows)), matrix[rows])
    photos = np.array([1, 4])
    kept = np.flatnonzero(np.isin(wanted.view_of, photos))
    np.testing.assert_array_equal(dense(found.of_photos(photos)), matrix[:, kept])
    weights = torch.rand(35, generator=torch.Generator().manual_seed(0))
    at_once, embedding_bag = [], evidence_module.embedding_bag

    def noted(columns, *given, **named):
        at_once.append(len(columns))
        return embedding_bag(columns, *given, **named)

    monkeypatch.setattr(evidence_module, "embedding_bag", noted)
    assert torch.equal(uplift(found, values, weights), lifted)
    assert max(at_once) <= 300
    assert sum(at_once) > 5 * 300


def many_entries(folder: Path) -> Evidence:
    """Forty photos of 2,000 Gaussians, each in two masks; 2 MB of entries, in a file below a folder."""
    gathered, rows = Gathered(2000, folder), np.repeat(np.arange(2000, dtype=np.int32), 3)
    masks = np.stack([np.arange(2000) % 3, 3 + np.arange(2000) % 2, np.full(2000, 5)], axis=1)
    for _ in range(40):
        weights = np.random.default_rng(0).random(len(rows), np.float32)
        gathered.add(ViewEvidence(rows, masks.reshape(-1).astype(np.int32), weights, 5))
    return gathered.merged()


def test_memory_of_some_gaussians_does_not_grow_with_photos(monkeypatch, tmp_path):
    monkeypatch.setattr(evidence_module, "READ_AT_ONCE", 2000)
    monkeypatch.setattr("gags.files.rows.available_bytes", lambda: 0)
    evidence = many_entries(tmp_path)
    assert len(evidence.columns) == 240_000
    tracemalloc.start()
    found = evidence.of_gaussians(np.arange(0, 2000, 2))
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(found.columns) == 120_000
    assert most < 120_000 * 8 / 4  # of the bytes of the entries, in memory


def test_entries_that_lie_in_a_file_stay_in_its_folder(monkeypatch, tmp_path):
    monkeypatch.setattr("gags.files.rows.available_bytes", lambda: 0)
    found = many_entries(tmp_path).of_gaussians(np.arange(10))
    assert [(rows.in_file, rows.folder) for rows in found.stored] == [(True, tmp_path)] * 2


def test_a_gaussian_of_more_entries_than_a_block_has_one_of_its_own():
    starts = np.array([0, 2, 9, 9, 10, 12])
    assert list(entries.blocks_of(starts, 4)) == [(0, 1), (1, 2), (2, 5)]
    assert list(entries.blocks_of(np.array([0]), 4)) == []
