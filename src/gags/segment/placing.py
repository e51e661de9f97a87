"""Prompts of one photo after the other, with the depths of all photos held at small size only."""

from collections.abc import Sequence

import numpy as np
import torch

from gags.capture.camera import Camera
from gags.gaussians import Gaussians, render
from gags.progress import SILENT, Reporter
from gags.segment.prompts import nearest_of_sampled, prompts_per_patch, sample_prompts, sampled, upscaled
from gags.segment.settings import DescribeSettings

DEPTH_WIDTH = 320  # px; prompts are counted on 8×8 patches, finer depth changes nothing
MIN_ALPHA = 0.5  # pixels more transparent than this show no surface


class PromptPlacer:
    """Granularity-aware prompts of every photo of a scene (METHOD §1.1-1.4).

    What a point is seen from nearest depends on all photos, so that the depths of all of them are compared
    first, 160 px wide: 0.15 MB a photo. The depth that prompts are counted on is rendered again for the photo
    at hand.

    Args:
        gaussians: The scene.
        cameras: Of all photos that get prompts.
        settings: Prompts.
        progress: Told about progress.
    """

    def __init__(
        self,
        gaussians: Gaussians,
        cameras: Sequence[Camera],
        settings: DescribeSettings,
        *,
        progress: Reporter = SILENT,
    ) -> None:
        self._gaussians = gaussians
        self._cameras = cameras
        self._settings = settings
        self._means = gaussians.means.cpu().numpy()
        self._small = []
        with progress.stage("Rendering depth", len(cameras), "views") as bar:
            for camera in cameras:
                self._small.append(sampled(render_depth(gaussians, camera)))
                bar.advance()
        self._nearest = nearest_of_sampled(self._small, cameras)

    def place(self, row: int, name: str) -> np.ndarray:
        """Prompts of one photo.

        Args:
            row: Which of the cameras is the photo's.
            name: Name of the photo; with the seed it decides the draw.

        Returns:
            Points (x, y) in px. float32 [P, 2]
        """
        settings, camera = self._settings, self._cameras[row]
        depth = render_depth(self._gaussians, camera)
        nearest = upscaled(self._nearest[row], self._small[row], depth)
        counts = prompts_per_patch(
            depth, nearest, base=settings.prompts_per_patch, exponent=settings.exponent
        )
        return sample_prompts(counts, camera, self._means, depth, seed=settings.seed, name=name)


def render_depth(gaussians: Gaussians, camera: Camera) -> np.ndarray:
    """Expected depth of a view, at most `DEPTH_WIDTH` wide, 0 where nothing is. float32 [h, w]"""
    factor = min(1.0, DEPTH_WIDTH / camera.width)
    small = camera.resized(round(camera.width * factor), round(camera.height * factor))
    rendering = render(gaussians, small, gaussians.means.new_zeros(len(gaussians), 1))
    solid = rendering.alphas >= MIN_ALPHA
    return torch.where(solid, rendering.depths, 0).cpu().numpy()
