"""The registry of formats; what it writes, read back by plyfile and by decoders written here."""

import gzip
import struct
from dataclasses import replace
from itertools import pairwise

import gsply
import numpy as np
import pytest
import torch
from tests.helpers.heard import Heard
from tests.helpers.scenes import orbit_camera
from tests.helpers.varied import pictures, varied

import gags
from gags.errors import SplatsError
from gags.gaussians import Gaussians, files, ply
from gags.gaussians.files import load_gaussians, save_gaussians
from gags.gaussians.spz import fraction_bits, half_turned


def made(count: int = 20, degree: int = 2) -> Gaussians:
    torch.manual_seed(1)
    k = (degree + 1) ** 2
    return Gaussians(
        torch.randn(count, 3),
        torch.randn(count, 4),
        torch.rand(count, 3) * 4 - 6,
        torch.randn(count) * 2,
        torch.rand(count, k, 3) * 1.6 - 0.8,
    )


def test_ply_is_what_plyfile_reads(tmp_path):
    plyfile = pytest.importorskip("plyfile")
    gaussians = made(degree=3)
    save_gaussians(gaussians, tmp_path / "a.ply")
    vertex = plyfile.PlyData.read(tmp_path / "a.ply")["vertex"]
    assert vertex.count == 20
    np.testing.assert_array_equal(np.stack([vertex[a] for a in "xyz"], 1), gaussians.means)
    np.testing.assert_array_equal(np.stack([vertex[f"rot_{i}"] for i in range(4)], 1), gaussians.quats)
    np.testing.assert_array_equal(np.stack([vertex[f"scale_{i}"] for i in range(3)], 1), gaussians.log_scales)
    np.testing.assert_array_equal(vertex["opacity"], gaussians.logit_opacities)
    np.testing.assert_array_equal(np.stack([vertex[f"f_dc_{i}"] for i in range(3)], 1), gaussians.sh[:, 0])
    rest = np.stack([vertex[f"f_rest_{i}"] for i in range(45)], 1).reshape(20, 3, 15)
    np.testing.assert_array_equal(rest.transpose(0, 2, 1), gaussians.sh[:, 1:])


def test_splat_has_32_bytes_a_gaussian_in_order(tmp_path):
    gaussians = made()
    save_gaussians(gaussians, tmp_path / "a.splat")
    data = (tmp_path / "a.splat").read_bytes()
    assert len(data) == 32 * 20
    for i in range(20):
        x, y, z, sx, sy, sz, *small = struct.unpack_from("<6f8B", data, 32 * i)
        np.testing.assert_array_equal(np.float32([x, y, z]), gaussians.means[i])
        np.testing.assert_allclose([sx, sy, sz], gaussians.log_scales[i].exp(), rtol=1e-6)
        color = 0.5 + 0.28209479 * gaussians.sh[i, 0].numpy()
        np.testing.assert_allclose(np.array(small[:3]) / 255, color.clip(0, 1), atol=0.51 / 255)
        opacity = 1 / (1 + np.exp(-gaussians.logit_opacities[i].item()))
        assert small[3] / 255 == pytest.approx(opacity, abs=0.51 / 255)
        quat = (np.array(small[4:]) - 128) / 128
        unit = gaussians.quats[i].numpy() / np.linalg.norm(gaussians.quats[i])
        np.testing.assert_allclose(quat, unit, atol=1.01 / 128)


def decode_spz(data: bytes) -> dict[str, np.ndarray]:
    """Version 3 as documented: header, then all positions, alphas, colours, scales, rotations, harmonics."""
    raw = gzip.decompress(data)
    magic, version, n, degree, bits = struct.unpack_from("<IIIBB", raw)
    assert (magic, version) == (0x5053474E, 3)
    body = np.frombuffer(raw, np.uint8, offset=16)
    k = (degree + 1) ** 2 - 1
    sizes = np.cumsum([0, 9 * n, n, 3 * n, 3 * n, 4 * n, 3 * k * n])
    assert len(body) == sizes[-1]
    position, alpha, color, scale, rotation, sh = (body[a:b].astype(np.int64) for a, b in pairwise(sizes))
    position = position.reshape(n, 3, 3) @ [1, 1 << 8, 1 << 16]
    position = np.where(position >= 1 << 23, position - (1 << 24), position)
    return {
        "means": position / (1 << bits),
        "opacities": alpha / 255,
        "dc": (color.reshape(n, 3) / 255 - 0.5) / 0.15,
        "log_scales": scale.reshape(n, 3) / 16 - 10,
        "rest": (sh.reshape(n, k, 3) - 128) / 128,
        "quats": np.stack([_smallest_three(row) for row in rotation.reshape(n, 4)]),
    }


def _smallest_three(row: np.ndarray) -> np.ndarray:
    """wxyz; the largest of x, y, z, w is left out, the others follow from the last bits on."""
    packed = int(row @ [1, 1 << 8, 1 << 16, 1 << 24])
    largest, quat = packed >> 30, np.zeros(4)
    for axis in (3, 2, 1, 0):
        if axis != largest:
            quat[axis] = (packed & 511) / 511 / np.sqrt(2) * (-1 if packed >> 9 & 1 else 1)
            packed >>= 10
    quat[largest] = np.sqrt(1 - (quat**2).sum())
    return quat[[3, 0, 1, 2]]


@pytest.mark.parametrize("degree", [0, 1, 2, 3])
def test_spz_decodes_to_the_rounded_values(tmp_path, degree):
    gaussians = made(degree=degree)
    save_gaussians(gaussians, tmp_path / "a.spz")
    read = decode_spz((tmp_path / "a.spz").read_bytes())
    np.testing.assert_allclose(read["means"], gaussians.means, atol=2**-20)
    np.testing.assert_allclose(read["opacities"], gaussians.opacities, atol=0.51 / 255)
    np.testing.assert_allclose(read["dc"], gaussians.sh[:, 0], atol=0.51 / 255 / 0.15)
    np.testing.assert_allclose(read["log_scales"], gaussians.log_scales, atol=0.51 / 16)
    np.testing.assert_allclose(read["rest"], gaussians.sh[:, 1:], atol=0.51 / 128)
    units = gaussians.quats / gaussians.quats.norm(dim=1, keepdim=True)
    cosines = np.abs((read["quats"] * units.numpy()).sum(axis=1))
    assert cosines.min() > 1 - 1e-4


# What half a turn about x does to the harmonics of degrees 1 to 3, as the format's documentation lists them:
# signs of y, z, x, xy, yz, 1, xz, 1, y, xyz, y, z, x, z, x.
RDF_TO_RUB = torch.tensor([-1, -1, 1, -1, 1, 1, -1, 1, -1, 1, -1, -1, 1, -1, 1])


def test_half_a_turn_leads_into_the_axes_of_the_format_and_back():
    """A camera that is turned along sees the same picture, harmonics included."""
    scene, camera = varied(degree=3), orbit_camera(0.3)
    turned = half_turned(scene)
    torch.testing.assert_close(turned.sh[:, 1:], scene.sh[:, 1:] * RDF_TO_RUB[:, None])
    along = replace(camera, viewmat=camera.viewmat @ np.diag([1.0, -1, -1, 1]))
    wanted = gags.render(scene, camera).colors
    assert float((gags.render(turned, along).colors - wanted).abs().mean()) < 1e-5
    assert float((gags.render(turned, camera).colors - wanted).abs().mean()) > 0.05
    again = half_turned(turned)
    assert all(torch.equal(getattr(again, name), getattr(scene, name)) for name in ("means", "quats", "sh"))


def test_spz_has_the_positions_that_were_given(tmp_path):
    """Read by another program: whatever the format's README says of axes, nothing is turned."""
    gaussians = made()
    save_gaussians(gaussians, tmp_path / "a.spz")
    np.testing.assert_allclose(gsply.read_spz(tmp_path / "a.spz").means, gaussians.means, atol=2**-20)


@pytest.mark.parametrize(("largest", "bits"), [(0.2, 20), (3.9, 20), (100.0, 16), (5000.0, 10)])
def test_spz_coordinates_fit_and_waste_no_bits(largest, bits):
    assert fraction_bits(largest) == bits
    assert largest * 2**bits < 2**23


@pytest.mark.parametrize("degree", [0, 3])
def test_spz_4_is_the_same_streams_one_by_one(tmp_path, degree):
    """Version 4 by hand: a header of 32 bytes, a table of sizes, a zstd stream a property."""
    zstandard = pytest.importorskip("zstandard")
    gaussians = made(degree=degree)
    save_gaussians(gaussians, tmp_path / "a.spz", spz_version=4)
    save_gaussians(gaussians, tmp_path / "b.spz")
    data = (tmp_path / "a.spz").read_bytes()
    magic, version, count, harmonics, _, _, streams, table = struct.unpack_from("<4sIIBBBBI", data)
    assert (magic, version, count, harmonics, streams, table) == (
        b"NGSP",
        4,
        20,
        degree,
        5 + (degree > 0),
        32,
    )
    sizes = struct.unpack_from(f"<{2 * streams}Q", data, table)
    place, plain = table + 16 * streams, b""
    for packed, size in zip(sizes[::2], sizes[1::2], strict=True):
        plain += zstandard.ZstdDecompressor().decompress(data[place : place + packed], max_output_size=size)
        place += packed
    assert place == len(data)
    assert plain == gzip.decompress((tmp_path / "b.spz").read_bytes())[16:]
    torch.testing.assert_close(
        load_gaussians(tmp_path / "a.spz").means, load_gaussians(tmp_path / "b.spz").means
    )


def test_other_versions_of_spz_are_not_written(tmp_path):
    with pytest.raises(SplatsError, match="versions 3 and 4, not 2"):
        save_gaussians(made(), tmp_path / "a.spz", spz_version=2)


@pytest.mark.parametrize(("suffix", "most"), [(".ply", 0), (".glb", 1e-4), (".spz", 0.03), (".splat", 0.01)])
def test_pictures_before_and_after(tmp_path, suffix, most):
    """Mean difference of pictures; of .splat, which has no harmonics, beside the base colours alone."""
    gaussians = varied(degree=3)
    save_gaussians(gaussians, tmp_path / f"a{suffix}")
    if suffix == ".splat":
        gaussians = replace(gaussians, sh=gaussians.sh[:, :1])
    difference = (pictures(load_gaussians(tmp_path / f"a{suffix}")) - pictures(gaussians)).abs()
    assert difference.mean() <= most


@pytest.mark.parametrize(
    ("suffix", "degree", "things", "words"),
    [
        (".ply", 3, True, ""),
        (".glb", 3, False, ""),
        (".usdc", 3, True, ".usdc holds the Gaussians without things (a .ply holds them)"),
        (
            ".splat",
            0,
            False,
            ".splat holds the Gaussians rounded: rotations, opacities and colours in 8 bits",
        ),
        (
            ".splat",
            2,
            False,
            ".splat holds the Gaussians without spherical harmonics above degree 0 (of degree 2); "
            "rounded: rotations, opacities and colours in 8 bits",
        ),
    ],
)
def test_what_a_format_cannot_hold(suffix, degree, things, words):
    assert files.left_out(suffix, degree, things=things) == words


def test_what_is_lost_is_said_once(tmp_path):
    heard = Heard()
    save_gaussians(made(), tmp_path / "a.splat", heard)
    assert [line.partition(": ")[2] for line in heard.said] == [files.left_out(".splat", 2)]


def test_things_are_one_more_property(tmp_path):
    plyfile = pytest.importorskip("plyfile")
    gaussians, things = made(degree=1), np.arange(20) - 1
    save_gaussians(gaussians, tmp_path / "a.ply", things=things)
    vertex = plyfile.PlyData.read(tmp_path / "a.ply")["vertex"]
    assert vertex["thing"].dtype == np.int32
    np.testing.assert_array_equal(vertex["thing"], things)
    np.testing.assert_array_equal(vertex["rot_3"], gaussians.quats[:, 3])
    assert torch.equal(load_gaussians(tmp_path / "a.ply").sh, gaussians.sh)


def test_bad_targets_are_one_line_errors(tmp_path):
    with pytest.raises(SplatsError, match=r"none of \.ply, \.spz, \.splat"):
        save_gaussians(made(), tmp_path / "a.obj")
    with pytest.raises(SplatsError, match="no Gaussian"):
        save_gaussians(made(0), tmp_path / "a.ply")
    (tmp_path / "file").write_text("")
    with pytest.raises(SplatsError, match="cannot be written"):
        save_gaussians(made(), tmp_path / "file" / "a.splat")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file"]


def test_what_is_written_as_ply_is_read(tmp_path):
    gaussians = made(degree=1)
    save_gaussians(gaussians, str(tmp_path / "a.PLY"))  # whatever the case
    again = load_gaussians(str(tmp_path / "a.PLY"))
    for name in ("means", "quats", "log_scales", "logit_opacities", "sh"):
        assert torch.equal(getattr(again, name), getattr(gaussians, name))


@pytest.mark.parametrize("suffix", [".splat", ".spz"])
@pytest.mark.parametrize("degree", [0, 2])
def test_rounded_files_are_read_back(tmp_path, suffix, degree):
    gaussians = made(degree=degree)
    gaussians.logit_opacities[:2] = torch.tensor(
        [40.0, -40.0]
    )  # 255 and 0 in 8 bits: their logits are infinite
    save_gaussians(gaussians, tmp_path / f"a{suffix}")
    again = load_gaussians(tmp_path / f"a{suffix}")
    torch.testing.assert_close(again.means, gaussians.means, atol=2**-20, rtol=0)
    size = {"rtol": 1e-6, "atol": 0} if suffix == ".splat" else {"atol": 0.51 / 16, "rtol": 0}
    torch.testing.assert_close(again.log_scales, gaussians.log_scales, **size)
    torch.testing.assert_close(again.opacities, gaussians.opacities, atol=0.51 / 255, rtol=0)
    assert torch.isfinite(again.logit_opacities).all()
    sh = gaussians.sh[:, :1].clamp(-0.5 / 0.2820948, 0.5 / 0.2820948) if suffix == ".splat" else gaussians.sh
    torch.testing.assert_close(again.sh[:, 0], sh[:, 0], atol=0.51 / 255 / 0.15, rtol=0)
    if suffix == ".spz":
        torch.testing.assert_close(again.sh[:, 1:], sh[:, 1:], atol=0.51 / 128, rtol=0)
    units = gaussians.quats / gaussians.quats.norm(dim=1, keepdim=True)
    read = again.quats / again.quats.norm(dim=1, keepdim=True)
    assert ((units * read).sum(dim=1).abs()).min() > 1 - 1e-3


def test_what_is_no_ply_says_what_is_read(tmp_path):
    save_gaussians(made(), tmp_path / "a.splat")
    (tmp_path / "a.splat").rename(tmp_path / "a.gsplat")
    with pytest.raises(
        SplatsError, match=r"a\.gsplat is not a PLY file; .* read as \.ply, \.spz, \.splat, .ksplat"
    ):
        load_gaussians(tmp_path / "a.gsplat")
    with pytest.raises(SplatsError, match="is not there"):
        load_gaussians(tmp_path / "b.spz")


def packed_spz(version: int, count: int, degree: int = 0, bits: int = 12, body: bytes = b"") -> bytes:
    header = struct.pack("<IIIBBBB", 0x5053474E, version, count, degree, bits, 0, 0)
    return gzip.compress(header + body, mtime=0)  # the same whenever it is made


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no SPZ file"),
        (b"ply\nformat", "no SPZ file"),
        (b"\x1f\x8b\x08" + b"x" * 40, "no whole SPZ file"),
        (packed_spz(9, 1), r"version 9"),
        (packed_spz(3, 1, degree=7), "degree 7"),
        (packed_spz(3, 2, body=b"\0" * 39), "ends too early"),
        (packed_spz(3, 10**9), r"claims 1000000000 Gaussians, too many for its \d+ bytes"),
        (packed_spz(3, 0), "holds no Gaussians"),
        (
            struct.pack("<4sIIBBBBI", b"NGSP", 4, 10**9, 3, 12, 0, 0, 32) + b"\0" * 12,
            "too many for its 32 bytes",
        ),
        (struct.pack("<4sIIBBBBI", b"NGSP", 4, 1, 0, 12, 0, 6, 32) + b"\0" * 12, "no whole SPZ file"),
    ],
)
def test_damaged_spz(tmp_path, content, message):
    (tmp_path / "a.spz").write_bytes(content)
    with pytest.raises(SplatsError, match=message):
        load_gaussians(tmp_path / "a.spz")


def test_spz_of_version_2_by_hand(tmp_path):
    """One Gaussian: fixed point with 12 bits, 8-bit colours, log-scale (b / 16 − 10), x, y, z."""
    body = b"".join((int(value * 4096) & 0xFFFFFF).to_bytes(3, "little") for value in (1.5, -2.25, 0.125))
    body += bytes([51]) + bytes([255, 0, 128]) + bytes([96, 112, 128]) + bytes([128, 128, 255])
    (tmp_path / "a.spz").write_bytes(packed_spz(2, 1, body=body))
    one = load_gaussians(tmp_path / "a.spz")
    torch.testing.assert_close(one.means, torch.tensor([[1.5, -2.25, 0.125]]))
    torch.testing.assert_close(one.log_scales, torch.tensor([[-4.0, -3.0, -2.0]]))
    torch.testing.assert_close(one.opacities, torch.tensor([0.2]))
    colors = (torch.tensor([255.0, 0, 128]) / 255 - 0.5) / 0.15
    torch.testing.assert_close(one.sh[0, 0], colors)
    torch.testing.assert_close(one.quats[0].abs(), torch.tensor([0.0, 0, 0, 1]), atol=0.1, rtol=0)


@pytest.mark.parametrize("content", [b"", b"x" * 33, b"\xff" * 64])
def test_damaged_splat(tmp_path, content):
    (tmp_path / "a.splat").write_bytes(content)
    with pytest.raises(SplatsError, match=r"a\.splat"):
        load_gaussians(tmp_path / "a.splat")


@pytest.mark.parametrize("far", [5e8, 1e5, -4e6])
def test_one_gaussian_far_away_does_not_ruin_the_others(tmp_path, far):
    gaussians, heard = made(300), Heard()
    gaussians.means[7] = torch.tensor([0.0, far, 1.0])
    save_gaussians(gaussians, tmp_path / "a.spz", heard)
    assert len(heard.warned) == 1
    assert "1 of 300 Gaussians lie so far away" in heard.warned[0]
    read = decode_spz((tmp_path / "a.spz").read_bytes())
    rest = torch.arange(300) != 7
    np.testing.assert_allclose(read["means"], gaussians.means[rest], atol=2**-19)


def test_a_wide_scene_is_written_whole(tmp_path):
    """A sky as far as its own Gaussians are large: nothing is left out that rounding would not show."""
    gaussians, heard = made(300), Heard()
    gaussians.means[:60] *= 100
    save_gaussians(gaussians, tmp_path / "a.spz", heard)
    assert heard.warned == []
    assert len(decode_spz((tmp_path / "a.spz").read_bytes())["means"]) == 300
    gaussians.means[:60] *= 1e7
    with pytest.raises(SplatsError, match=r"60 of 300 Gaussians lie beyond 4194304 units .*write a \.ply"):
        save_gaussians(gaussians, tmp_path / "b.spz", heard)
    assert not (tmp_path / "b.spz").exists()


def test_a_format_is_one_line_of_the_registry(tmp_path, monkeypatch):
    heard = []
    monkeypatch.setitem(
        files.WRITERS, ".txt", lambda gaussians, path, _: path.write_text(str(len(gaussians)))
    )
    monkeypatch.setitem(files.READERS, ".txt", lambda path, progress: heard.append(path) or made(3))
    save_gaussians(made(7), tmp_path / "a.txt")
    assert (tmp_path / "a.txt").read_text() == "7"
    assert len(load_gaussians(tmp_path / "a.txt")) == 3
    assert heard == [tmp_path / "a.txt"]


def test_names_of_the_public_interface():
    assert gags.save_splats is save_gaussians
    assert gags.load_ply is ply.load_ply
    assert gags.save_ply is ply.save_ply
