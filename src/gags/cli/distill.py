"""`gags distill WS`."""

from typing import Annotated

import tyro

from gags.cli.common import SceneFolder
from gags.cli.console import ConsoleReporter
from gags.distill.train import DistillSettings
from gags.pipeline import distill_scene
from gags.workspace import Workspace


def command(
    scene: SceneFolder,
    /,
    *,
    distill: Annotated[DistillSettings, tyro.conf.arg(name="distill")] = DistillSettings(),
) -> None:
    """Learn one language field from the masks and embeddings of a scene's photos.

    Args:
        scene: Folder of the scene.
        distill: Settings of the distillation.
    """
    workspace = Workspace.open(scene)
    distill_scene(workspace, distill, progress=ConsoleReporter())
    print(f"The language field is in {workspace.field}")
