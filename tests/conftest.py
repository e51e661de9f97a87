"""Fixtures shared by all rooms: real captures and weights, where they are to be had."""

import os
from pathlib import Path

import pytest

# Before anything imports the hub's client: no test may depend on what a hub has, or fetch gigabytes.
os.environ["HF_HUB_OFFLINE"] = "1"

SHARED = Path(os.environ.get("GAGS_SHARED", Path(__file__).parents[1].parent / "shared"))


def _folder(name: str) -> Path:
    folder = SHARED / name
    if not folder.is_dir():
        pytest.skip(
            f"needs real data: {folder} is not there (set GAGS_SHARED to the folder that holds {name}/)"
        )
    return folder


@pytest.fixture(scope="session")
def captures() -> Path:
    """Folder of the real captures `desk` and `pantry`."""
    return _folder("captures")


@pytest.fixture(scope="session")
def models_dir() -> Path:
    """Folder of real weights: `mobile_sam/`, `clip_text/`."""
    return _folder("models")
