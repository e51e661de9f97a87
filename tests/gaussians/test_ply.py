"""3DGS PLY files: nothing lost, the standard layout, clear errors."""

import re
import struct
import tracemalloc
from dataclasses import fields

import gsply
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from tests.helpers.heard import Heard

from gags.errors import SplatsError
from gags.gaussians import Gaussians
from gags.gaussians.ply import load_ply, save_ply

REST_OF_NAMES = ["opacity", "scale_0", "scale_1", "scale_2", "rot_0", "rot_1", "rot_2", "rot_3"]
PLAIN_NAMES = ["x", "y", "z", "f_dc_0", "f_dc_1", "f_dc_2", *REST_OF_NAMES]


def counted(n: int, degree: int) -> Gaussians:
    """Gaussians whose every value is different. Gaussian i, value j: 100 i + j."""
    coefficients = (degree + 1) ** 2
    table = 100.0 * torch.arange(n)[:, None] + torch.arange(11 + 3 * coefficients)
    means, quats, scales, opacities, sh = table.split([3, 4, 3, 1, 3 * coefficients], dim=1)
    return Gaussians(means, quats, scales, opacities[:, 0], sh.reshape(n, coefficients, 3))


def assert_same_bits(a: Gaussians, b: Gaussians) -> None:
    for field in fields(Gaussians):
        left, right = getattr(a, field.name), getattr(b, field.name)
        assert left.shape == right.shape
        assert right.dtype == torch.float32
        assert right.is_contiguous()
        np.testing.assert_array_equal(left.numpy().view(np.int32), right.numpy().view(np.int32))


def header_and_body(data: bytes) -> tuple[list[str], bytes]:
    header, body = data.split(b"end_header\n", 1)
    return header.decode().splitlines(), body


FINITE = st.floats(allow_nan=False, allow_infinity=False, width=32)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), n=st.integers(1, 6), degree=st.integers(0, 3))
def test_round_trip_keeps_every_bit(tmp_path, data, n, degree):
    def draw(*shape: int) -> torch.Tensor:
        return torch.from_numpy(data.draw(hnp.arrays(np.float32, (n, *shape), elements=FINITE)))

    gaussians = Gaussians(draw(3), draw(4), draw(3), draw(), draw((degree + 1) ** 2, 3))
    save_ply(gaussians, tmp_path / "a.ply")
    assert_same_bits(gaussians, load_ply(tmp_path / "a.ply"))


def test_file_has_the_standard_layout(tmp_path):
    gaussians = counted(2, 1)
    save_ply(gaussians, tmp_path / "a.ply")
    header, body = header_and_body((tmp_path / "a.ply").read_bytes())
    names = ["x", "y", "z", "nx", "ny", "nz", "f_dc_0", "f_dc_1", "f_dc_2"]
    names += [f"f_rest_{i}" for i in range(9)]
    names += REST_OF_NAMES
    assert header == [
        "ply",
        "format binary_little_endian 1.0",
        "element vertex 2",
        *(f"property float {name}" for name in names),
    ]
    assert len(body) == 2 * 4 * len(names)
    second = dict(zip(names, struct.unpack_from(f"<{len(names)}f", body, 4 * len(names)), strict=True))
    # Gaussian 1: means 100-102, quats 103-106, scales 107-109, opacity 110, sh[k][c] = 111 + 3k + c.
    assert [second[k] for k in ("x", "y", "z", "nx", "ny", "nz")] == [100, 101, 102, 0, 0, 0]
    assert [second[f"rot_{i}"] for i in range(4)] == [103, 104, 105, 106]
    assert [second[f"scale_{i}"] for i in range(3)] == [107, 108, 109]
    assert second["opacity"] == 110
    assert [second[f"f_dc_{i}"] for i in range(3)] == [111, 112, 113]
    # All coefficients of red, then of green, then of blue.
    assert [second[f"f_rest_{i}"] for i in range(9)] == [114, 117, 120, 115, 118, 121, 116, 119, 122]


@pytest.mark.parametrize("degree", [0, 1, 2, 3])
def test_gsply_reads_and_writes_the_same(tmp_path, degree):
    gaussians = counted(7, degree)
    save_ply(gaussians, tmp_path / "ours.ply")
    theirs = gsply.plyread(tmp_path / "ours.ply")
    np.testing.assert_array_equal(theirs.means, gaussians.means)
    np.testing.assert_array_equal(theirs.quats, gaussians.quats)
    np.testing.assert_array_equal(theirs.scales, gaussians.log_scales)
    np.testing.assert_array_equal(theirs.opacities, gaussians.logit_opacities)
    np.testing.assert_array_equal(theirs.sh0, gaussians.sh[:, 0])
    if degree:
        np.testing.assert_array_equal(theirs.shN, gaussians.sh[:, 1:])
    gsply.plywrite(str(tmp_path / "theirs.ply"), theirs)
    assert_same_bits(gaussians, load_ply(tmp_path / "theirs.ply"))


def write_by_hand(
    path, kind: str, names: list[str], rows: list[list[float]], types: dict[str, str] | None = None
):
    """A PLY in any format, with a comment and another element; `types` names what is no float."""
    types = types or {}
    codes = {"float": "f", "double": "d", "uchar": "B", "int": "i"}
    lines = ["ply", f"format {kind} 1.0", "comment made by hand", "element camera 1", "property float fov"]
    lines += [
        f"element vertex {len(rows)}",
        *(f"property {types.get(n, 'float')} {n}" for n in names),
        "end_header",
    ]
    if kind == "ascii":
        body = "\n".join(" ".join(map(repr, row)) for row in [[1.5], *rows]).encode() + b"\n"
    else:
        order = "<" if "little" in kind else ">"
        body = struct.pack(order + "f", 1.5)
        layout = order + "".join(codes[types.get(n, "float")] for n in names)
        body += b"".join(struct.pack(layout, *row) for row in rows)
    path.write_bytes("\n".join(lines).encode() + b"\n" + body)


@pytest.mark.parametrize("kind", ["ascii", "binary_little_endian", "binary_big_endian"])
def test_any_order_extra_properties_no_normals(tmp_path, kind):
    names = ["red", *reversed(PLAIN_NAMES), "label"]
    rows = [[200 + i, *(0.25 * j - i for j in range(len(PLAIN_NAMES))), -i] for i in range(3)]
    write_by_hand(tmp_path / "a.ply", kind, names, rows, {"red": "uchar", "label": "int", "x": "double"})
    gaussians = load_ply(tmp_path / "a.ply")
    value = {name: np.array([row[j] for row in rows], np.float32) for j, name in enumerate(names)}

    def stack(*wanted: str) -> np.ndarray:
        return np.stack([value[name] for name in wanted], axis=-1)

    np.testing.assert_array_equal(gaussians.means, stack("x", "y", "z"))
    np.testing.assert_array_equal(gaussians.quats, stack("rot_0", "rot_1", "rot_2", "rot_3"))
    np.testing.assert_array_equal(gaussians.log_scales, stack("scale_0", "scale_1", "scale_2"))
    np.testing.assert_array_equal(gaussians.logit_opacities, value["opacity"])
    np.testing.assert_array_equal(gaussians.sh[:, 0], stack("f_dc_0", "f_dc_1", "f_dc_2"))
    assert gaussians.sh_degree == 0


def test_ascii_digits_survive(tmp_path):
    numbers = [np.float32(x) for x in np.random.default_rng(0).normal(size=14)]
    write_by_hand(tmp_path / "a.ply", "ascii", PLAIN_NAMES, [[float(x) for x in numbers]])
    loaded = load_ply(tmp_path / "a.ply")
    row = [loaded.means, loaded.sh[:, 0], loaded.logit_opacities[:, None], loaded.log_scales, loaded.quats]
    np.testing.assert_array_equal(torch.cat(row, dim=1)[0], numbers)


def test_gaussians_that_are_not_finite_are_dropped_and_counted(tmp_path):
    gaussians = counted(5, 1)
    gaussians.means[1, 2] = float("nan")
    gaussians.sh[3, 2, 1] = float("inf")
    save_ply(gaussians, tmp_path / "a.ply")
    heard = Heard()
    assert_same_bits(gaussians[torch.tensor([0, 2, 4])], load_ply(tmp_path / "a.ply", heard))
    assert len(heard.warned) == 1
    assert "2 of 5 Gaussians are not finite" in heard.warned[0]


def test_all_values_lost(tmp_path):
    gaussians = counted(2, 0)
    gaussians.quats[:] = float("nan")
    save_ply(gaussians, tmp_path / "a.ply")
    with pytest.raises(SplatsError, match="no Gaussian is finite"):
        load_ply(tmp_path / "a.ply")


POINTS = (
    b"ply\nformat ascii 1.0\nelement vertex 1\n"
    b"property float x\nproperty float y\nproperty float z\nend_header\n1 2 3\n"
)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "is not there"),
        (b"", "not a PLY"),
        (b"\x89PNG\r\n\x1a\n" + bytes(50), "not a PLY"),
        (b"plywood\n", "not a PLY"),
        (b"ply\nformat ascii 1.0\n", "ends inside its header"),
        (b"ply\nformat cubist 1.0\nend_header\n", "format cubist"),
        (b"ply\nelement vertex 1\nproperty float x\nend_header\n1\n", "which format"),
        (b"ply\nformat ascii 1.0\nelement face 0\nproperty list uchar int v\nend_header\n", "not a number"),
        (b"ply\nformat ascii 1.0\nelement camera 0\nproperty float x\nend_header\n", "no element `vertex`"),
        (POINTS, "not of 3D Gaussians: it has no f_dc_0"),
        (POINTS.replace(b"float x", b"float y"), "twice"),
    ],
)
def test_files_that_hold_no_gaussians(tmp_path, content, message):
    if content is not None:
        (tmp_path / "a.ply").write_bytes(content)
    with pytest.raises(SplatsError, match=rf"a\.ply.*{message}"):
        load_ply(tmp_path / "a.ply")


@pytest.mark.parametrize("missing", [1, 40, 4 * 23 * 3])
def test_truncated(tmp_path, missing):
    save_ply(counted(3, 1), tmp_path / "a.ply")
    data = (tmp_path / "a.ply").read_bytes()
    (tmp_path / "a.ply").write_bytes(data[:-missing])
    rows = {1: 2, 40: 2}.get(missing, 0)
    with pytest.raises(SplatsError, match=f"ends too early: {rows} of 3 rows"):
        load_ply(tmp_path / "a.ply")


@pytest.mark.parametrize("count", [10**9, 10**12, 10**30])
@pytest.mark.parametrize("kind", ["ascii", "binary_little_endian", "binary_big_endian"])
@pytest.mark.parametrize("element", ["vertex", "camera"])
def test_claims_are_compared_with_the_length_of_the_file(tmp_path, element, kind, count):
    """A file of 2 kB that claims 10^9 rows, of Gaussians or of what comes before them, asks for no memory."""
    write_by_hand(tmp_path / "a.ply", kind, PLAIN_NAMES, [[0.5] * len(PLAIN_NAMES)] * 20)
    content = (tmp_path / "a.ply").read_bytes()
    claims = re.sub(rf"element {element} \d+".encode(), f"element {element} {count}".encode(), content)
    (tmp_path / "a.ply").write_bytes(claims)
    tracemalloc.start()
    with pytest.raises(SplatsError, match=rf"ends too early: \d+ of {count} rows of `{element}`"):
        load_ply(tmp_path / "a.ply")
    assert tracemalloc.get_traced_memory()[1] < 1e6
    tracemalloc.stop()


def test_rows_without_properties_take_no_time(tmp_path):
    lines = ["ply", "format ascii 1.0", "element nothing 1000000000", "element vertex 0", "end_header", ""]
    (tmp_path / "a.ply").write_text("\n".join(lines))
    with pytest.raises(SplatsError, match="1000000000 rows of `nothing`, but no properties"):
        load_ply(tmp_path / "a.ply")


@pytest.mark.parametrize(
    ("row", "message"), [("1 2", "ends too early"), ("1.00 2.00", "not whole"), ("1 2 three", "no number")]
)
def test_damaged_ascii(tmp_path, row, message):
    (tmp_path / "a.ply").write_bytes(POINTS.replace(b"1 2 3\n", row.encode()))
    with pytest.raises(SplatsError, match=message):
        load_ply(tmp_path / "a.ply")


def test_no_rows(tmp_path):
    save_ply(counted(0, 2), tmp_path / "a.ply")
    with pytest.raises(SplatsError, match="no Gaussians"):
        load_ply(tmp_path / "a.ply")


@pytest.mark.parametrize("rest", [3, 10, 44])
def test_odd_number_of_harmonics(tmp_path, rest):
    names = [*PLAIN_NAMES, *(f"f_rest_{i}" for i in range(rest))]
    write_by_hand(tmp_path / "a.ply", "ascii", names, [[0.0] * len(names)])
    with pytest.raises(SplatsError, match=f"{rest} properties f_rest"):
        load_ply(tmp_path / "a.ply")


def write_compressed(path, words: list[tuple[int, int, int, int]], sh: bytes = b"") -> None:
    """SuperSplat's first layout, one chunk: x in -1..1, y in 0..2, z in 4..8, log-scales in -6..0."""
    bounds = {"x": (-1, 1), "y": (0, 2), "z": (4, 8)} | {f"scale_{a}": (-6, 0) for a in "xyz"}
    names = [
        f"{end}_{name}"
        for group in ("xyz", "scale")
        for end in ("min", "max")
        for name in bounds
        if (name in "xyz") == (group == "xyz")
    ]
    chunk = [bounds[name.split("_", 1)[1]][name.startswith("max")] for name in names]
    packed = ["packed_position", "packed_rotation", "packed_scale", "packed_color"]
    lines = ["ply", "format binary_little_endian 1.0", "element chunk 1"]
    lines += [f"property float {name}" for name in names] + [f"element vertex {len(words)}"]
    lines += [f"property uint {name}" for name in packed]
    if sh:
        lines += [f"element sh {len(words)}"] + [f"property uchar f_rest_{i}" for i in range(9)]
    body = struct.pack(f"<{len(chunk)}f", *chunk) + b"".join(struct.pack("<4I", *row) for row in words) + sh
    path.write_bytes("\n".join([*lines, "end_header"]).encode() + b"\n" + body)


def test_compressed_files_are_unpacked(tmp_path):
    """Two Gaussians by hand: all bits 0, and all bits 1 but for the rotation, which is the identity."""
    half = 511.5 / 1023  # a component of 0 lies between two of the 1024 steps
    identity = (0 << 30) | (512 << 20) | (512 << 10) | 512
    write_compressed(
        tmp_path / "a.ply", [(0, identity, 0, 0x80808080), (0xFFFFFFFF, identity, 0xFFFFFFFF, 0x00FF80C0)]
    )
    gaussians = load_ply(tmp_path / "a.ply")
    np.testing.assert_allclose(gaussians.means, [[-1, 0, 4], [1, 2, 8]], atol=1e-5)
    np.testing.assert_allclose(gaussians.log_scales, [[-6] * 3, [0] * 3], atol=1e-5)
    off = (512 / 1023 - half) * 2**0.5
    np.testing.assert_allclose(gaussians.quats, [[1, off, off, off]] * 2, atol=1e-5)
    colors = 0.5 + 0.28209479177387814 * gaussians.sh[:, 0]
    np.testing.assert_allclose(colors, np.array([[0x80] * 3, [0x00, 0xFF, 0x80]]) / 255, atol=1e-5)
    opacities = 1 / (1 + np.exp(-gaussians.logit_opacities.numpy()))
    np.testing.assert_allclose(opacities, [0x80 / 255, 0xC0 / 255], atol=1e-5)
    assert gaussians.sh_degree == 0


def test_truncated_compressed_files(tmp_path):
    write_compressed(tmp_path / "a.ply", [(0, 0, 0, 0)] * 3)
    (tmp_path / "a.ply").write_bytes((tmp_path / "a.ply").read_bytes()[:-5])
    with pytest.raises(SplatsError, match="ends too early: 2 of 3 rows"):
        load_ply(tmp_path / "a.ply")


def test_compressed_files_of_another_program(tmp_path):
    """What gsply compresses comes out again as nearly as the bits allow."""
    rng = np.random.default_rng(5)
    n = 300  # two chunks
    quats = rng.normal(size=(n, 4))
    arrays = {
        "means": rng.normal(size=(n, 3)),
        "quats": quats / np.linalg.norm(quats, axis=1, keepdims=True),
        "scales": rng.uniform(-5, -2, (n, 3)),
        "opacities": rng.uniform(-3, 3, n),
        "sh0": rng.uniform(-1, 1, (n, 3)),
        "shN": rng.uniform(-1, 1, (n, 3, 3)),
    }
    data = gsply.GSData.from_arrays(**{k: v.astype(np.float32) for k, v in arrays.items()}, format="ply")
    gsply.plywrite(str(tmp_path / "a.ply"), data, compressed=True)
    written = next(tmp_path.glob("a*.ply"))
    gaussians, theirs = load_ply(written), gsply.plyread(str(written))
    np.testing.assert_allclose(gaussians.means, theirs.means, atol=1e-4)
    np.testing.assert_allclose(gaussians.log_scales, theirs.scales, atol=1e-4)
    np.testing.assert_allclose(gaussians.sh[:, 0], theirs.sh0, atol=1e-3)
    np.testing.assert_allclose(gaussians.sh[:, 1:], np.asarray(theirs.shN), atol=8 / 256)
    same = np.abs((gaussians.quats.numpy() * np.asarray(theirs.quats)).sum(axis=1))
    np.testing.assert_allclose(same, 1, atol=1e-4)
    opacities = 1 / (1 + np.exp(-gaussians.logit_opacities.numpy()))
    np.testing.assert_allclose(opacities, 1 / (1 + np.exp(-np.asarray(theirs.opacities))), atol=1e-2)


def test_plain_colours_stand_in_for_harmonics(tmp_path):
    names = ["x", "y", "z", "red", "green", "blue", *REST_OF_NAMES]
    row = [1.0, 2, 3, 255, 0, 51, *range(8)]
    write_by_hand(
        tmp_path / "a.ply", "binary_little_endian", names, [row], dict.fromkeys(names[3:6], "uchar")
    )
    gaussians = load_ply(tmp_path / "a.ply")
    np.testing.assert_allclose(0.5 + 0.28209479177387814 * gaussians.sh[:, 0], [[1, 0, 0.2]], atol=1e-6)
    np.testing.assert_array_equal(gaussians.means, [[1, 2, 3]])


def test_harmonics_above_degree_3_are_left_out(tmp_path):
    names = [*PLAIN_NAMES, *(f"f_rest_{i}" for i in range(72))]
    write_by_hand(tmp_path / "a.ply", "ascii", names, [[float(i) for i in range(len(names))]])
    heard = Heard()
    gaussians = load_ply(tmp_path / "a.ply", heard)
    assert gaussians.sh_degree == 3
    first = len(PLAIN_NAMES)
    np.testing.assert_array_equal(gaussians.sh[0, 1:, 0], np.arange(first, first + 15))
    np.testing.assert_array_equal(gaussians.sh[0, 1:, 1], np.arange(first + 24, first + 39))
    assert "degree 4" in heard.warned[0]


def test_failed_write_keeps_what_was_there(tmp_path, monkeypatch):
    save_ply(counted(3, 0), tmp_path / "a.ply")
    before = (tmp_path / "a.ply").read_bytes()

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr("gags.files.os.fsync", fail)
    with pytest.raises(OSError, match="disk full"):
        save_ply(counted(5, 0), tmp_path / "a.ply")
    assert (tmp_path / "a.ply").read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["a.ply"]


def test_gradients_and_other_types_do_not_disturb(tmp_path):
    gaussians = counted(2, 1)
    tracked = Gaussians(*(getattr(gaussians, f.name).double().requires_grad_() for f in fields(Gaussians)))
    save_ply(tracked, tmp_path / "a.ply")
    assert_same_bits(gaussians, load_ply(tmp_path / "a.ply"))


@pytest.mark.parametrize("degree", [0, 1, 3])
def test_a_large_file_is_read_as_a_small_one(tmp_path, monkeypatch, degree):
    gaussians = counted(700, degree)
    gaussians.means[5] = torch.tensor([3e38, -1e-40, -0.0])
    save_ply(gaussians, tmp_path / "a.ply")
    monkeypatch.setattr("gags.gaussians.ply.MANY", 700)
    monkeypatch.setattr("gags.gaussians.ply._table", None)  # not by columns
    assert_same_bits(gaussians, load_ply(tmp_path / "a.ply"))


@pytest.mark.parametrize("odd", [float("nan"), float("inf"), float("-inf")])
def test_what_is_not_finite_is_dropped_of_a_large_file(tmp_path, monkeypatch, odd):
    gaussians = counted(50, 1)
    gaussians.sh[7, 3, 2] = odd
    save_ply(gaussians, tmp_path / "a.ply")
    monkeypatch.setattr("gags.gaussians.ply.MANY", 1)
    heard = Heard()
    kept = torch.arange(50) != 7
    assert_same_bits(gaussians[kept], load_ply(tmp_path / "a.ply", heard))
    assert "1 of 50 Gaussians are not finite" in str(vars(heard))
