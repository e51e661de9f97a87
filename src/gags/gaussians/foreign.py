"""Numbers of other programs' files, brought into the form of this one: what is infinite, or not converted."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from gags.errors import SplatsError
from gags.gaussians.gaussians import Gaussians
from gags.progress import SILENT, Reporter

# The logit of an opacity of 1 is infinite; the sigmoid of 20 is 1 in float32.
SATURATED_LOGIT = 20.0
# The logarithm of a size of 0 is −∞; exp(−30) is 0 beside anything seen, and its square a float32.
FLAT_LOG_SCALE = -30.0
# Larger than any scene, and beyond it the square of a size is no float32.
MOST_LOG_SCALE = 40.0


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
