"""gags: photos in, a 3D scene that answers text out (GAGS, arXiv 2412.13654)."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gags.capture import Capture, load_capture
    from gags.capture.poses import find_points, find_poses
    from gags.distill.field import LanguageField
    from gags.pipeline import RunSettings, run
    from gags.scene import Scene
    from gags.splats.export import save_splats
    from gags.splats.gaussians import Gaussians
    from gags.splats.ply import load_ply, save_ply

__version__ = "0.1.0"

# Loaded where they are first used, so that `import gags` stays quick.
_WHERE = {
    "Capture": "gags.capture",
    "Gaussians": "gags.splats.gaussians",
    "LanguageField": "gags.distill.field",
    "RunSettings": "gags.pipeline",
    "Scene": "gags.scene",
    "find_points": "gags.capture.poses",
    "find_poses": "gags.capture.poses",
    "load_capture": "gags.capture",
    "load_ply": "gags.splats.ply",
    "run": "gags.pipeline",
    "save_ply": "gags.splats.ply",
    "save_splats": "gags.splats.export",
}

__all__ = [
    "Capture",
    "Gaussians",
    "LanguageField",
    "RunSettings",
    "Scene",
    "find_points",
    "find_poses",
    "load_capture",
    "load_ply",
    "run",
    "save_ply",
    "save_splats",
]


def __getattr__(name: str) -> Any:
    if name in _WHERE:
        return getattr(importlib.import_module(_WHERE[name]), name)
    raise AttributeError(f"module 'gags' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
