"""Turn arrays of triangles into Mitsuba meshes with materials."""

from dataclasses import dataclass

import mitsuba as mi
import numpy as np


@dataclass(frozen=True)
class Look:
    """How a surface looks.

    `texture` is an 8-bit sRGB picture [H,W,3], or None for the flat `color` (linear RGB). `grain` is a grey
    picture around 1.0 that multiplies a flat colour. Where a model brings no texture coordinates, pictures
    come back every `tile_m` metres.
    """

    color: tuple[float, float, float] = (0.7, 0.7, 0.7)
    texture: np.ndarray | None = None
    grain: np.ndarray | None = None
    tile_m: float = 0.1
    roughness: float = 0.6
    specular: float = 0.35
    metallic: float = 0.0


def to_srgb(linear: np.ndarray) -> np.ndarray:
    """Linear values in [0, 1] as sRGB values in [0, 1]."""
    linear = np.clip(linear, 0, 1)
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


def bsdf(look: Look) -> dict:
    """The Mitsuba description of a look."""
    picture = look.texture
    if picture is None and look.grain is not None:
        flat = np.asarray(look.color) * look.grain[..., None]
        picture = np.round(to_srgb(flat) * 255).astype(np.uint8)
    if picture is None:
        base: dict = {"type": "rgb", "value": list(look.color)}
    else:
        base = {
            "type": "bitmap",
            "bitmap": mi.Bitmap(np.ascontiguousarray(picture)),
            "filter_type": "bilinear",
        }
    material: dict = {
        "type": "principled",
        "base_color": base,
        "roughness": look.roughness,
        "specular": look.specular,
        "metallic": look.metallic,
    }
    return {"type": "twosided", "bsdf": material}


def box_uvs(corners: np.ndarray, tile_m: float) -> np.ndarray:
    """Texture coordinates [F,3,2] by projection along each face's main axis, a tile every `tile_m` metres."""
    area = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    axis = np.abs(area).argmax(axis=1)
    keep = np.array([[1, 2], [0, 2], [0, 1]])[axis]
    return np.take_along_axis(corners, np.repeat(keep[:, None], 3, axis=1), axis=2) / tile_m


def mesh(
    name: str, corners: np.ndarray, normals: np.ndarray | None, uvs: np.ndarray | None, look: Look
) -> mi.Mesh:
    """A Mitsuba mesh in world coordinates (metres).

    Args:
        name: For messages.
        corners: Triangles [F,3,3].
        normals: Unit normals of the corners [F,3,3], or None for flat faces.
        uvs: Texture coordinates [F,3,2], or None for a box projection.
        look: Material.

    Returns:
        The mesh with its material.
    """
    area = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    solid = np.linalg.norm(area, axis=1) > 1e-14
    corners, area = corners[solid], area[solid]
    uvs = box_uvs(corners, look.tile_m) if uvs is None else uvs[solid]
    properties = mi.Properties()
    properties["mesh_bsdf"] = mi.load_dict(bsdf(look))
    shape = mi.Mesh(
        name,
        vertex_count=3 * len(corners),
        face_count=len(corners),
        has_vertex_normals=normals is not None,
        has_vertex_texcoords=True,
        props=properties,
    )
    values = mi.traverse(shape)
    faces = np.arange(3 * len(corners)).reshape(-1, 3)
    if normals is not None:
        normals = normals[solid]
        # Models mix windings; a face whose winding contradicts its normals would shade black.
        inside_out = (normals.mean(axis=1) * area).sum(axis=1) < 0
        faces[inside_out] = faces[inside_out][:, ::-1]
        values["vertex_normals"] = mi.Float(normals.reshape(-1).astype(np.float32))
    values["vertex_positions"] = mi.Float(corners.reshape(-1).astype(np.float32))
    values["vertex_texcoords"] = mi.Float(uvs.reshape(-1).astype(np.float32))
    values["faces"] = mi.UInt32(faces.reshape(-1).astype(np.uint32))
    values.update()
    return shape
