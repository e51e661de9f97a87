"""Gaussians as the page gets them, unpacked here by the description at the head of the module."""

import numpy as np
import pytest
import torch

from gags.capture.camera import rotations
from gags.gaussians import SH_C0, Gaussians
from gags.viewer.payload import CHUNK, Packed, harmonic_ranges, owner_bytes, upper_quantile

N = 500


@pytest.fixture
def gaussians() -> Gaussians:
    generator = torch.Generator().manual_seed(3)

    def normal(*size: int) -> torch.Tensor:
        return torch.randn(*size, generator=generator)

    return Gaussians(5 * normal(N, 3), normal(N, 4), normal(N, 3) - 3, 2 * normal(N), 0.3 * normal(N, 16, 3))


def unpack(packed: Packed) -> dict[str, np.ndarray]:
    """Planes of the only chunk as numbers, in the page's order."""
    planes = np.frombuffer(packed.chunk(0), np.uint8).reshape(23, len(packed))
    words = [np.ascontiguousarray(planes[4 * k : 4 * k + 4].T).view("<u4")[:, 0] for k in range(4)]
    quats = np.zeros((len(packed), 4))
    for row, bits in enumerate(words[3].tolist()):
        left_out, rest = bits >> 30, iter([bits >> 20 & 1023, bits >> 10 & 1023, bits & 1023])
        for k in range(4):
            if k != left_out:
                quats[row, k] = (next(rest) / 1023 - 0.5) * np.sqrt(2)
        quats[row, left_out] = np.sqrt(1 - (quats[row] ** 2).sum())

    def between(first: int, count: int, low: float, high: float) -> np.ndarray:
        return low + (high - low) * planes[first : first + count].T / 255

    return {
        "means": np.stack([word.view("<f4") for word in words[:3]], axis=1),
        "quats": quats,
        "log_scales": between(16, 3, *packed.packing["log_scales"]),
        "opacities": between(19, 1, 0, 1)[:, 0],
        "colors": between(20, 3, *packed.packing["colors"]),
    }


def test_what_is_unpacked_is_what_was_packed(gaussians):
    packed = Packed.of(gaussians)
    assert len(packed.chunk(0)) == 23 * N
    got, order = unpack(packed), packed.order
    np.testing.assert_array_equal(got["means"], gaussians.means.numpy()[order])
    for name, values in (
        ("log_scales", gaussians.log_scales.numpy()),
        ("colors", 0.5 + SH_C0 * gaussians.sh[:, 0].numpy()),
    ):
        low, high = packed.packing[name]
        np.testing.assert_allclose(got[name], np.clip(values[order], low, high), atol=(high - low) / 509)
        assert (values < low).mean() <= 0.011
        assert (values > high).mean() <= 0.001
    np.testing.assert_allclose(got["opacities"], gaussians.opacities.numpy()[order], atol=1 / 509)
    quats = gaussians.quats.double().numpy()[order]
    exact = rotations(quats / np.linalg.norm(quats, axis=1, keepdims=True))
    np.testing.assert_allclose(rotations(got["quats"]), exact, atol=0.006)


def test_harmonics_are_shares_of_the_largest_of_their_degree(gaussians):
    packed = Packed.of(gaussians)
    planes = np.frombuffer(packed.harmonics(0), np.uint8).reshape(45, N).astype(float)
    rest = gaussians.sh[:, 1:].numpy()[packed.order]
    for degree, (first, last) in enumerate(((0, 3), (3, 8), (8, 15))):
        largest = packed.packing["harmonics"][degree]
        got = largest * (planes[3 * first : 3 * last].T.reshape(N, -1, 3) - 128) / 127
        wanted = np.clip(rest[:, first:last], -largest, largest)
        np.testing.assert_allclose(got, wanted, atol=largest / 253)
        assert 0.9 * np.abs(rest[:, first:last]).max() <= largest <= np.abs(rest[:, first:last]).max()


def test_the_most_visible_come_first(gaussians):
    packed = Packed.of(gaussians)
    scales = np.sort(gaussians.scales.numpy(), axis=1)[packed.order]
    visible = gaussians.opacities.numpy()[packed.order] * scales[:, 1] * scales[:, 2]
    assert (np.diff(visible) <= 1e-6 * visible[0]).all()
    assert sorted(packed.order) == list(range(N))


def test_what_is_not_finite_is_invisible(gaussians):
    gaussians.means[7, 1] = torch.nan
    gaussians.sh[11, 0, 0] = torch.inf
    got = unpack(packed := Packed.of(gaussians))
    for broken in (7, 11):
        row = packed.order.tolist().index(broken)
        assert got["opacities"][row] == 0
        assert np.isfinite(got["means"][row]).all()
    assert (got["opacities"] > 0).sum() > 0.9 * N


def test_a_coarser_one_changes_little_and_compresses_better(gaussians):
    import zlib

    fine = Packed.of(gaussians)
    coarse = fine.coarser()
    np.testing.assert_allclose(unpack(coarse)["means"], unpack(fine)["means"], rtol=2**-15)
    harmonics = [np.frombuffer(p.harmonics(0), np.uint8).astype(int) for p in (fine, coarse)]
    assert abs(harmonics[0] - harmonics[1]).max() <= 8
    sizes = [len(zlib.compress(p.chunk(0) + p.harmonics(0))) for p in (fine, coarse)]
    assert sizes[1] < 0.75 * sizes[0]


def test_chunks_are_whole_rows_of_textures():
    count = CHUNK + 5
    many = Gaussians(
        torch.zeros(count, 3),
        torch.ones(count, 4),
        torch.zeros(count, 3),
        torch.arange(count) / count,
        torch.zeros(count, 1, 3),
    )
    packed = Packed.of(many)
    assert packed.chunk_count == 2
    assert [len(packed.chunk(k)) for k in (0, 1)] == [23 * CHUNK, 23 * 5]
    assert packed.harmonics(0) == b""


def test_owners_are_planes_of_an_int32():
    owner, order = np.array([-1, 300, 2]), np.array([2, 0, 1])
    planes = np.frombuffer(owner_bytes(owner, order), np.uint8).reshape(4, 3)
    assert planes.T.tolist() == [[2, 0, 0, 0], [255, 255, 255, 255], [44, 1, 0, 0]]


@pytest.mark.parametrize("share", [0.0, 1e-4, 0.01, 0.3])
@pytest.mark.parametrize("kind", ["normal", "equal", "few", "one", "sorted", "odd"])
def test_a_quantile_is_that_of_numpy(share, kind):
    rng = np.random.default_rng(0)
    values = {
        "normal": rng.normal(size=(90_000, 3)),
        "equal": np.ones((50_000, 2)),
        "few": rng.normal(size=(7, 1)),
        "one": np.array([[3.0]]),
        "sorted": np.sort(rng.normal(size=90_000))[:, None],
        "odd": np.where(np.arange(80_000) == 40_001, 1e9, 0.0)[:, None],  # the sample does not hold it
    }[kind].astype(np.float32)
    got = upper_quantile(lambda rows: values[rows], len(values), share)
    assert got == pytest.approx(float(np.quantile(values, 1 - share)), rel=1e-6)


def test_ranges_of_harmonics_leave_out_what_is_no_number(gaussians):
    rest = gaussians.sh[:, 1:].numpy().copy()
    before = harmonic_ranges(rest)
    rest[3, 1] = np.nan
    assert harmonic_ranges(rest) == pytest.approx(before, rel=0.05)
    assert harmonic_ranges(rest[:, :0]) == []
    assert harmonic_ranges(rest[:0]) == []


@pytest.mark.parametrize("count", [0, 1])
def test_hardly_any_gaussians(count):
    few = Gaussians(
        torch.ones(count, 3),
        torch.ones(count, 4),
        torch.zeros(count, 3),
        torch.zeros(count),
        torch.zeros(count, 4, 3),
    )
    packed = Packed.of(few).coarser()
    assert packed.chunk_count == count
    assert [len(packed.chunk(k)) + len(packed.harmonics(k)) for k in range(count)] == [23 + 9] * count
