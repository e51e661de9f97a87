"""Arguments that several commands share."""

from pathlib import Path
from typing import Annotated

import tyro

from gags.pipeline import CaptureSettings

CaptureFolder = Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="CAPTURE")]
SceneFolder = Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="WS")]
Texts = Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="TEXT [TEXT ...]")]
Flat = tyro.conf.arg(name="")  # options of a nested dataclass without a prefix
Photos = Annotated[CaptureSettings, Flat]
