"""Types that several commands share."""

from pathlib import Path
from typing import Annotated

import tyro

from gags.pipeline import CaptureSettings

CaptureFolder = Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="CAPTURE")]
SceneFolder = Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="WS")]
Flat = tyro.conf.arg(prefix_name=False)
Photos = Annotated[CaptureSettings, Flat]
