"""gags: photos in, a 3D scene that answers text out (GAGS, arXiv 2412.13654)."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gags.capture import Capture, load_capture
    from gags.distill.field import LanguageField
    from gags.gaussians import Gaussians
    from gags.gaussians.files import save_splats
    from gags.gaussians.ply import load_ply, save_ply
    from gags.pipeline import RunSettings, run
    from gags.poses import find_points, find_poses
    from gags.scene import Scene

__version__ = "0.1.0"

# Loaded where they are first used, so that `import gags` stays quick.
_WHERE = {
    "Capture": "gags.capture",
    "Gaussians": "gags.gaussians.gaussians",
    "LanguageField": "gags.distill.field",
    "RunSettings": "gags.pipeline",
    "Scene": "gags.scene",
    "find_points": "gags.poses",
    "find_poses": "gags.poses",
    "load_capture": "gags.capture",
    "load_ply": "gags.gaussians.ply",
    "run": "gags.pipeline",
    "save_ply": "gags.gaussians.ply",
    "save_splats": "gags.gaussians.files",
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
