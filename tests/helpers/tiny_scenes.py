"""Captures and settings so small that a whole run takes seconds, with models that load from a folder."""

import tomllib
from pathlib import Path
from typing import Any

from gags.pipeline.settings import RunSettings
from gags.reconstruct.settings import ReconstructSettings
from gags.workspace import Workspace
from tests.helpers.tiny_models import write_clip, write_sam
from tests.helpers.toy_capture import write_capture


def write_tiny(root: Path) -> Path:
    """Captures `one` (8 photos) and `two` (6), models `sam` and `clip`; returns the folder."""
    write_capture(root / "one", 8)
    write_capture(root / "two", 6)
    write_sam(root / "sam")
    write_clip(root / "clip")
    return root


def tiny_settings(root: Path) -> RunSettings:
    """Few steps, and every mask of a model that knows nothing."""
    describe = {"min_area": 6, "prompts_per_patch": 1, "min_iou": 0, "min_stability": 0, "min_score": 0}
    return RunSettings(
        ReconstructSettings(steps=30),
        describe,
        {"steps": 20},
        segmenter=str(root / "sam"),
        encoder=str(root / "clip"),
        preset="lite",
    )


RESULTS = ("capture.json", "splats.ply", "field.safetensors", "things.safetensors")


def results_of(scene: Path) -> dict[str, Any]:
    """The bytes of all that a scene consists of, by name; they hold neither times nor places.

    Of `config.toml`, what it holds but for times: stamps, settings and checksums of every stage.
    """
    files = [scene / name for name in RESULTS] + sorted((scene / "features").glob("*.safetensors"))
    files.append(Workspace(scene).metrics)
    results: dict[str, Any] = {path.name: path.read_bytes() for path in files}
    config = tomllib.loads((scene / "config.toml").read_text())
    for record in config["stages"].values():
        del record["seconds"], record["finished"]
    assert list(config["stages"]) == ["reconstruct", "describe", "distill", "things"]
    assert "features" in config["stages"]["distill"]["checksums"]  # those of what `describe` wrote
    return results | {"config.toml": config}
