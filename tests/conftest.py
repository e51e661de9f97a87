"""Fixtures shared by all rooms: a finished toy scene; real captures and weights, where they exist."""

import os
import shutil
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# How long an example takes says how busy the machine is.
settings.register_profile("busy machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy machine")

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
def cases() -> Path:
    """Folder of inputs on which earlier versions failed, each with a README."""
    return _folder("cases")


@pytest.fixture(scope="session")
def models_dir() -> Path:
    """Folder of real weights: `mobile_sam/`, `clip_text/`."""
    return _folder("models")


@pytest.fixture(scope="session")
def finished_once(tmp_path_factory) -> Path:
    """A finished toy scene, made once; nothing is written into it."""
    from tests.helpers.finished_scene import write_scene

    return write_scene(tmp_path_factory.mktemp("finished"))


@pytest.fixture(scope="module")
def finished(finished_once, tmp_path_factory) -> Path:
    """A finished toy scene, as `gags run` would leave it, for the tests of one file."""
    return Path(shutil.copytree(finished_once, tmp_path_factory.mktemp("copied") / "ws"))
