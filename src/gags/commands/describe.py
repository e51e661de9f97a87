"""`gags describe WS`."""

from typing import Annotated

import tyro

from gags import models
from gags.commands.common import SceneFolder
from gags.console import ConsoleReporter
from gags.pipeline import describe
from gags.segment.masks import SegmentSettings
from gags.workspace import Workspace


def command(
    scene: SceneFolder,
    /,
    *,
    segmenter: str = "mobile-sam",
    encoder: str = "lite",
    segment: Annotated[SegmentSettings, tyro.conf.arg(name="segment")] = SegmentSettings(),
) -> None:
    """Cut every photo of a reconstructed scene into masks on three levels and embed each mask.

    Args:
        scene: Folder of the scene.
        segmenter: Model that cuts photos into masks.
        encoder: Model that embeds masks and texts.
        segment: Prompts and masks.
    """
    report = ConsoleReporter()
    workspace = Workspace.open(scene)
    models.ensure(segmenter, report)
    models.ensure(encoder, report)
    describe(workspace, segment, segmenter, encoder, report=report)
    counts = workspace.read_metrics().get("masks", {})
    print(
        f"{', '.join(f'{n} {level}' for level, n in counts.items())} masks in {workspace.root / 'features'}"
    )
