"""The arms: ways to place prompts, each with the rules of the paper for masks, or with those of `lite`."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from benchmarks.granularity.photos import StudiedPhoto
from gags.capture import Camera
from gags.compare.scenes import uniform_settings
from gags.distill.presets import PRESETS
from gags.gaussians import Gaussians
from gags.segment.nearest import nearest_depths
from gags.segment.prompts import PromptPlacer, prompts_per_patch, render_depth
from gags.segment.settings import DescribeSettings

BISECTIONS = 30


@dataclass(frozen=True)
class Arm:
    """One way to place prompts.

    Attributes:
        name: Also of its folder.
        title: What it is, for tables.
        settings: Prompts and rules for masks; containment is tried both ways.
        equal: Name of the arm that has uniform prompts, as many, and the same rules; None if there is none.
    """

    name: str
    title: str
    settings: DescribeSettings
    equal: str | None = None


class Counts:
    """How many prompts the laws of Eq. 1 give the studied photos together.

    Args:
        gaussians: The scene.
        cameras: Of all photos that get prompts.
        rows: Rows of the studied photos among them.
    """

    def __init__(self, gaussians: Gaussians, cameras: Sequence[Camera], rows: Sequence[int]) -> None:
        depths = [render_depth(gaussians, camera) for camera in cameras]
        nearest = nearest_depths(depths, cameras)
        self._pairs = [(depths[row], nearest[row]) for row in rows]

    def total(self, settings: DescribeSettings) -> int:
        """Prompts of all studied photos by N0 and exponent."""
        base, exponent = settings.prompts_per_patch, settings.exponent
        return sum(
            int(prompts_per_patch(depth, nearest, base=base, exponent=exponent).sum())
            for depth, nearest in self._pairs
        )

    def as_many(self, settings: DescribeSettings, prompts: int) -> DescribeSettings:
        """The same law with the N0 that comes nearest to a number of prompts (bisection)."""
        low, high = 0.0, 400.0
        for _ in range(BISECTIONS):
            middle = (low + high) / 2
            if self.total(replace(settings, prompts_per_patch=middle)) < prompts:
                low = middle
            else:
                high = middle
        return replace(settings, prompts_per_patch=round(high, 4))


def all_arms(counts: Counts, photos: int) -> list[Arm]:
    """All arms, with budgets of prompts that go by the studied photos.

    Args:
        counts: Of these photos.
        photos: How many they are.
    """
    paper, lite = PRESETS["paper"].describe, PRESETS["lite"].describe
    literal = replace(paper, exponent=-2.0)
    many, few = counts.total(paper), counts.total(lite)
    return [
        Arm("crops", "LangSplat's generator: grid, photo and 4 crops", replace(paper, prompts="crops")),
        Arm("grid", "even grid, 32×32", replace(paper, prompts="grid")),
        Arm("uniform", "uniform, places of 6.1", uniform_settings(paper, many, photos)),
        Arm("density", "Eq. 1, N0 = 16 (`paper`)", paper, "uniform"),
        Arm("released", "released law", PRESETS["released"].describe, "uniform"),
        Arm("literal", "literal Eq. 1, N0 = 16", literal),
        Arm("literal-many", "literal, as many as Eq. 1", counts.as_many(literal, many), "uniform"),
        Arm("uniform-lite", "uniform, rules and number of `lite`", uniform_settings(lite, few, photos)),
        Arm("lite", "`lite`: Eq. 1, N0 = 4", lite, "uniform-lite"),
    ]


def place_all(
    gaussians: Gaussians,
    cameras: Sequence[Camera],
    rows: Sequence[int],
    photos: Sequence[StudiedPhoto],
    arm: Arm,
) -> list[np.ndarray]:
    """Prompts of every studied photo. float32 [P, 2] each"""
    placer = PromptPlacer(gaussians, cameras, arm.settings)
    return [placer.place(row, photo.view.name) for row, photo in zip(rows, photos, strict=True)]
