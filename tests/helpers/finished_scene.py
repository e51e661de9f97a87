"""A finished scene of the balls in `blobs`, coloured, with exact Gaussians, masks and a field."""

from dataclasses import replace
from pathlib import Path

import torch

from gags.capture import load_capture, save_capture
from gags.distill.train import DistillSettings, train_field
from gags.gaussians import SH_C0
from gags.gaussians.ply import load_ply, save_ply
from gags.workspace import Workspace
from tests.helpers.blobs import make_scene
from tests.helpers.toy_capture import PALETTE, write_capture


def write_scene(folder: Path, *, degree: int = 0) -> Path:
    """Write capture and scene below `folder`, as `gags run` would leave them; returns the scene's folder.

    Above degree 0, colours change at random with the direction.
    """
    capture = load_capture(write_capture(folder / "capture"), test_every=0)
    toy = make_scene(12)
    workspace = Workspace.create(folder / "ws")
    save_capture(capture, workspace.capture)
    colors = torch.from_numpy(PALETTE[toy.owner] / 255).float()
    rest = torch.randn(len(colors), (degree + 1) ** 2 - 1, 3, generator=torch.Generator().manual_seed(5))
    sh = torch.cat([((colors - 0.5) / SH_C0)[:, None], 0.05 * rest], dim=1)
    save_ply(replace(toy.gaussians, sh=sh), workspace.splats)
    items = toy.items()
    for view, (_, description) in zip(capture.train, items, strict=True):
        description.save(workspace.description(view.name))
    gaussians = load_ply(workspace.splats)
    train_field(gaussians, items, DistillSettings(steps=100, batch_regions=64)).save(workspace.field)
    return workspace.root
