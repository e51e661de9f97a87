"""glTF 2.0 with KHR_gaussian_splatting (`.glb`, `.gltf`): Gaussians as a point cloud with attributes; both
ways.

Every value is float32, after activation: linear sizes, opacities in [0, 1], rotations xyzw of length 1, and
the harmonics with the signs of 3DGS files (the extension has the Condon-Shortley phase, as these have).
"""

import base64
import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn.functional import normalize

from gags._version import __version__
from gags.files import atomic_write
from gags.gaussians.foreign import damage_of, gathered, logarithms_of, logits_of
from gags.gaussians.gaussians import SH_C0, Gaussians
from gags.gaussians.gltf_file import GltfFile
from gags.gaussians.transform import transformed
from gags.progress import SILENT, Reporter

EXTENSION = "KHR_gaussian_splatting"
_COLOR_SPACE = "srgb_rec709_display"  # colours as photos hold them, which is what Gaussians are trained on
_LINEAR = "lin_rec709_display"
_FLOAT, _BYTE, _POINTS = 5126, 5121, 0  # glTF's numbers
_GLB_HEADER, _GLB_CHUNK = struct.Struct("<4sII"), struct.Struct("<I4s")
_MOST_GLB_BYTES = 2**32 - 1
# Shown once, a Gaussian takes 32 bytes or more; a file may show some of them twice, but not without an end.
_LEAST_BYTES, _ALWAYS_FINE = 16, 1 << 16


def save_gltf(gaussians: Gaussians, path: Path, progress: Reporter = SILENT) -> None:
    """Write one file: `.glb`, binary, or `.gltf`, JSON with the numbers inside it as base64.

    Gaussians stay in their own frame, without a transform. glTF's up is +Y: in a viewer, scenes of other
    frames lie on their side or upside down until they are turned there.
    """
    buffer, views, accessors, attributes = bytearray(), [], [], {}
    for name, (values, kind) in _attributes(gaussians).items():
        attributes[name] = len(accessors)
        component = _BYTE if values.dtype == np.uint8 else _FLOAT
        accessor = {"bufferView": len(views), "componentType": component, "count": len(values), "type": kind}
        if name == "POSITION":
            accessor |= {"min": values.min(axis=0).tolist(), "max": values.max(axis=0).tolist()}
        if component == _BYTE:
            accessor["normalized"] = True
        views.append({"buffer": 0, "byteOffset": len(buffer), "byteLength": values.nbytes})
        accessors.append(accessor)
        buffer += values.tobytes()
    splatting = {
        "kernel": "ellipse",
        "colorSpace": _COLOR_SPACE,
        "projection": "perspective",
        "sortingMethod": "cameraDistance",
    }
    primitive = {"attributes": attributes, "mode": _POINTS, "extensions": {EXTENSION: splatting}}
    document = {
        "asset": {"version": "2.0", "generator": f"gags {__version__}"},
        "extensionsUsed": [EXTENSION],
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0}],
        "meshes": [{"primitives": [primitive]}],
        "accessors": accessors,
        "bufferViews": views,
        "buffers": [{"byteLength": len(buffer)}],
    }
    with atomic_write(path) as temporary:
        temporary.write_bytes(_packed(document, bytes(buffer), binary=path.suffix.lower() == ".glb"))


def _attributes(gaussians: Gaussians) -> dict[str, tuple[np.ndarray, str]]:
    """Arrays and types of a point cloud's attributes; COLOR_0 is for viewers that know points alone."""
    g = gaussians.to("cpu")
    colors = torch.cat([0.5 + SH_C0 * g.sh[:, 0], g.opacities[:, None]], dim=1)
    attributes = {
        "POSITION": (g.means, "VEC3"),
        f"{EXTENSION}:ROTATION": (normalize(g.quats, dim=-1)[:, [1, 2, 3, 0]], "VEC4"),
        f"{EXTENSION}:SCALE": (g.scales, "VEC3"),
        f"{EXTENSION}:OPACITY": (g.opacities, "SCALAR"),
    }
    for name, coefficient in zip(_harmonics(g.sh_degree), range(g.sh.shape[1]), strict=True):
        attributes[name] = (g.sh[:, coefficient], "VEC3")
    arrays = {
        name: (t.detach().contiguous().numpy().astype("<f4"), kind) for name, (t, kind) in attributes.items()
    }
    color = (colors * 255).round().clamp(0, 255).byte().numpy()
    return arrays | {"COLOR_0": (color, "VEC4")}


def _harmonics(degree: int) -> list[str]:
    """Names of the coefficients' attributes, in the order of 3DGS files."""
    return [f"{EXTENSION}:SH_DEGREE_{d}_COEF_{n}" for d in range(degree + 1) for n in range(2 * d + 1)]


def _packed(document: dict[str, Any], buffer: bytes, *, binary: bool) -> bytes:
    """A document and its buffer as one file."""
    if not binary:
        uri = "data:application/octet-stream;base64," + base64.b64encode(buffer).decode("ascii")
        document["buffers"][0]["uri"] = uri
        return json.dumps(document).encode()
    text = json.dumps(document).encode()
    chunks = [(b"JSON", text + b" " * (-len(text) % 4)), (b"BIN\0", buffer + b"\0" * (-len(buffer) % 4))]
    size = _GLB_HEADER.size + sum(_GLB_CHUNK.size + len(content) for _, content in chunks)
    if size > _MOST_GLB_BYTES:
        raise OSError(None, "a .glb holds at most 4 GB; write a .ply")
    parts = [_GLB_HEADER.pack(b"glTF", 2, size)]
    for kind, content in chunks:
        parts += [_GLB_CHUNK.pack(len(content), kind), content]
    return b"".join(parts)


def load_gltf(path: Path, progress: Reporter = SILENT) -> Gaussians:
    """Read all Gaussians of the scene, where its nodes put them; see `files.load_gaussians`.

    Raises:
        SplatsError: If the file is missing, damaged, no glTF, or holds no Gaussians that can be read.
    """
    with damage_of(path, "a glTF file"):
        file = GltfFile.read(path)
        found, count = [], 0
        for mesh, matrix in list(file.meshes()):
            for primitive in file.list("meshes")[mesh]["primitives"]:
                if EXTENSION in primitive.get("extensions", {}):
                    part = _gaussians(file, primitive, progress)
                    count += len(part)
                    if count > max(_ALWAYS_FINE, file.bytes_read // _LEAST_BYTES):
                        raise ValueError(f"it shows {count} Gaussians, too many for its size")
                    found.append(transformed(part, matrix))
        if not found:
            raise ValueError(f"it has no Gaussians, that is, no points with {EXTENSION}")
        return _joined(found)


def _gaussians(file: GltfFile, primitive: dict[str, Any], progress: Reporter) -> Gaussians:
    """The Gaussians of one primitive, in its own frame."""
    splatting, names = primitive["extensions"][EXTENSION], primitive["attributes"]
    packed = [name for name in splatting.get("extensions", {}) if name.startswith(EXTENSION)]
    if packed:
        raise ValueError(f"its Gaussians are packed as {packed[0]}, which is not read; write them unpacked")
    if splatting.get("kernel", "ellipse") != "ellipse":
        raise ValueError(f"its kernel is {splatting['kernel']!r}, and 'ellipse' is read")
    if splatting.get("colorSpace") == _LINEAR:
        progress.warn(
            f"{file.path} has linear colours; they are kept as they are, and look darker than meant"
        )
    degrees = [d for d in range(4) if all(name in names for name in _harmonics(d))]
    if not degrees:
        raise ValueError("its Gaussians have no harmonics of degree 0")
    sh = np.stack([file.accessor(names[name], 3) for name in _harmonics(degrees[-1])], axis=1)
    scales = file.accessor(names[f"{EXTENSION}:SCALE"], 3)
    if (scales < 0).any():
        progress.warn(f"{file.path} has sizes below 0, as drafts of the format had: taken as logarithms")
    else:
        scales = logarithms_of(scales)
    return gathered(
        file.accessor(names["POSITION"], 3),
        file.accessor(names[f"{EXTENSION}:ROTATION"], 4)[:, [3, 0, 1, 2]],
        scales,
        logits_of(file.accessor(names[f"{EXTENSION}:OPACITY"], 1)),
        sh,
        path=file.path,
        progress=progress,
    )


def _joined(parts: list[Gaussians]) -> Gaussians:
    """One set of Gaussians; those of a lower degree get harmonics of 0."""
    most = max(part.sh.shape[1] for part in parts)
    sh = [torch.nn.functional.pad(part.sh, (0, 0, 0, most - part.sh.shape[1])) for part in parts]
    return Gaussians(
        torch.cat([part.means for part in parts]),
        torch.cat([part.quats for part in parts]),
        torch.cat([part.log_scales for part in parts]),
        torch.cat([part.logit_opacities for part in parts]),
        torch.cat(sh),
    )
