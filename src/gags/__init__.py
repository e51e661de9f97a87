"""gags: photos in, a 3D scene that answers text out (GAGS, arXiv 2412.13654).

Everything a command does is one call here: `gags.run(photos, out)`, or stage by stage `gags.poses`,
`gags.reconstruct`, `gags.describe`, `gags.distill`, `gags.things`; then `gags.Scene.load(out)` answers.
"""

import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

from gags import threads
from gags._version import __version__

if TYPE_CHECKING:
    from gags.capture import Camera, Capture, View, load_capture
    from gags.capture.settings import PanoramaSettings, UndistortSettings
    from gags.compare.benchmark import Benchmark, BenchmarkSettings, benchmark
    from gags.compare.harness import CompareSettings, Comparison, compare
    from gags.demo import demo
    from gags.distill.field import LanguageField
    from gags.distill.settings import DistillSettings
    from gags.draw.shown import show
    from gags.errors import (
        CaptureError,
        CompareError,
        DamagedError,
        FileError,
        GagsError,
        LabelError,
        LibraryError,
        LibraryUnreadableError,
        ModelError,
        NewerError,
        QueryError,
        SettingsError,
        SplatsError,
        TrainingError,
        WorkspaceError,
    )
    from gags.evaluate.labels import load_labels
    from gags.evaluate.metrics import Evaluation
    from gags.gaussians import Gaussians, blend_weights, render
    from gags.gaussians.files import load_gaussians, save_gaussians, save_splats
    from gags.gaussians.mesh import Mesh
    from gags.gaussians.mesh_files import save_mesh
    from gags.gaussians.ply import load_ply, save_ply
    from gags.library.library import Library
    from gags.library.page import write_found
    from gags.library.records import Found, SceneRecord
    from gags.library.taught import TaughtName
    from gags.outputs import (
        convert,
        evaluate,
        mesh,
        report,
        save_scene,
        write_answers,
        write_catalog,
        write_views,
    )
    from gags.pipeline import (
        CaptureSettings,
        RunSettings,
        describe,
        distill,
        reconstruct,
        run,
        things,
    )
    from gags.poses import PoseSettings, find_points, find_poses, poses
    from gags.progress import Bar, Reporter
    from gags.query.answers import Answer
    from gags.query.boxes import OrientedBox
    from gags.query.catalog import Entry
    from gags.query.instances import Instance
    from gags.query.taught import Taught
    from gags.reconstruct.settings import ReconstructSettings
    from gags.scale.many import SceneResult, run_many, run_on_ray
    from gags.scene import Scene
    from gags.segment.settings import DescribeSettings
    from gags.serve.run import serve
    from gags.serve.settings import ServeSettings
    from gags.things.things import Things
    from gags.viewer.export import ExportedPage, export_page
    from gags.viewer.film import write_video
    from gags.viewer.run import view
    from gags.workspace import Workspace

threads.settle()  # before torch and Numba are loaded

# Where each name lives; it is loaded at its first use, so that `import gags` stays quick.
_WHERE = {
    name: module
    for module, names in {
        "gags.capture": "Camera Capture View load_capture",
        "gags.capture.settings": "PanoramaSettings UndistortSettings",
        "gags.compare.benchmark": "Benchmark BenchmarkSettings benchmark",
        "gags.compare.harness": "CompareSettings Comparison compare",
        "gags.demo": "demo",
        "gags.distill.field": "LanguageField",
        "gags.distill.settings": "DistillSettings",
        "gags.draw.shown": "show",
        "gags.errors": "CaptureError CompareError DamagedError FileError GagsError LabelError LibraryError "
        "LibraryUnreadableError ModelError NewerError QueryError SettingsError SplatsError TrainingError "
        "WorkspaceError",
        "gags.evaluate.labels": "load_labels",
        "gags.evaluate.metrics": "Evaluation",
        "gags.gaussians": "Gaussians blend_weights render",
        "gags.gaussians.files": "load_gaussians save_gaussians save_splats",
        "gags.gaussians.mesh": "Mesh",
        "gags.gaussians.mesh_files": "save_mesh",
        "gags.gaussians.ply": "load_ply save_ply",
        "gags.library.library": "Library",
        "gags.library.page": "write_found",
        "gags.library.records": "Found SceneRecord",
        "gags.library.taught": "TaughtName",
        "gags.outputs": "convert evaluate mesh report save_scene write_answers write_catalog write_views",
        "gags.pipeline": "CaptureSettings RunSettings describe distill reconstruct run things",
        "gags.poses": "PoseSettings find_points find_poses poses",
        "gags.progress": "Bar Reporter",
        "gags.query.answers": "Answer",
        "gags.query.boxes": "OrientedBox",
        "gags.query.catalog": "Entry",
        "gags.query.instances": "Instance",
        "gags.query.taught": "Taught",
        "gags.reconstruct.settings": "ReconstructSettings",
        "gags.scale.many": "SceneResult run_many run_on_ray",
        "gags.scene": "Scene",
        "gags.segment.settings": "DescribeSettings",
        "gags.serve.run": "serve",
        "gags.serve.settings": "ServeSettings",
        "gags.things.things": "Things",
        "gags.viewer.export": "ExportedPage export_page",
        "gags.viewer.film": "write_video",
        "gags.viewer.run": "view",
        "gags.workspace": "Workspace",
    }.items()
    for name in names.split()
}

# Rooms that share their name with what they do: `gags.distill(...)` runs it, `gags.distill.field` is in it.
_CALLABLE_ROOMS = (
    "compare",
    "demo",
    "distill",
    "evaluate",
    "poses",
    "reconstruct",
    "render",
    "report",
    "serve",
    "things",
)

__all__ = [
    "Answer",
    "Bar",
    "Benchmark",
    "BenchmarkSettings",
    "Camera",
    "Capture",
    "CaptureError",
    "CaptureSettings",
    "CompareError",
    "CompareSettings",
    "Comparison",
    "DamagedError",
    "DescribeSettings",
    "DistillSettings",
    "Entry",
    "Evaluation",
    "ExportedPage",
    "FileError",
    "Found",
    "GagsError",
    "Gaussians",
    "Instance",
    "LabelError",
    "LanguageField",
    "Library",
    "LibraryError",
    "LibraryUnreadableError",
    "Mesh",
    "ModelError",
    "NewerError",
    "OrientedBox",
    "PanoramaSettings",
    "PoseSettings",
    "QueryError",
    "ReconstructSettings",
    "Reporter",
    "RunSettings",
    "Scene",
    "SceneRecord",
    "SceneResult",
    "ServeSettings",
    "SettingsError",
    "SplatsError",
    "Taught",
    "TaughtName",
    "Things",
    "TrainingError",
    "UndistortSettings",
    "View",
    "Workspace",
    "WorkspaceError",
    "__version__",
    "benchmark",
    "blend_weights",
    "compare",
    "convert",
    "demo",
    "describe",
    "distill",
    "evaluate",
    "export_page",
    "find_points",
    "find_poses",
    "load_capture",
    "load_gaussians",
    "load_labels",
    "load_ply",
    "mesh",
    "poses",
    "reconstruct",
    "render",
    "report",
    "run",
    "run_many",
    "run_on_ray",
    "save_gaussians",
    "save_mesh",
    "save_ply",
    "save_scene",
    "save_splats",
    "serve",
    "show",
    "things",
    "view",
    "write_answers",
    "write_catalog",
    "write_found",
    "write_video",
    "write_views",
]


class _Room(ModuleType):
    """A package that can be called, by the name it shares with a function."""

    @property
    def __wrapped__(self) -> Any:  # what `inspect.signature` shows
        name = self.__name__.rpartition(".")[2]
        return vars(importlib.import_module(_WHERE[name]))[name]

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.__wrapped__(*args, **kwargs)

    def __reduce__(self) -> tuple[Any, ...]:  # a process pool can be given the stage, as any function
        return importlib.import_module, (self.__name__,)


class _Package(ModuleType):
    def __setattr__(self, name: str, value: Any) -> None:
        if name in _CALLABLE_ROOMS and isinstance(value, ModuleType):  # the import system binds a room
            value.__class__ = _Room
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package


def __getattr__(name: str) -> Any:
    if name in _CALLABLE_ROOMS:
        return importlib.import_module(f"gags.{name}")
    if name in _WHERE:
        return getattr(importlib.import_module(_WHERE[name]), name)
    raise AttributeError(f"module 'gags' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
