"""3D Gaussians in the PLY layout of 3DGS, which every viewer opens; reading and writing lose nothing.

Read by `gags.files.ply`, whatever the order and types of the properties; why not by gsply is said there.
"""

import sys
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from gags.errors import SplatsError
from gags.files import atomic_write
from gags.files.ply import PlyError, read_elements, read_vertices
from gags.gaussians.compressed_ply import unpacked
from gags.gaussians.foreign import finite_rows
from gags.gaussians.gaussians import SH_C0, Gaussians
from gags.progress import SILENT, Reporter

_MEANS = ["x", "y", "z"]
_NORMALS = ["nx", "ny", "nz"]
_DC = ["f_dc_0", "f_dc_1", "f_dc_2"]
_SCALES = ["scale_0", "scale_1", "scale_2"]
_QUATS = ["rot_0", "rot_1", "rot_2", "rot_3"]
MANY = 200_000  # Gaussians, from which on reading them is worth a kernel
_RGB = ["red", "green", "blue"]  # what exports without view-dependent colour hold instead of f_dc


def load_ply(path: str | Path, progress: Reporter = SILENT) -> Gaussians:
    """Read a 3DGS PLY: ascii or binary, with or without normals; or SuperSplat's compressed one.

    Values are kept as stored (before activation), as float32; properties that Gaussians do not have are
    ignored, and so are spherical harmonics above degree 3. Plain colours (red, green, blue) stand in for a
    missing f_dc. Gaussians with values that are not finite are dropped with a warning, unless these mean
    something (`gags.gaussians.foreign`).

    Raises:
        SplatsError: If the file is missing, damaged, no PLY, or holds no Gaussians.
    """
    path = Path(path)
    try:
        vertices = read_vertices(path)
    except FileNotFoundError as error:
        raise SplatsError(f"{path} is not there; give the path of a 3DGS .ply") from error
    except PlyError as error:
        raise SplatsError(f"{path} {error}; {_remedy(path)}") from error
    except OSError as error:
        raise SplatsError(f"{path} cannot be read ({error.strerror})") from error
    names = vertices.dtype.names or ()
    packed = "packed_position" in names
    rest = [] if packed else _rest_names(path, names, progress)
    if len(vertices) == 0:
        raise SplatsError(f"{path} holds no Gaussians (its element `vertex` has 0 rows)")
    picked = None if packed else _picked(vertices, rest)
    if picked is not None:
        return picked
    table = _unpacked(path) if packed else _table(vertices, rest)
    return _from_table(torch.from_numpy(finite_rows(table, path, progress)))


def _remedy(path: Path) -> str:
    """What to do about a file that cannot be read as PLY."""
    if path.suffix.lower() in ("", ".ply"):
        return "export the 3DGS .ply again"
    return (
        "Gaussians are read as .ply, .spz, .splat, .ksplat, .sog, .glb and .gltf: convert it to one of these"
    )


def save_ply(
    gaussians: Gaussians, path: str | Path, progress: Reporter = SILENT, *, things: np.ndarray | None = None
) -> None:
    """Write a standard 3DGS PLY (binary, little endian, normals zero), atomically.

    Args:
        gaussians: The N Gaussians.
        path: The file.
        progress: Is told nothing: a PLY holds every value.
        things: Thing of each Gaussian, −1 for none, as one more property `thing`; programs that do not know
            it skip it. int [N]
    """
    count, degrees = len(gaussians), gaussians.sh.shape[1]
    rest = [f"f_rest_{i}" for i in range(3 * (degrees - 1))]
    names = [*_MEANS, *_NORMALS, *_DC, *rest, "opacity", *_SCALES, *_QUATS]
    columns = [
        gaussians.means,
        torch.zeros_like(gaussians.means),
        gaussians.sh[:, 0],
        gaussians.sh[:, 1:].transpose(1, 2).reshape(count, len(rest)),  # all reds, all greens, all blues
        gaussians.logit_opacities[:, None],
        gaussians.log_scales,
        gaussians.quats,
    ]
    table = torch.cat([column.detach().cpu().float() for column in columns], dim=1).numpy()
    properties = "".join(f"property float {name}\n" for name in names)
    rows = table.astype("<f4", copy=False)
    if things is not None:
        properties += "property int thing\n"
        rows = np.concatenate(
            [rows, np.asarray(things, "<i4")[:, None].view("<f4")], axis=1
        )  # the bits as they are
    header = f"ply\nformat binary_little_endian 1.0\nelement vertex {count}\n{properties}end_header\n"
    with atomic_write(Path(path)) as temporary, open(temporary, "wb") as file:
        file.write(header.encode("ascii"))
        file.write(rows.tobytes())


def _picked(vertices: np.ndarray, rest: list[str]) -> Gaussians | None:
    """The Gaussians of a large file in one pass; None if it is small, unusual, or not all of it is finite."""
    names = vertices.dtype.names or ()
    plain = all(vertices.dtype[name] == np.dtype("<f4") for name in names) and set(_DC) <= set(names)
    if len(vertices) < MANY or not plain or sys.byteorder != "little":
        return None
    from gags.gaussians.columns import pick  # compiled: not worth it for few

    columns = [names.index(name) for name in (*_MEANS, *_QUATS, *_SCALES, "opacity", *_DC, *rest)]
    gaussians, finite = pick(vertices.view("<f4").reshape(len(vertices), len(names)), np.array(columns))
    return gaussians if finite else None


def _table(vertices: np.ndarray, rest: list[str]) -> np.ndarray:
    """Rows of means, quats, scales, opacity, DC and rest. float32 [N, 14 + R]"""
    wanted = [*_MEANS, *_QUATS, *_SCALES, "opacity"]
    columns = [vertices[name].astype(np.float32, copy=False) for name in wanted]
    for coefficient, channel in zip(_DC, _RGB, strict=True):
        if coefficient in (vertices.dtype.names or ()):
            columns.append(vertices[coefficient].astype(np.float32, copy=False))
        else:
            color = vertices[channel].astype(np.float32)
            color = color / 255 if vertices[channel].dtype.kind in "iu" else color
            columns.append((color - 0.5) / SH_C0)
    columns += [vertices[name].astype(np.float32, copy=False) for name in rest]
    return np.stack(columns, axis=1)


def _unpacked(path: Path) -> np.ndarray:
    """The same rows from a compressed PLY."""
    try:
        return unpacked(read_elements(path))
    except (PlyError, ValueError) as error:
        raise SplatsError(f"{path}, a compressed PLY, {error}; export it again") from error


def _rest_names(path: Path, names: tuple[str, ...], progress: Reporter) -> list[str]:
    """The properties f_rest_* in order, once everything a Gaussian needs is known to be there."""
    colors = () if set(_RGB) <= set(names) else _DC
    missing = [name for name in (*_MEANS, *colors, "opacity", *_SCALES, *_QUATS) if name not in names]
    if missing:
        raise SplatsError(
            f"{path} is a PLY, but not of 3D Gaussians: it has no {', '.join(missing[:4])}"
            f"{' …' if len(missing) > 4 else ''}; give a .ply that 3DGS training wrote"
        )
    count = sum(name.startswith("f_rest_") for name in names)
    rest = [f"f_rest_{i}" for i in range(count)]
    if count == 72 and set(rest) <= set(names):
        progress.warn(f"{path} has spherical harmonics of degree 4; those above degree 3 are left out")
        return [f"f_rest_{24 * channel + i}" for channel in range(3) for i in range(15)]
    if count not in (0, 9, 24, 45) or not set(rest) <= set(names):
        raise SplatsError(
            f"{path} has {count} properties f_rest_*, which is no spherical-harmonics degree from 0 to 3 "
            "(0, 9, 24 or 45, numbered from 0)"
        )
    return rest


def _from_table(table: Tensor) -> Gaussians:
    """Split rows of means, quats, scales, opacity, DC and rest."""
    means, quats, scales, opacities, dc, rest = table.split([3, 4, 3, 1, 3, table.shape[1] - 14], dim=1)
    rest = rest.reshape(len(table), 3, -1).transpose(1, 2)  # stored channel by channel
    sh = torch.cat([dc[:, None], rest], dim=1)
    return Gaussians(
        means.contiguous(),
        quats.contiguous(),
        scales.contiguous(),
        opacities[:, 0].contiguous(),
        sh.contiguous(),
    )
