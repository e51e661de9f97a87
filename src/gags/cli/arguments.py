"""Arguments that several commands share."""

from collections.abc import Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Annotated, Any

import tyro

from gags.distill.presets import AUTO_PRESET
from gags.distill.settings import DistillSettings
from gags.models.choose import AUTO
from gags.pipeline.settings import CaptureSettings, RunSettings
from gags.reconstruct.settings import ReconstructSettings
from gags.segment.settings import DescribeSettings

CaptureFolder = Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="CAPTURE")]
SceneFolder = Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="WS")]
Texts = Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="TEXT [TEXT ...]")]
ExampleImage = Annotated[Path | None, tyro.conf.arg(metavar="FILE")]
Flat = tyro.conf.arg(name="")  # options of a nested dataclass without a prefix
Photos = Annotated[CaptureSettings, Flat]

GIVEN: ContextVar[Sequence[str]] = ContextVar("GIVEN", default=())
"""The arguments of the command that runs. Settings that the user named himself change a preset, the others
are the preset's; parsed values alone do not tell which are which."""


@dataclass(frozen=True)
class StageOptions:
    """`RunSettings` as options; the defaults shown are those of the preset `lite`."""

    preset: str = AUTO_PRESET
    """Settings that belong together: paper (every formula as in the paper), released (what the authors'
    program does), lite (best with the two small models); or auto: those that the scene was made with before,
    else paper for SAM ViT-H with a CLIP or SigLIP, lite for all other models."""
    reconstruct: ReconstructSettings = field(default_factory=ReconstructSettings)
    """Training of the Gaussians."""
    describe: DescribeSettings = field(default_factory=DescribeSettings)
    """Prompts and masks; what is not given is the preset's. Defaults shown are those of lite."""
    distill: DistillSettings = field(default_factory=DistillSettings)
    """Distillation; what is not given is the preset's. Defaults shown are those of lite."""
    segmenter: str = AUTO
    """Model that cuts photos into masks: a name of `gags models`, a SAM, SAM-HQ or SAM 2 by hub id or folder,
    or auto (SAM ViT-H on an NVIDIA GPU, else mobile-sam)."""
    encoder: str = AUTO
    """Model that embeds masks and texts: a name of `gags models`, a CLIP or SigLIP by hub id or folder, or
    auto (the paper's CLIP where it can be loaded, else lite)."""

    def settings(self) -> RunSettings:
        """What the library takes."""
        return RunSettings(
            self.reconstruct,
            given_settings("describe", self.describe),
            given_settings("distill", self.distill),
            segmenter=self.segmenter,
            encoder=self.encoder,
            preset=self.preset,
        )


def given_settings(prefix: str, parsed: DescribeSettings | DistillSettings) -> dict[str, Any]:
    """Those of some parsed settings that the user gave as options `--prefix.name`, by name."""
    options = {argument.partition("=")[0].replace("_", "-") for argument in GIVEN.get()}
    names = [f.name for f in fields(parsed)]
    spelled = {name: name.replace("_", "-") for name in names}
    return {
        name: getattr(parsed, name)
        for name in names
        if {f"--{prefix}.{spelled[name]}", f"--{prefix}.no-{spelled[name]}"} & options
    }
