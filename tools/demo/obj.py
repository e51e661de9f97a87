"""Read Wavefront OBJ models: lists of parts, one a material, with smooth normals and texture coordinates."""

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

SMOOTH_ANGLE_DEG = 50.0
"""Faces that meet at less than this angle share a normal where the model brings none."""


@dataclass
class Material:
    """What an MTL file says of a material: colour, texture file, shininess."""

    color: tuple[float, float, float] = (0.7, 0.7, 0.7)
    texture: Path | None = None
    shininess: float = 10.0


@dataclass
class Part:
    """All triangles of one material, one row a face corner (nothing is shared).

    `corners` and `normals` are [F,3,3], `uvs` [F,3,2] (zeros where the model has none).
    """

    name: str
    material: Material
    corners: np.ndarray
    normals: np.ndarray
    uvs: np.ndarray
    has_uvs: bool


def read_materials(path: Path) -> dict[str, Material]:
    """The materials of an MTL file by name; texture files that are missing are left out."""
    materials: dict[str, Material] = {}
    current = Material()
    for line in path.read_text(encoding="latin1").splitlines():
        words = line.split()
        if not words:
            continue
        if words[0] == "newmtl":
            current = materials[line.split(maxsplit=1)[1].strip()] = Material()
        elif words[0] == "Kd":
            current.color = (float(words[1]), float(words[2]), float(words[3]))
        elif words[0] == "Ns":
            current.shininess = float(words[1])
        elif words[0] == "map_Kd":
            texture = path.parent / re.split(r"[/\\]", line.split(maxsplit=1)[1].strip())[-1]
            current.texture = texture if texture.exists() else None
    return materials


def read_obj(path: Path) -> list[Part]:
    """Read an OBJ file and the MTL file it names.

    Args:
        path: The OBJ file.

    Returns:
        One part a (material, kind of texture) in order of appearance.
    """
    positions, texcoords, normals = [], [], []
    faces: dict[str, list[list[tuple[int, int, int]]]] = {}
    materials: dict[str, Material] = {}
    material = ""
    for line in path.read_text(encoding="latin1").replace("\\\n", " ").splitlines():
        words = line.split()
        if not words:
            continue
        match words[0]:
            case "v":
                positions.append([float(w) for w in words[1:4]])
            case "vt":
                texcoords.append([float(w) for w in words[1:3]])
            case "vn":
                normals.append([float(w) for w in words[1:4]])
            case "usemtl":
                material = line.split(maxsplit=1)[1].strip()
            case "mtllib":
                library = path.parent / line.split(maxsplit=1)[1].strip()
                materials |= read_materials(library) if library.exists() else {}
            case "f":
                ring = [_corner(w, len(positions), len(texcoords), len(normals)) for w in words[1:]]
                for i in range(1, len(ring) - 1):
                    faces.setdefault(material, []).append([ring[0], ring[i], ring[i + 1]])
    v, vt, vn = (np.asarray(a, dtype=np.float64) for a in (positions, texcoords, normals))
    parts = []
    for name, triangles in faces.items():
        index = np.asarray(triangles)
        corners = v[index[..., 0]]
        has_uvs = bool(len(vt) and (index[..., 1] >= 0).mean() > 0.5)
        uvs = vt[np.maximum(index[..., 1], 0)] if has_uvs else np.zeros((*index.shape[:2], 2))
        if len(vn) and (index[..., 2] >= 0).all():
            part_normals = vn[index[..., 2]]
        else:
            part_normals = smooth_normals(corners)
        parts.append(Part(name, materials.get(name, Material()), corners, part_normals, uvs, has_uvs))
    return parts


def _corner(word: str, n_positions: int, n_texcoords: int, n_normals: int) -> tuple[int, int, int]:
    """Zero-based (position, texture, normal) indices of a corner like `3/1/2` or `-1//-1`; absent is -1."""
    indices = []
    for text, count in zip(
        (*word.split("/"), "", "")[:3], (n_positions, n_texcoords, n_normals), strict=True
    ):
        number = int(text) if text else 0
        indices.append(number - 1 if number > 0 else count + number if number < 0 else -1)
    return indices[0], indices[1], indices[2]


def smooth_normals(corners: np.ndarray) -> np.ndarray:
    """Normals of face corners, averaged over the faces that share the position and meet at a small angle.

    Args:
        corners: Triangles [F,3,3].

    Returns:
        Unit normals [F,3,3].
    """
    area = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    flat = area / np.maximum(np.linalg.norm(area, axis=1, keepdims=True), 1e-20)
    size = np.ptp(corners.reshape(-1, 3), axis=0).max() or 1.0
    keys = np.round(corners.reshape(-1, 3) / size * 1e5).astype(np.int64)
    _, vertex = np.unique(keys, axis=0, return_inverse=True)
    order = np.argsort(vertex.ravel(), kind="stable")
    face_of_corner = np.repeat(np.arange(len(corners)), 3)
    result = np.empty((len(order), 3))
    limit = np.cos(np.radians(SMOOTH_ANGLE_DEG))
    for members in np.split(order, np.cumsum(np.bincount(vertex.ravel()))[:-1]):
        around = face_of_corner[members]
        near = (flat[around] @ flat[around].T) > limit
        result[members] = near @ area[around]
    length = np.linalg.norm(result, axis=1, keepdims=True)
    result = np.where(length > 1e-20, result / np.maximum(length, 1e-20), flat[face_of_corner])
    return result.reshape(corners.shape)
