"""Numbers of other programs' files, brought into the form of this one: what is infinite, or not converted."""

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from gags.errors import SplatsError
from gags.gaussians.gaussians import Gaussians
from gags.progress import SILENT, Reporter

# The logit of an opacity of 1 is infinite; the sigmoid of 20 is 1 in float32.
SATURATED_LOGIT = 20.0
# The logarithm of a size of 0 is −∞; exp(−30) is 0 beside anything seen, and its square a float32.
FLAT_LOG_SCALE = -30.0
# Larger than any scene, and beyond it the square of a size is no float32.
MOST_LOG_SCALE = 40.0

# What a reader meets where a damaged file claims what it does not hold.
_DAMAGE = (
    ArithmeticError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    RecursionError,
    TypeError,
    ValueError,
    struct.error,
)


def content_of(path: Path) -> bytes:
    """All bytes of a file of Gaussians.

    Raises:
        SplatsError: If it is missing or cannot be read.
    """
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise SplatsError(f"{path} is not there; give the path of a file of Gaussians") from error
    except OSError as error:
        raise SplatsError(f"{path} cannot be read ({error.strerror or type(error).__name__})") from error


@contextmanager
def damage_of(path: Path, kind: str) -> Iterator[None]:
    """Turn what a damaged file does to its reader into one line that names the file.

    Args:
        path: The file.
        kind: What it should be, as in "a SOG file".

    Raises:
        SplatsError: If the body meets a number, a name or a size that the file does not hold.
    """
    try:
        yield
    except _DAMAGE as error:
        why = " ".join(str(error).split())[:120] or type(error).__name__
        raise SplatsError(f"{path} is damaged, or is not {kind} ({why}); export it again") from error


def logits_of(opacities: np.ndarray) -> np.ndarray:
    """Logits of opacities in [0, 1]; infinite at 0 and 1, which `finite_rows` knows."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.log(opacities) - np.log1p(-opacities)


def logarithms_of(scales: np.ndarray) -> np.ndarray:
    """Natural logarithms of sizes; −∞ at 0, which `finite_rows` knows, and no number below."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.log(scales)


def gathered(
    means: np.ndarray,
    quats: np.ndarray,
    log_scales: np.ndarray,
    logits: np.ndarray,
    sh: np.ndarray,
    *,
    path: Path,
    progress: Reporter = SILENT,
) -> Gaussians:
    """Gaussians from the arrays of a file, without those that are not finite.

    Args:
        means: Centres. [N, 3]
        quats: Rotations wxyz. [N, 4]
        log_scales: Natural logarithms of the sizes. [N, 3]
        logits: Of the opacities. [N]
        sh: Harmonics, DC first. [N, K, 3]
        path: The file, for messages.
        progress: Warned of what is dropped.

    Raises:
        SplatsError: If there is none, or none is finite.
    """
    if len(means) == 0:
        raise SplatsError(f"{path} holds no Gaussians")
    columns = [means, quats, log_scales, np.reshape(logits, (-1, 1)), np.reshape(sh, (len(means), -1))]
    with np.errstate(over="ignore", invalid="ignore"):  # what is no float32 is dropped below
        table = np.concatenate([np.asarray(column, np.float32) for column in columns], axis=1)
    table = finite_rows(table, path, progress)
    parts = np.split(table, [3, 7, 10, 11], axis=1)
    arrays = (*parts[:3], parts[3][:, 0], parts[4].reshape(len(table), -1, 3))
    return Gaussians(*(torch.from_numpy(np.ascontiguousarray(array)) for array in arrays))


def finite_rows(table: np.ndarray, path: Path, progress: Reporter = SILENT) -> np.ndarray:
    """Rows whose numbers are finite; infinite ones that mean something are given a number first.

    An infinite logit is the exact one of an opacity of 0 or 1, and a log-scale of −∞ that of a flat Gaussian:
    programs write them where 8 bits hold an opacity of 255, or a size of 0.

    Args:
        table: Means, quats, log-scales, logit opacity, harmonics; changed in place. float32 [N, 14 + R]
        path: The file, for messages.
        progress: Warned of rows that are dropped.

    Raises:
        SplatsError: If no row is left.
    """
    scales, logits = table[:, 7:10], table[:, 10]
    scales[np.isneginf(scales)] = FLAT_LOG_SCALE
    infinite = np.isinf(logits)
    logits[infinite] = np.copysign(SATURATED_LOGIT, logits[infinite])
    finite = np.isfinite(table).all(axis=1)
    if not finite.any():
        raise SplatsError(f"{path}: no Gaussian is finite, the training that wrote it diverged")
    if not finite.all():
        progress.warn(
            f"{path}: {np.count_nonzero(~finite)} of {len(table)} Gaussians are not finite, dropped"
        )
    return table[finite]


def in_standard_form(gaussians: Gaussians, path: Path, progress: Reporter = SILENT) -> Gaussians:
    """Gaussians as 3DGS files store them: rotations not 0, scales as logarithms, opacities as logits.

    A file may hold sizes and opacities as they are. Taken for logits, opacities from 0 to 1 would mean that
    every one is 50 to 73 %; taken for logarithms, sizes would mean that nothing is smaller than a world unit.
    No trained scene is like that.

    Raises:
        SplatsError: If no Gaussian has a rotation, or all are larger than any scene.
    """
    turned = (gaussians.quats != 0).any(dim=-1)
    if not bool(turned.any()):
        raise SplatsError(f"{path}: every rotation is 0, these are no Gaussians; export the 3DGS .ply again")
    if not bool(turned.all()):
        count = int((~turned).sum())
        progress.warn(f"{path}: {count} of {len(gaussians)} Gaussians have a rotation of length 0, dropped")
        gaussians = gaussians[turned]
    return _of_possible_size(_converted(gaussians, path, progress), path, progress)


def _converted(gaussians: Gaussians, path: Path, progress: Reporter) -> Gaussians:
    """Sizes as logarithms and opacities as logits, if they are not."""
    log_scales, logits = gaussians.log_scales, gaussians.logit_opacities
    plain_opacities = bool((logits >= 0).all() and (logits <= 1).all() and (logits > 0).any())
    if not plain_opacities:
        return gaussians
    what = "opacities as they are, not as logit"
    if bool((log_scales >= 0).all()):
        what = "scales and opacities as they are, not as logarithm and logit"
        log_scales = log_scales.log().clamp(min=FLAT_LOG_SCALE)
    progress.warn(f"{path} holds {what}; taking them so")
    return replace(gaussians, log_scales=log_scales, logit_opacities=logits.logit(1e-6))


def _of_possible_size(gaussians: Gaussians, path: Path, progress: Reporter) -> Gaussians:
    """Without Gaussians that are larger than any scene."""
    possible = (gaussians.log_scales <= MOST_LOG_SCALE).all(dim=-1)
    if bool(possible.all()):
        return gaussians
    count = int((~possible).sum())
    if count == len(gaussians):
        raise SplatsError(
            f"{path}: every Gaussian is larger than any scene (log-scale above {MOST_LOG_SCALE:g}); "
            "export the 3DGS .ply again"
        )
    progress.warn(f"{path}: {count} of {len(gaussians)} Gaussians are larger than any scene, dropped")
    return gaussians[possible]
