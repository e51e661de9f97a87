"""glTF with KHR_gaussian_splatting: its bytes decoded here, its structure by trimesh, and pictures of it."""

import base64
import json
import struct

import numpy as np
import pytest
import torch
from tests.helpers.heard import Heard
from tests.helpers.varied import pictures, rotation, varied

from gags.errors import SplatsError
from gags.gaussians.files import load_gaussians, save_gaussians

EXTENSION = "KHR_gaussian_splatting"


def parts_of(path) -> tuple[dict, bytes]:
    """JSON and numbers of a .glb or .gltf, decoded by hand."""
    data = path.read_bytes()
    if path.suffix == ".gltf":
        document = json.loads(data)
        return document, base64.b64decode(document["buffers"][0]["uri"].split(",")[1])
    magic, version, size, length, kind = struct.unpack_from("<4sIII4s", data)
    assert (magic, version, size, kind) == (b"glTF", 2, len(data), b"JSON")
    assert length % 4 == 0
    second, kind = struct.unpack_from("<I4s", data, 20 + length)
    assert kind == b"BIN\0"
    assert 28 + length + second == size
    return json.loads(data[20 : 20 + length]), data[28 + length :]


def written(document: dict, numbers: bytes) -> bytes:
    text = json.dumps(document).encode()
    text += b" " * (-len(text) % 4)
    chunks = (
        struct.pack("<I4s", len(text), b"JSON") + text + struct.pack("<I4s", len(numbers), b"BIN\0") + numbers
    )
    return struct.pack("<4sII", b"glTF", 2, 12 + len(chunks)) + chunks


def attribute(document: dict, numbers: bytes, name: str) -> np.ndarray:
    accessor = document["accessors"][document["meshes"][0]["primitives"][0]["attributes"][name]]
    view = document["bufferViews"][accessor["bufferView"]]
    width = {"SCALAR": 1, "VEC3": 3, "VEC4": 4}[accessor["type"]]
    kind = {5126: "<f4", 5121: "u1"}[accessor["componentType"]]
    return np.frombuffer(numbers, kind, accessor["count"] * width, view["byteOffset"]).reshape(-1, width)


@pytest.mark.parametrize("suffix", [".glb", ".gltf"])
@pytest.mark.parametrize("degree", [0, 3])
def test_the_file_holds_what_the_extension_says(tmp_path, suffix, degree):
    gaussians, heard = varied(degree=degree), Heard()
    save_gaussians(gaussians, tmp_path / f"a{suffix}", heard)
    assert heard.said == []
    document, numbers = parts_of(tmp_path / f"a{suffix}")
    (primitive,) = document["meshes"][0]["primitives"]
    assert document["extensionsUsed"] == [EXTENSION]
    assert primitive["mode"] == 0
    assert primitive["extensions"][EXTENSION]["colorSpace"] == "srgb_rec709_display"
    assert primitive["extensions"][EXTENSION]["kernel"] == "ellipse"
    np.testing.assert_array_equal(attribute(document, numbers, "POSITION"), gaussians.means)
    quats = gaussians.quats.numpy() / np.linalg.norm(gaussians.quats, axis=1, keepdims=True)
    read = attribute(document, numbers, f"{EXTENSION}:ROTATION")
    np.testing.assert_allclose(read, quats[:, [1, 2, 3, 0]], atol=1e-6)
    np.testing.assert_allclose(
        attribute(document, numbers, f"{EXTENSION}:SCALE"), np.exp(gaussians.log_scales), rtol=1e-6
    )
    opacities = 1 / (1 + np.exp(-gaussians.logit_opacities.numpy()))
    np.testing.assert_allclose(
        attribute(document, numbers, f"{EXTENSION}:OPACITY")[:, 0], opacities, atol=1e-6
    )
    names = [(d, n) for d in range(degree + 1) for n in range(2 * d + 1)]
    for row, (d, n) in enumerate(names):
        values = attribute(document, numbers, f"{EXTENSION}:SH_DEGREE_{d}_COEF_{n}")
        np.testing.assert_array_equal(values, gaussians.sh[:, row])
    low = document["accessors"][primitive["attributes"]["POSITION"]]["min"]
    np.testing.assert_allclose(low, gaussians.means.min(dim=0).values)


def test_other_programs_see_a_cloud_of_coloured_points(tmp_path):
    trimesh = pytest.importorskip("trimesh")
    gaussians = varied(degree=1)
    save_gaussians(gaussians, tmp_path / "a.glb")
    (cloud,) = trimesh.load(tmp_path / "a.glb").geometry.values()
    np.testing.assert_allclose(cloud.vertices, gaussians.means, atol=1e-6)
    colors = (0.5 + 0.2820948 * gaussians.sh[:, 0].numpy()).clip(0, 1)
    np.testing.assert_allclose(np.asarray(cloud.colors)[:, :3] / 255, colors, atol=0.51 / 255)


@pytest.mark.parametrize("suffix", [".glb", ".gltf"])
@pytest.mark.parametrize("degree", [0, 1, 2, 3])
def test_what_is_written_is_read_and_looks_the_same(tmp_path, suffix, degree):
    gaussians = varied(degree=degree)
    gaussians.logit_opacities[0] = 40.0  # an opacity of 1, whose logit is infinite
    save_gaussians(gaussians, tmp_path / f"a{suffix}")
    again = load_gaussians(tmp_path / f"a{suffix}")
    assert again.sh_degree == degree
    torch.testing.assert_close(again.log_scales, gaussians.log_scales, atol=1e-5, rtol=0)
    torch.testing.assert_close(pictures(again), pictures(gaussians), atol=1e-4, rtol=0)


def test_nodes_put_their_gaussians_where_they_are_shown(tmp_path):
    """Two nodes show one mesh: one moved by a matrix, one by its parent's rotation and a scale of its own."""
    gaussians = varied(20, degree=2)
    save_gaussians(gaussians, tmp_path / "a.glb")
    document, numbers = parts_of(tmp_path / "a.glb")
    turn, matrix = rotation(5), np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = 2 * turn, [1, 2, 3]
    half = np.sqrt(0.5)  # a quarter turn about z: x → y
    document["nodes"] = [
        {"mesh": 0, "matrix": matrix.T.ravel().tolist()},
        {"rotation": [0, 0, half, half], "children": [2]},
        {"mesh": 0, "translation": [1, 0, 0], "scale": [3, 3, 3]},
    ]
    document["scenes"] = [{"nodes": [0, 1]}]
    (tmp_path / "b.glb").write_bytes(written(document, numbers))
    again = load_gaussians(tmp_path / "b.glb")
    assert len(again) == 40
    points = gaussians.means.numpy()
    one = 2 * points @ turn.T + [1, 2, 3]
    moved = 3 * points + [1, 0, 0]
    two = np.stack([-moved[:, 1], moved[:, 0], moved[:, 2]], axis=1)
    found = sorted(map(tuple, np.round(again.means.numpy(), 4).tolist()))
    np.testing.assert_allclose(
        found, sorted(map(tuple, np.round(np.concatenate([one, two]), 4).tolist())), atol=2e-4
    )
    sizes = again.scales.numpy().prod(axis=1) / np.tile(gaussians.scales.numpy().prod(axis=1), 2)
    assert sorted(np.round(sizes).tolist()) == [8.0] * 20 + [27.0] * 20


def _quantized(document: dict, numbers: bytes, name: str, values: np.ndarray, component: int) -> bytes:
    """Attribute `name` as normalised integers with a stride; returns the longer buffer."""
    info = np.iinfo({5120: "i1", 5122: "i2", 5121: "u1", 5123: "u2"}[component])
    rows = np.zeros((len(values), 8 // info.dtype.itemsize), info.dtype)
    rows[:, : values.shape[1]] = np.round(values * info.max)
    primitive = document["meshes"][0]["primitives"][0]
    kind = {1: "SCALAR", 3: "VEC3", 4: "VEC4"}[values.shape[1]]
    document["accessors"].append(
        {"bufferView": len(document["bufferViews"]), "componentType": component, "count": len(values)}
        | {"type": kind, "normalized": True}
    )
    document["bufferViews"].append(
        {"buffer": 0, "byteOffset": len(numbers), "byteLength": rows.nbytes, "byteStride": 8}
    )
    primitive["attributes"][name] = len(document["accessors"]) - 1
    document["buffers"][0]["byteLength"] = len(numbers) + rows.nbytes
    return numbers + rows.tobytes()


def test_integers_stand_for_fractions(tmp_path):
    gaussians = varied(degree=1)
    save_gaussians(gaussians, tmp_path / "a.glb")
    document, numbers = parts_of(tmp_path / "a.glb")
    quats = gaussians.quats / gaussians.quats.norm(dim=1, keepdim=True)
    opacities = gaussians.opacities.numpy()[:, None]
    numbers = _quantized(document, numbers, f"{EXTENSION}:ROTATION", quats.numpy()[:, [1, 2, 3, 0]], 5122)
    numbers = _quantized(document, numbers, f"{EXTENSION}:OPACITY", opacities, 5121)
    (tmp_path / "b.glb").write_bytes(written(document, numbers))
    again = load_gaussians(tmp_path / "b.glb")
    torch.testing.assert_close(again.quats, quats, atol=1 / 32767, rtol=0)
    torch.testing.assert_close(again.opacities, gaussians.opacities, atol=0.51 / 255, rtol=0)


def test_logarithms_of_drafts_are_known_by_their_sign(tmp_path):
    gaussians, heard = varied(degree=0), Heard()
    save_gaussians(gaussians, tmp_path / "a.glb")
    document, numbers = parts_of(tmp_path / "a.glb")
    scale = document["meshes"][0]["primitives"][0]["attributes"][f"{EXTENSION}:SCALE"]
    start = document["bufferViews"][scale]["byteOffset"]
    logs = gaussians.log_scales.numpy().tobytes()
    (tmp_path / "b.glb").write_bytes(written(document, numbers[:start] + logs + numbers[start + len(logs) :]))
    again = load_gaussians(tmp_path / "b.glb", heard)
    torch.testing.assert_close(again.log_scales, gaussians.log_scales)
    assert "taken as logarithms" in heard.warned[0]


def _changed(change) -> dict:
    document = {
        "asset": {"version": "2.0"},
        "meshes": [
            {"primitives": [{"attributes": {}, "extensions": {EXTENSION: {}}}]},
        ],
    }
    change(document)
    return document


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d["asset"].update(version="1.0"), "not glTF 2.0"),
        (lambda d: d["meshes"][0]["primitives"][0].pop("extensions"), "has no Gaussians"),
        (lambda d: d["meshes"][0]["primitives"][0]["extensions"][EXTENSION].update(kernel="cube"), "'cube'"),
        (
            lambda d: d["meshes"][0]["primitives"][0]["extensions"][EXTENSION].update(
                extensions={f"{EXTENSION}_compression_spz": {}}
            ),
            "packed as KHR_gaussian_splatting_compression_spz",
        ),
        (lambda d: d.update(nodes=[{"children": [0], "mesh": 0}], scenes=[{"nodes": [0]}]), "within itself"),
        (lambda d: d.update(meshes=5), "damaged"),
    ],
)
def test_what_cannot_be_read_is_one_line(tmp_path, change, message):
    (tmp_path / "a.gltf").write_text(json.dumps(_changed(change)))
    with pytest.raises(SplatsError, match=message):
        load_gaussians(tmp_path / "a.gltf")


def test_buffers_beside_the_file_and_nowhere_else(tmp_path):
    gaussians = varied(degree=0)
    save_gaussians(gaussians, tmp_path / "a.glb")
    document, numbers = parts_of(tmp_path / "a.glb")
    document["buffers"][0]["uri"] = "my%20numbers.bin"
    (tmp_path / "my numbers.bin").write_bytes(numbers)
    (tmp_path / "b.gltf").write_text(json.dumps(document))
    assert torch.equal(load_gaussians(tmp_path / "b.gltf").means, gaussians.means)
    for uri in ("../a.bin", "/etc/passwd", "https://example.org/a.bin"):
        document["buffers"][0]["uri"] = uri
        (tmp_path / "c.gltf").write_text(json.dumps(document))
        with pytest.raises(SplatsError, match="lies elsewhere"):
            load_gaussians(tmp_path / "c.gltf")
