"""Files of Gaussians: which suffix means which format.

To add a format, write a module beside this one, and name its functions in `WRITERS` or `READERS` below.

| suffix | format | written | read |
|---|---|---|---|
| `.ply` | the table of 3DGS (`ply`) | every value | also SuperSplat's compressed one (`compressed_ply`) |
| `.spz` | Niantic's (`spz`) | rounded, with harmonics | versions 1 to 3, and 4 with zstandard |
| `.splat` | antimatter15's (`splat`) | rounded, base colours alone | yes |
"""

from collections.abc import Callable
from pathlib import Path

from gags.errors import SplatsError
from gags.gaussians.gaussians import Gaussians
from gags.gaussians.ply import load_ply, save_ply
from gags.gaussians.splat import load_splat, save_splat
from gags.gaussians.spz import load_spz, save_spz
from gags.progress import SILENT, Reporter

Writer = Callable[[Gaussians, Path, Reporter], None]
Reader = Callable[[Path, Reporter], Gaussians]

WRITERS: dict[str, Writer] = {".ply": save_ply, ".spz": save_spz, ".splat": save_splat}
READERS: dict[str, Reader] = {".ply": load_ply, ".spz": load_spz, ".splat": load_splat}


def save_gaussians(gaussians: Gaussians, path: str | Path, progress: Reporter = SILENT) -> None:
    """Write Gaussians in the format that the suffix names, atomically, in their order and frame.

    `.ply` keeps every value. `.spz` rounds them (24-bit coordinates, 8-bit colours) and keeps the spherical
    harmonics; `.splat` rounds colours and rotations to 8 bits and has no harmonics above degree 0.

    Args:
        gaussians: At least one.
        path: Ends in .ply, .spz or .splat.
        progress: Warned of what the format cannot hold.

    Raises:
        SplatsError: If the suffix is another one, there is no Gaussian, or the file cannot be written.
    """
    path = Path(path)
    writer = writer_for(path)
    if len(gaussians) == 0:
        raise SplatsError(f"there is no Gaussian to write to {path}; viewers open no empty file")
    try:
        writer(gaussians, path, progress)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise SplatsError(f"{path} cannot be written ({reason}); choose another --out") from error


save_splats = save_gaussians  # its name in the public interface since the first version


def writer_for(path: Path) -> Writer:
    """What writes the format that a path's suffix names.

    Raises:
        SplatsError: If it names none.
    """
    writer = WRITERS.get(path.suffix.lower())
    if writer is None:
        raise SplatsError(
            f"{path} ends in none of {', '.join(WRITERS)}, the formats that are written; rename --out"
        )
    return writer


def load_gaussians(path: str | Path, progress: Reporter = SILENT) -> Gaussians:
    """Read Gaussians from the format that the suffix names; any other suffix is tried as PLY.

    Args:
        path: The file; see `gaussians.ply.load_ply` for what is kept of a PLY.
        progress: Is warned of what was left out.

    Returns:
        The Gaussians, on the CPU.

    Raises:
        SplatsError: If the file is missing, damaged, of another format, or holds no Gaussians.
    """
    path = Path(path)
    return READERS.get(path.suffix.lower(), load_ply)(path, progress)
