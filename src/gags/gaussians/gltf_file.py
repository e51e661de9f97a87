"""The container glTF 2.0: its JSON, its buffers, the numbers in them, and where its nodes are."""

import base64
import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
import torch

from gags.gaussians.foreign import content_of
from gags.render.reference import rotation_matrices

_COMPONENTS = {5120: "<i1", 5121: "<u1", 5122: "<i2", 5123: "<u2", 5125: "<u4", 5126: "<f4"}
_WIDTHS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4}
_GLB_HEADER_BYTES, _CHUNK_HEADER_BYTES = 12, 8


@dataclass
class GltfFile:
    """A `.glb` or `.gltf` file; what it says is checked where it is used.

    Attributes:
        path: The file.
        document: Its JSON.
        binary: The chunk of numbers of a `.glb`.
    """

    path: Path
    document: dict[str, Any]
    binary: bytes = b""
    _buffers: dict[int, bytes] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path) -> "GltfFile":
        """Read a file by its content, whatever its suffix.

        Raises:
            SplatsError: If the file is missing or cannot be read.
            ValueError: If it is no glTF 2.0.
        """
        data = content_of(path)
        if data[:4] != b"glTF":
            return cls(path, _object(json.loads(data)))
        version, size = struct.unpack_from("<II", data, 4)
        if version != 2 or size > len(data):
            raise ValueError(f"version {version}, {size} bytes claimed, {len(data)} there")
        chunks, place = {}, _GLB_HEADER_BYTES
        while place + _CHUNK_HEADER_BYTES <= size:
            length, kind = struct.unpack_from("<I4s", data, place)
            place += _CHUNK_HEADER_BYTES
            if place + length > size:
                raise ValueError("a chunk ends behind the end of the file")
            chunks.setdefault(kind, data[place : place + length])
            place += length
        return cls(path, _object(json.loads(chunks[b"JSON"])), chunks.get(b"BIN\0", b""))

    @property
    def bytes_read(self) -> int:
        """Bytes of the buffers that were used so far."""
        return sum(map(len, self._buffers.values()))

    def list(self, name: str) -> list[Any]:
        """One of its lists; empty if it has none."""
        return list(self.document.get(name, []))

    def accessor(self, index: int, width: int) -> np.ndarray:
        """Numbers of an accessor, whose integers are turned into fractions where they stand for such.

        Args:
            index: Of the accessor.
            width: Numbers an element that are wanted.

        Returns:
            float64 [count, width], or [count] if the width is 1
        """
        accessor = self.list("accessors")[_place(index)]
        kind, count = np.dtype(_COMPONENTS[accessor["componentType"]]), _place(accessor["count"])
        if _WIDTHS[accessor["type"]] != width or "sparse" in accessor:
            raise ValueError(f"accessor {index} is not {count} rows of {width} numbers")
        view = self.list("bufferViews")[_place(accessor["bufferView"])]
        start = _place(view.get("byteOffset", 0)) + _place(accessor.get("byteOffset", 0))
        stride = _place(view.get("byteStride", 0)) or width * kind.itemsize
        end = _place(view.get("byteOffset", 0)) + _place(view["byteLength"])
        buffer = self._buffer(_place(view["buffer"]))
        last = start + (count - 1) * stride + width * kind.itemsize
        if stride < width * kind.itemsize or (count and last > min(end, len(buffer))):
            raise ValueError(f"accessor {index} claims {count} rows that are not there")
        values = np.ndarray((count, width), kind, buffer, start, (stride, kind.itemsize)).astype(np.float64)
        if accessor.get("normalized") and kind.kind in "iu":
            values = (values / np.iinfo(kind).max).clip(-1, 1)
        return values[:, 0] if width == 1 else values

    def _buffer(self, index: int) -> bytes:
        """A buffer: the binary chunk, in the JSON, or a file beside."""
        if index not in self._buffers:
            uri = self.list("buffers")[index].get("uri")
            if uri is None:
                content = self.binary if index == 0 else b""
            elif uri.startswith("data:"):
                content = base64.b64decode(uri.partition(",")[2], validate=True)
            else:
                name = Path(unquote(uri))
                if "://" in uri or name.is_absolute() or ".." in name.parts:
                    raise ValueError(f"a buffer lies elsewhere: {uri[:60]!r}")
                content = content_of(self.path.parent / name)
            self._buffers[index] = content
        return self._buffers[index]

    def meshes(self) -> Iterator[tuple[int, np.ndarray]]:
        """Meshes with the transform of each node that shows one, [4, 4]; of the scene that is shown first."""
        nodes, scenes = self.list("nodes"), self.list("scenes")
        if not nodes:
            yield from ((mesh, np.eye(4)) for mesh in range(len(self.list("meshes"))))
            return
        below = {child for node in nodes for child in node.get("children", [])}
        roots = [number for number in range(len(nodes)) if number not in below]
        if scenes:
            roots = scenes[_place(self.document.get("scene", 0))].get("nodes", [])
        waiting, seen = [(_place(root), np.eye(4)) for root in roots], set()
        while waiting:
            number, above = waiting.pop()
            if number in seen:
                raise ValueError(f"node {number} has two parents, or lies within itself")
            seen.add(number)
            node = nodes[number]
            matrix = above @ _matrix(node)
            if "mesh" in node:
                yield _place(node["mesh"]), matrix
            waiting += [(_place(child), matrix) for child in node.get("children", [])]


def _object(content: Any) -> dict[str, Any]:
    if not isinstance(content, dict) or not str(content.get("asset", {}).get("version", "")).startswith("2"):
        raise ValueError("it is not glTF 2.0")
    return content


def _place(value: Any) -> int:
    """A number that counts something: not below 0, which Python would count from the end."""
    if isinstance(value, bool) or value != int(value) or value < 0:
        raise ValueError(f"{value!r} is no number of a thing")
    return int(value)


def _matrix(node: dict[str, Any]) -> np.ndarray:
    """Transform of a node: a matrix, column by column, or translation, rotation (xyzw) and scale. [4, 4]"""
    if "matrix" in node:
        return np.asarray(node["matrix"], np.float64).reshape(4, 4).T
    matrix = np.eye(4)
    x, y, z, w = node.get("rotation", (0, 0, 0, 1))
    rotation = rotation_matrices(torch.tensor([[w, x, y, z]], dtype=torch.float64))[0].numpy()
    matrix[:3, :3] = rotation * np.asarray(node.get("scale", (1, 1, 1)), np.float64)
    matrix[:3, 3] = node.get("translation", (0, 0, 0))
    return matrix
