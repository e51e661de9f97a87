"""Scenes that are asked over HTTP: loaded at their first question, dropped when memory runs short."""

import contextlib
import gc
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from gags.embed import load_encoder
from gags.embed.encoder import Encoder
from gags.errors import GagsError, ModelError
from gags.files.memory import available_bytes
from gags.models.device import free_bytes, scene_device
from gags.progress import SILENT, Reporter
from gags.scene import Scene
from gags.workspace import Workspace

# A scene that has answered also holds decoded features, and where everything is. Three scenes of 80,000 to
# 90,000 Gaussians took 10.5 to 12.7 times their files.
MEMORY_OF_FILES = 13


class SceneUnreadable(GagsError):  # noqa: N818  # what happened, as clients read it
    """A scene that was served cannot be read any more: damaged, moved, or in the middle of a run."""


@dataclass
class _Held:
    scene: Scene
    stamp: tuple[tuple[int, int], ...]
    bytes: int


class ScenePool:
    """Scenes by name, as many in memory as a budget allows. To be used by one thread.

    Args:
        folders: Their folders by name.
        budget: Bytes that scenes may take together, but one is always held; 0 takes half of what is free now
            where they lie, on a GPU or not, and in the machine, when the first scene is loaded.
        progress: Told what keeps scenes from a GPU that is there.
    """

    def __init__(self, folders: Mapping[str, Path], budget: int = 0, *, progress: Reporter = SILENT) -> None:
        self.folders = dict(folders)
        self._progress = progress
        self.budget = budget
        self._held: OrderedDict[str, _Held] = OrderedDict()  # least recently asked first
        self._encoders: dict[str, Encoder] = {}

    @property
    def loaded(self) -> list[str]:
        """Names of the scenes in memory."""
        return list(self._held)

    def get(self, name: str) -> Scene:
        """A scene; loaded if it is not in memory, and again if its files have changed since.

        Raises:
            KeyError: If there is no scene of that name.
            SceneUnreadable: If it cannot be loaded.
        """
        workspace = Workspace(self.folders[name])
        stamp = _stamp(workspace)
        held = self._held.pop(name, None)
        if held is None or held.stamp != stamp:
            held = None  # let go of it before memory for the new one is taken
            held = self._loaded(name, workspace, stamp)
        self._held[name] = held
        return held.scene

    def make_room(self, keep: str | None) -> bool:
        """Drop all scenes but one, because memory ran out.

        Returns:
            Whether there were any, so that it is worth another try.
        """
        others = [name for name in self._held if name != keep]
        for name in others:
            del self._held[name]
        gc.collect()
        return bool(others)

    def _loaded(self, name: str, workspace: Workspace, stamp: tuple[tuple[int, int], ...]) -> _Held:
        if not self.budget:  # not before: a service of libraries alone needs no GPU
            self.budget = min(free_bytes(scene_device(self._progress)), available_bytes()) // 2
        needed = MEMORY_OF_FILES * sum(size for _, size in stamp)
        while self._held and sum(held.bytes for held in self._held.values()) + needed > self.budget:
            self._held.popitem(last=False)
        gc.collect()  # a scene has parts that know it: until then its memory is not free
        try:
            scene = Scene.load(self.folders[name], progress=self._progress)
        except GagsError as error:
            raise SceneUnreadable(str(error)) from error
        encoder = scene.field.encoder_name
        with contextlib.suppress(ModelError):  # the scene says so itself, to those who ask for texts
            if encoder not in self._encoders:
                self._encoders[encoder] = load_encoder(encoder)
            scene.encoder = self._encoders[encoder]  # one for all scenes that speak its language
        return _Held(scene, stamp, needed)


def _stamp(workspace: Workspace) -> tuple[tuple[int, int], ...]:
    """When the files of a scene were written and how large they are; they tell whether it has changed."""
    files = (workspace.splats, workspace.field, workspace.things, workspace.capture)
    stats = [path.stat() if path.exists() else None for path in files]
    return tuple((stat.st_mtime_ns, stat.st_size) if stat else (0, 0) for stat in stats)
