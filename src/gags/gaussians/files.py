"""Files of Gaussians: which suffix means which format.

To add a format, write a module beside this one, and name its functions in `WRITERS` or `READERS` below.

| suffix | format | written | read |
|---|---|---|---|
| `.ply` | the table of 3DGS (`ply`) | every value | also SuperSplat's compressed one (`compressed_ply`) |
| `.spz` | Niantic's (`spz`) | versions 3 and 4, rounded, with harmonics | versions 1 to 4 |
| `.splat` | antimatter15's (`splat`) | rounded, base colours alone | yes |
| `.ksplat` | mkkellogg's (`ksplat`) | no | levels 0 to 2 |
| `.sog`, `meta.json` | PlayCanvas's (`sog`) | no | versions 1 and 2, an archive or a folder |
| `.glb`, `.gltf` | glTF, KHR_gaussian_splatting (`gltf`) | every value, after activation | yes |
| `.usd`, `.usda`, `.usdc` | USD, ParticleField3DGaussianSplat (`usd`) | every value, after activation | no |
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from gags.errors import SplatsError
from gags.gaussians.gaussians import Gaussians
from gags.gaussians.gltf import load_gltf, save_gltf
from gags.gaussians.ksplat import load_ksplat
from gags.gaussians.ply import load_ply, save_ply
from gags.gaussians.sog import META, load_sog
from gags.gaussians.splat import load_splat, save_splat
from gags.gaussians.spz import SpzVersion, load_spz, save_spz
from gags.gaussians.usd import check_usd, save_usd
from gags.progress import SILENT, Reporter

Writer = Callable[[Gaussians, Path, Reporter], None]
Reader = Callable[[Path, Reporter], Gaussians]

WRITERS: dict[str, Writer] = {
    ".ply": save_ply,
    ".spz": save_spz,
    ".splat": save_splat,
    ".glb": save_gltf,
    ".gltf": save_gltf,
    ".usd": save_usd,
    ".usda": save_usd,
    ".usdc": save_usd,
}
READERS: dict[str, Reader] = {
    ".ply": load_ply,
    ".spz": load_spz,
    ".splat": load_splat,
    ".ksplat": load_ksplat,
    ".sog": load_sog,
    ".glb": load_gltf,
    ".gltf": load_gltf,
}
ROUNDED = {
    ".spz": "centres in 24 bits, rotations in 10, sizes, opacities and colours in 8",
    ".splat": "rotations, opacities and colours in 8 bits",
}
"""What formats keep less exactly, in the words of a message."""
WITHOUT_HARMONICS = (".splat",)


def save_gaussians(
    gaussians: Gaussians,
    path: str | Path,
    progress: Reporter = SILENT,
    *,
    spz_version: SpzVersion = 3,
    things: np.ndarray | None = None,
) -> None:
    """Write Gaussians in the format that the suffix names, atomically, in their order and frame.

    `.ply` keeps every value; `.glb`, `.gltf` and `.usd` keep them after activation, as float32. `.spz` rounds
    them and keeps the spherical harmonics; `.splat` rounds them and has no harmonics above degree 0.

    Args:
        gaussians: At least one.
        path: Ends in .ply, .spz, .splat, .glb, .gltf, .usd, .usda or .usdc.
        progress: Told in one line what the format cannot hold.
        spz_version: Of a .spz: 3, which every program reads, or 4.
        things: Thing of each Gaussian, −1 for none; a .ply alone can hold it, as a property `thing`. int [N]

    Raises:
        SplatsError: If the suffix is another one, there is no Gaussian, an extra is missing, or the file
            cannot be written.
    """
    path = Path(path)
    writer, suffix = writer_for(path), path.suffix.lower()
    if len(gaussians) == 0:
        raise SplatsError(f"there is no Gaussian to write to {path}; viewers open no empty file")
    if suffix == ".spz":
        writer = partial(save_spz, version=spz_version)
    if suffix == ".ply" and things is not None:
        writer = partial(save_ply, things=things)
    lost = left_out(suffix, gaussians.sh_degree, things=things is not None)
    if lost:
        progress.say(f"{path}: {lost}")
    try:
        writer(gaussians, path, progress)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise SplatsError(f"{path} cannot be written ({reason}); choose another --out") from error


save_splats = save_gaussians  # its name in the public interface since the first version


def left_out(suffix: str, degree: int, *, things: bool = False) -> str:
    """What a format cannot hold of Gaussians with harmonics of a degree, as one line; "" if it holds all.

    Args:
        suffix: Of the format, in small letters.
        degree: Of the harmonics, 0 to 3.
        things: Whether each Gaussian's thing should be held, too.
    """
    words = []
    if degree > 0 and suffix in WITHOUT_HARMONICS:
        words.append(f"without spherical harmonics above degree 0 (of degree {degree})")
    if things and suffix != ".ply":
        words.append("without things (a .ply holds them)")
    if suffix in ROUNDED:
        words.append(f"rounded: {ROUNDED[suffix]}")
    return f"{suffix} holds the Gaussians {'; '.join(words)}" if words else ""


def writer_for(path: Path) -> Writer:
    """What writes the format that a path's suffix names.

    Raises:
        SplatsError: If it names none, or its extra is not installed.
    """
    writer = WRITERS.get(path.suffix.lower())
    if writer is None:
        raise SplatsError(
            f"{path} ends in none of {', '.join(WRITERS)}, the formats that are written; rename --out"
        )
    if writer is save_usd:
        check_usd(path)
    return writer


def load_gaussians(path: str | Path, progress: Reporter = SILENT) -> Gaussians:
    """Read Gaussians from the format that the suffix names; any other suffix is tried as PLY.

    Args:
        path: The file; of SOG, also its folder or the `meta.json` in it. See `gaussians.ply.load_ply` for
            what is kept of a PLY.
        progress: Is warned of what was left out.

    Returns:
        The Gaussians, on the CPU.

    Raises:
        SplatsError: If the file is missing, damaged, of another format, or holds no Gaussians.
    """
    path = Path(path)
    if path.name.lower() == META or (path.is_dir() and (path / META).exists()):
        return load_sog(path, progress)
    if path.suffix.lower() not in READERS and path.suffix.lower() in WRITERS:
        raise SplatsError(f"{path}: {path.suffix} is written, not read; give a .ply, .spz, .glb or .sog")
    return READERS.get(path.suffix.lower(), load_ply)(path, progress)
