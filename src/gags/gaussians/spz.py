"""Niantic's `.spz`, compressed, spherical harmonics included; gsply reads and writes it.

A file does not say which way its axes point. The format's README wants right, up and back ("RUB"); what most
converters from `.ply` write, gsply among them, are those of the `.ply`: right, down and to the front ("RDF").
gags turns nothing, so that positions are the same in all formats; `half_turned` leads from one to the other.
"""

import math
import struct
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize
from zstandard import ZstdError

from gags.errors import SplatsError
from gags.files import atomic_write
from gags.gaussians.foreign import gathered
from gags.gaussians.gaussians import Gaussians
from gags.progress import SILENT, Reporter
from gags.render.reference import sh_basis

SpzVersion = Literal[3, 4]

COORDINATE_BITS = 24  # sign included
# Rounding of a centre that nobody sees: this part of the middle size of the Gaussians.
ROUNDING = 0.1
# Of the Gaussians, this share at most may be left out because they lie too far away for that rounding.
MOST_STRAYS = 0.01
_LEAST_BITS, _MOST_BITS, _HEADROOM = 1, 20, 1e-3
_MAGIC = b"NGSP"
_LEGACY_HEADER = struct.Struct("<4sIIBB")
_LEGACY_HEADER_BYTES = 16
_GZIP = b"\x1f\x8b"
# A file of many equal Gaussians may unpack to more than its size says, but never to so much more.
_MOST_EXPANSION, _ALWAYS_FINE = 50, 1 << 26
_MOST_FRACTION_BITS = COORDINATE_BITS - 1


def half_turned(gaussians: Gaussians) -> Gaussians:
    """Gaussians turned by half about x, from the axes of a `.ply` to those of a `.spz` or back.

    Only signs change, so that nothing is rounded: y and z of centres and rotations, and the harmonics that
    change theirs with y and z.
    """
    like = gaussians.means
    axes, halves = like.new_tensor([1, -1, -1]), like.new_tensor([1, 1, -1, -1])
    degree = math.isqrt(gaussians.sh.shape[1]) - 1
    direction = torch.tensor([[0.48, 0.6, 0.64]], dtype=torch.float64)  # in which no harmonic is 0
    basis, turned = (sh_basis(d, degree)[0] for d in (direction, direction * axes.cpu()))
    signs = (basis * turned).sign().to(gaussians.sh)
    return replace(
        gaussians,
        means=like * axes,
        quats=gaussians.quats * halves,
        sh=gaussians.sh * signs[:, None],
    )


def save_spz(
    gaussians: Gaussians, path: Path, progress: Reporter = SILENT, *, version: SpzVersion = 3
) -> None:
    """Write version 3 or 4; the fraction of a coordinate gets the bits that the largest coordinate leaves.

    A few Gaussians far away would take the bits from all others. They are left out, with a warning. Both
    versions round alike; 3 is one gzip stream, which every viewer reads, 4 is one zstd stream a property.
    """
    from gsply import GSData, write_spz

    if version not in (3, 4):
        raise SplatsError(f"SPZ is written in versions 3 and 4, not {version}; choose one of these")

    g = gaussians.to("cpu")
    near = near_enough(g.means, g.scales)
    count = int((~near).sum())
    if count > MOST_STRAYS * len(g) + 1:
        raise SplatsError(
            f"{path}: {count} of {len(g)} Gaussians lie beyond {reach(_LEAST_BITS):.0f} units from the "
            "origin, which .spz cannot hold; write a .ply"
        )
    if count:
        progress.warn(
            f"{path}: {count} of {len(g)} Gaussians lie so far away that .spz would round the place of all "
            "others visibly; left out (.ply keeps them)"
        )
        g = g[near]
    arrays = (g.means, normalize(g.quats, dim=-1), g.log_scales, g.logit_opacities, g.sh[:, 0], g.sh[:, 1:])
    means, quats, scales, opacities, sh0, rest = (np.ascontiguousarray(a.float().numpy()) for a in arrays)
    data = GSData.from_arrays(
        means=means,
        quats=quats,
        scales=scales,
        opacities=opacities,
        sh0=sh0,
        shN=rest if rest.size else None,
        format="ply",
    )
    with atomic_write(path) as temporary:
        bits = fraction_bits(float(np.abs(means).max()))
        write_spz(temporary, data, version=version, fractional_bits=bits)


def fraction_bits(largest: float) -> int:
    """Bits behind the point of SPZ's fixed-point coordinates, so that the largest still fits; 1 to 20."""
    whole = math.ceil(math.log2(max(largest, 1e-6) + _HEADROOM))
    return int(np.clip(COORDINATE_BITS - 1 - whole, _LEAST_BITS, _MOST_BITS))


def near_enough(means: Tensor, scales: Tensor) -> Tensor:
    """Which Gaussians can be written so that nobody sees the rounding of their centres.

    Args:
        means: Centres. [N, 3]
        scales: Standard deviations. [N, 3]

    Returns:
        All of them, if the rounding is below `ROUNDING` of the middle size anyway; else those within the
        distance that allows it, but at least 1 − `MOST_STRAYS` of all. None that is beyond what the format
        can hold at all. bool [N]
    """
    distance = means.abs().amax(dim=-1).double()
    wanted = ROUNDING * float(scales.amax(dim=-1).median())
    enough = next((bits for bits in range(_LEAST_BITS, _MOST_BITS) if 0.5**bits <= wanted), _MOST_BITS)
    if fraction_bits(float(distance.max())) >= enough and float(distance.max()) <= reach(_LEAST_BITS):
        return torch.ones(len(means), dtype=torch.bool)
    most = float(torch.quantile(distance, 1 - MOST_STRAYS, interpolation="higher"))
    return distance <= min(max(reach(enough), most), reach(_LEAST_BITS))


def reach(bits: int) -> float:
    """The largest coordinate that leaves so many bits for the fraction, as `fraction_bits` counts them."""
    return 2.0 ** (COORDINATE_BITS - 1 - bits) - _HEADROOM


def load_spz(path: Path, progress: Reporter = SILENT) -> Gaussians:
    """Read versions 1 to 4; see `files.load_gaussians`.

    Raises:
        SplatsError: If the file is missing, damaged, or no SPZ.
    """
    _check(path)
    from gsply import read_spz

    try:
        data = read_spz(path)
    except (ValueError, OSError, struct.error, zlib.error, ZstdError, EOFError, MemoryError) as error:
        raise SplatsError(f"{path}, an SPZ file, cannot be read ({error}); export it again") from error
    rest = np.zeros((len(data.means), 0, 3), np.float32) if data.shN is None else data.shN
    sh = np.concatenate([np.asarray(data.sh0, np.float32)[:, None], rest], axis=1)
    return gathered(data.means, data.quats, data.scales, data.opacities, sh, path=path, progress=progress)


def _check(path: Path) -> None:
    """Compare what a header claims with the bytes that are there, before memory is asked for."""
    try:
        with open(path, "rb") as file:
            head = file.read(32)
            size = path.stat().st_size
            if head[:2] == _GZIP:
                file.seek(0)
                _check_legacy(path, file.read(), size)
            elif head[:4] == _MAGIC:
                _check_version_4(path, head, file.read(), size)
            else:
                raise SplatsError(
                    f"{path} is no SPZ file, whatever its name says; give a .ply, .spz or .splat"
                )
    except FileNotFoundError as error:
        raise SplatsError(f"{path} is not there; give the path of a file of Gaussians") from error
    except OSError as error:
        raise SplatsError(f"{path} cannot be read ({error.strerror})") from error


def _check_legacy(path: Path, packed: bytes, size: int) -> None:
    """Versions 1 to 3: one gzip stream, whose length follows from its header."""
    unzip = zlib.decompressobj(wbits=31)
    try:
        head = unzip.decompress(packed, _LEGACY_HEADER_BYTES)
        magic, version, count, degree, bits = _LEGACY_HEADER.unpack_from(head)
    except (zlib.error, struct.error) as error:
        raise SplatsError(f"{path} is no whole SPZ file ({error}); export it again") from error
    if magic != _MAGIC or version not in (1, 2, 3) or degree > 3 or bits > _MOST_FRACTION_BITS:
        raise SplatsError(
            f"{path} is no SPZ file of versions 1 to 4, or a damaged one (version {version}, harmonics of "
            f"degree {degree}); export it again"
        )
    coordinate = 6 if version == 1 else 9  # bytes; version 1 has half floats
    rest = 3 * ((degree + 1) ** 2 - 1)
    expected = _LEGACY_HEADER_BYTES + count * (coordinate + 1 + 3 + 3 + (4 if version == 3 else 3) + rest)
    if expected > max(_ALWAYS_FINE, _MOST_EXPANSION * size):
        raise SplatsError(f"{path} claims {count} Gaussians, too many for its {size} bytes; export it again")
    try:
        there = len(head) + len(unzip.decompress(unzip.unconsumed_tail, expected))
    except zlib.error as error:
        raise SplatsError(f"{path} is no whole SPZ file ({error}); export it again") from error
    if there < expected:
        raise SplatsError(f"{path} ends too early: it claims {count} Gaussians; export it again")


def _check_version_4(path: Path, head: bytes, rest: bytes, size: int) -> None:
    """Version 4: a table of streams with their sizes, packed and unpacked."""
    try:
        _, version, count, degree, bits, _, streams, table = struct.unpack_from("<4sIIBBBBI", head)
        sizes = struct.unpack_from(f"<{2 * streams}Q", head + rest, table)
    except struct.error as error:
        raise SplatsError(f"{path} is no whole SPZ file ({error}); export it again") from error
    if version != 4 or degree > 3 or bits > _MOST_FRACTION_BITS:
        raise SplatsError(
            f"{path} is of SPZ version {version} with harmonics of degree {degree}, and versions 1 to 4 with "
            "degrees 0 to 3 are read; export it in an older version"
        )
    claimed = max(sum(sizes[1::2]), 16 * count)
    if claimed > max(_ALWAYS_FINE, _MOST_EXPANSION * size) or sum(sizes[::2]) > size:
        raise SplatsError(f"{path} claims {count} Gaussians, too many for its {size} bytes; export it again")
