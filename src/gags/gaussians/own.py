"""A scene's own `splats.ply`: written and read with checks that files of others cannot have."""

from pathlib import Path

import torch

from gags.errors import DamagedError, SplatsError
from gags.files.contents import checksum
from gags.files.trouble import check_readable
from gags.gaussians.gaussians import Gaussians
from gags.gaussians.ply import load_ply, save_ply
from gags.progress import SILENT, Reporter
from gags.store import damaged
from gags.workspace import Workspace

MOST_LOG_SCALE = 40.0  # e^40 world units; covariances square it, and float32 ends at e^88
MOST_VALUE = 1e18  # of any other number; its square is still a float32
_REMEDY = "run `gags run` with the capture, or `gags reconstruct`, again"


def save_splats_of(workspace: Workspace, gaussians: Gaussians) -> str:
    """Write `splats.ply` of a scene, atomically.

    Returns:
        Checksum of the Gaussians, for the record of the stage.
    """
    save_ply(gaussians, workspace.splats)
    return splats_checksum(gaussians)


def load_splats_of(workspace: Workspace) -> Gaussians:
    """Read `splats.ply` of a scene, and make sure that it is what the scene's own stage wrote.

    What `load_ply` would warn of, such as Gaussians that are not finite, is damage here.

    Returns:
        The Gaussians, on the CPU.

    Raises:
        DamagedError: If the file is missing, damaged, or of another scene.
        FileError: If the system does not let us read it.
    """
    path = workspace.splats
    try:
        check_readable(path)
        gaussians = load_ply(path, _Strict())
    except FileNotFoundError as error:
        raise damaged(path, error.strerror or "no such file", _REMEDY) from error
    except SplatsError as error:
        raise damaged(path, _clause(str(error), path), _REMEDY) from error
    odd = int((~sane(gaussians)).sum())
    if odd:
        raise damaged(path, f"{odd} of {len(gaussians)} Gaussians have values that no scene has", _REMEDY)
    record = workspace.record("reconstruct")
    written = record.checksums.get(path.name) if record else None
    if written is not None and written != splats_checksum(gaussians):
        raise damaged(path, "its checksum is wrong: it is not the file that the scene was made with", _REMEDY)
    return gaussians


def splats_are_whole(workspace: Workspace, progress: Reporter = SILENT) -> bool:
    """Whether `splats.ply` can be used as it is; a warning says what is wrong with it.

    Raises:
        FileError: If the system does not let us read it.
    """
    try:
        load_splats_of(workspace)
    except DamagedError as error:
        progress.warn(str(error))
        return False
    return True


def splats_checksum(gaussians: Gaussians) -> str:
    """Checksum of all numbers of Gaussians, as float32."""
    return checksum({name: tensor.detach().float().cpu() for name, tensor in vars(gaussians).items()})


def sane(gaussians: Gaussians) -> torch.Tensor:
    """Which Gaussians can be computed with: nothing so large that its square overflows. bool [N]"""
    ranges = {name: tensor.aminmax() for name, tensor in vars(gaussians).items() if tensor.numel()}
    largest = {name: torch.maximum(-found.min, found.max) for name, found in ranges.items()}  # or NaN
    usual = all(bool(value <= MOST_LOG_SCALE) for name, value in largest.items() if name == "log_scales")
    if usual and all(bool(value <= MOST_VALUE) for value in largest.values()):
        return torch.ones(len(gaussians), dtype=torch.bool, device=gaussians.means.device)
    usable = (gaussians.log_scales <= MOST_LOG_SCALE).all(dim=-1)
    for values in (gaussians.means, gaussians.quats, gaussians.sh.flatten(1)):
        usable &= (values.abs() <= MOST_VALUE).all(dim=-1)
    return usable & ~gaussians.logit_opacities.isnan()


def without_absurd(gaussians: Gaussians, where: Path | str, progress: Reporter = SILENT) -> Gaussians:
    """Gaussians without those that cannot be computed with, which a warning counts.

    Raises:
        SplatsError: If none is left.
    """
    usable = sane(gaussians)
    if bool(usable.all()):
        return gaussians
    if not bool(usable.any()):
        raise SplatsError(f"{where}: no Gaussian has values that a scene can have; export the .ply again")
    progress.warn(
        f"{where}: {int((~usable).sum())} of {len(usable)} Gaussians have values that no scene has, dropped"
    )
    return gaussians[usable]


class _Strict(Reporter):
    """Takes a warning for an error."""

    def warn(self, message: str) -> None:
        raise SplatsError(message)


def _clause(message: str, path: Path) -> str:
    """What is wrong, without the path in front and the advice behind, which is for files of others."""
    return message.removeprefix(str(path)).lstrip(": ").partition("; ")[0].partition(", dropped")[0]
