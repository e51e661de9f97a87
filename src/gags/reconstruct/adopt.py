"""Taking Gaussians that another program trained, after a check that they belong to these photos."""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch

from gags.capture import Capture, View
from gags.capture.masks import resized_kept
from gags.errors import SplatsError
from gags.gaussians import Gaussians, render
from gags.gaussians.files import load_gaussians
from gags.gaussians.foreign import in_standard_form
from gags.gaussians.spz import half_turned
from gags.progress import SILENT, Reporter

VIEWS_CHECKED = 6
CHECKED_SIDE = 240  # longest side of the pictures that are compared, px; small ones are enough
DETAIL_SIGMA = 0.025  # of the longest side
LEAST_COVERAGE = 0.02  # a masked object may fill little of its photos, but not less
WRONG_CORRELATION = 0.2  # another frame or scene gives -0.2..0.2, a rough model of this one at least 0.7
DOUBTFUL_CORRELATION = 0.5


@dataclass(frozen=True)
class Likeness:
    """How well Gaussians fit photos.

    Attributes:
        coverage: Mean opacity of the renders, 0 to 1.
        correlation: Correlation of the detail of render and photo where something was rendered, -1 to 1.
    """

    coverage: float
    correlation: float


def adopt(
    path: Path, capture: Capture, progress: Reporter = SILENT, *, device: torch.device | str = "cpu"
) -> Gaussians:
    """Read a file of Gaussians instead of training, and check that the capture's cameras see it.

    Args:
        path: File of another program, in the world frame of the capture's poses.
        capture: Posed photos.
        progress: Is warned if the renders look little like the photos.
        device: Where the Gaussians are rendered.

    Returns:
        The Gaussians of the file, on that device.

    Raises:
        SplatsError: If the file cannot be read, or its Gaussians do not fit the capture.
    """
    gaussians = in_standard_form(load_gaussians(path, progress), path, progress).to(device)
    if path.suffix.lower() == ".spz":
        gaussians = _as_photos_show(gaussians, capture, path, progress)
    check_likeness(gaussians, capture, path, progress)
    return gaussians


def _as_photos_show(gaussians: Gaussians, capture: Capture, path: Path, progress: Reporter) -> Gaussians:
    """Gaussians of a `.spz`, half-turned if they then look more like the photos.

    Some programs write the axes of the format into it, others those of a `.ply`, and nothing in the file says
    which, see `gags.gaussians.spz`.
    """
    views, back = capture.train or capture.views, half_turned(gaussians)
    as_read, turned = (measure_likeness(each, views) for each in (gaussians, back))
    if turned.correlation < max(WRONG_CORRELATION, as_read.correlation):
        return gaussians
    progress.warn(f"{path} is turned by half about x: the photos say that its y and z point the other way")
    return back


def check_likeness(
    gaussians: Gaussians, capture: Capture, path: Path | str, progress: Reporter = SILENT
) -> None:
    """Make sure that the cameras of a capture see what Gaussians show.

    Args:
        gaussians: On any device.
        capture: Posed photos.
        path: Where the Gaussians are from, for messages.
        progress: Is warned if the renders look little like the photos.

    Raises:
        SplatsError: If they do not fit the capture.
    """
    likeness = measure_likeness(gaussians, capture.train or capture.views)
    remedy = (
        "its frame is probably not that of the poses (recentred, rescaled or turned, as nerfstudio does "
        "by default); give the poses the Gaussians were trained with, or leave the file out to train anew"
    )
    if likeness.coverage < LEAST_COVERAGE:
        raise SplatsError(
            f"the Gaussians of {path} fill only {likeness.coverage:.1%} of the photos of {capture.root}; "
            f"{remedy}"
        )
    if likeness.correlation < WRONG_CORRELATION:
        raise SplatsError(
            f"the Gaussians of {path} do not look like the photos of {capture.root} "
            f"(correlation {likeness.correlation:.2f}, 1 is perfect); {remedy}"
        )
    if likeness.correlation < DOUBTFUL_CORRELATION:
        progress.warn(
            f"the Gaussians of {path} look little like the photos of {capture.root} "
            f"(correlation {likeness.correlation:.2f}, 1 is perfect); if answers are wrong: {remedy}"
        )


def measure_likeness(gaussians: Gaussians, views: list[View]) -> Likeness:
    """Compare renders with photos in a few views, spread evenly, at a small size; where pixels count."""
    chosen = [views[i] for i in np.unique(np.linspace(0, len(views) - 1, VIEWS_CHECKED).round().astype(int))]
    renders, photos, alphas, counted = [], [], [], []
    for view in chosen:
        camera = view.camera.within(CHECKED_SIDE)
        rendering = render(gaussians, camera)
        photo = cv2.resize(view.image(), (camera.width, camera.height), interpolation=cv2.INTER_AREA)
        picture, photo = rendering.colors.cpu().numpy(), photo.astype(np.float32) / 255
        kept = view.kept()
        if kept is not None:
            kept = resized_kept(kept, camera.width, camera.height)
            photo = np.where(
                kept[..., None], photo, picture
            )  # its surroundings are not compared with a person
        renders.append(_detail(picture))
        photos.append(_detail(photo))
        alphas.append(rendering.alphas.cpu().numpy().reshape(-1))
        counted.append(np.ones(alphas[-1].shape, bool) if kept is None else kept.reshape(-1))
    weight = np.concatenate(alphas).astype(np.float64)
    count = np.concatenate(counted)
    coverage = float(weight[count].mean()) if count.any() else 0.0
    weight *= count
    if coverage == 0:
        return Likeness(0.0, 0.0)
    correlation = _correlation(np.concatenate(renders), np.concatenate(photos), weight / weight.sum())
    return Likeness(coverage, correlation)


def _detail(image: np.ndarray) -> np.ndarray:
    """Brightness less that of the surroundings; that pictures have dark corners does not count. [H·W]"""
    grey = image.mean(axis=-1)
    return (grey - cv2.GaussianBlur(grey, (0, 0), DETAIL_SIGMA * max(grey.shape))).reshape(-1)


def _correlation(a: np.ndarray, b: np.ndarray, weight: np.ndarray) -> float:
    """Pearson correlation with weights that sum to 1."""
    a = a - (weight * a).sum()
    b = b - (weight * b).sum()
    spread = (weight * a * a).sum() * (weight * b * b).sum()
    return float((weight * a * b).sum() / np.sqrt(spread)) if spread > 0 else 0.0
