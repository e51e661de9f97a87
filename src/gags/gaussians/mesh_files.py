"""Meshes as files: `.glb`, `.ply` and `.obj`, written by trimesh."""

import importlib
from pathlib import Path
from typing import Any

import numpy as np

from gags.errors import SplatsError
from gags.files import atomic_write
from gags.gaussians.mesh import Mesh, check_mesh
from gags.progress import SILENT, Reporter

SUFFIXES = (".glb", ".ply", ".obj")


def check_mesh_file(path: Path) -> None:
    """Make sure that a mesh can be written.

    Raises:
        SplatsError: If the suffix names none of the formats, or the extra `mesh` is missing.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise SplatsError(f"{path} ends in none of {', '.join(SUFFIXES)}, formats of meshes; rename --out")
    check_mesh()


def save_mesh(mesh: Mesh, path: str | Path, progress: Reporter = SILENT) -> None:
    """Write a mesh in the format that the suffix names, atomically, in its own frame and units.

    `.glb` and `.ply` hold each vertex's colour and its thing (`_THING`, `thing`), `.obj` its colour alone.
    glTF's colours are linear, so they are converted there; the others hold them as photos do.

    Args:
        mesh: The mesh.
        path: Ends in .glb, .ply or .obj.
        progress: Told what the format cannot hold.

    Raises:
        SplatsError: If the suffix is another one, the extra `mesh` is missing, or the file cannot be written.
    """
    path = Path(path)
    check_mesh_file(path)
    suffix = path.suffix.lower()
    if suffix == ".obj" and mesh.things is not None:
        progress.say(f"{path}: .obj holds the mesh without things; .ply and .glb hold them")
    try:
        with atomic_write(path) as temporary:
            temporary.write_bytes(_packed(mesh, suffix))
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise SplatsError(f"{path} cannot be written ({reason}); choose another --out") from error


def _packed(mesh: Mesh, suffix: str) -> bytes:
    trimesh: Any = importlib.import_module("trimesh")
    colors = _linear(mesh.colors) if suffix == ".glb" else mesh.colors
    opaque = np.full((len(colors), 1), 255, np.uint8)
    exported = trimesh.Trimesh(
        mesh.vertices, mesh.faces, vertex_colors=np.concatenate([colors, opaque], axis=1), process=False
    )
    if mesh.things is not None and suffix != ".obj":
        kind, name = (np.float32, "_THING") if suffix == ".glb" else (np.int32, "thing")
        exported.vertex_attributes[name] = mesh.things.astype(kind)
    if suffix == ".glb":
        glb: Any = trimesh.Scene(exported).export(file_type="glb", tree_postprocessor=_matt)
        return glb
    content = exported.export(file_type=suffix[1:])
    return content.encode() if isinstance(content, str) else bytes(content)  # type: ignore[arg-type]


def _linear(colors: np.ndarray) -> np.ndarray:
    """sRGB (IEC 61966-2-1) → linear, both in 8 bits."""
    c = colors / 255
    return np.round(np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4) * 255).astype(np.uint8)


def _matt(tree: dict[str, Any]) -> None:
    """A material that is no metal, which glTF's default is; seen from both sides, where a surface is open."""
    rough = {"metallicFactor": 0.0, "roughnessFactor": 1.0}
    tree["materials"] = [{"pbrMetallicRoughness": rough, "doubleSided": True}]
    for mesh in tree["meshes"]:
        for primitive in mesh["primitives"]:
            primitive["material"] = 0
