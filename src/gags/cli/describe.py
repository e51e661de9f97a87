"""`gags describe WS`."""

from typing import Annotated

import tyro

from gags.cli.common import SceneFolder
from gags.cli.console import ConsoleReporter
from gags.models.choose import AUTO
from gags.pipeline import describe
from gags.segment.settings import DescribeSettings
from gags.workspace import Workspace


def command(
    scene: SceneFolder,
    /,
    *,
    segmenter: str = AUTO,
    encoder: str = AUTO,
    settings: Annotated[DescribeSettings, tyro.conf.arg(name="describe")] = DescribeSettings(),
) -> None:
    """Cut every photo of a reconstructed scene into masks on three levels and embed each mask.

    Args:
        scene: Folder of the scene.
        segmenter: Model that cuts photos into masks: a name of `gags models`, a SAM, SAM-HQ or SAM 2 by hub
            id or folder, or auto (SAM ViT-H on an NVIDIA GPU, else mobile-sam).
        encoder: Model that embeds masks and texts: a name of `gags models`, a CLIP or SigLIP by hub id or
            folder, or auto (the paper's CLIP if it is to be had, else lite).
        settings: Prompts and masks.
    """
    progress = ConsoleReporter()
    workspace = Workspace.open(scene)
    describe(workspace, settings, segmenter, encoder, progress=progress)
    counts = workspace.read_metrics().get("masks", {})
    print(
        f"{', '.join(f'{n} {level}' for level, n in counts.items())} masks in {workspace.root / 'features'}"
    )
