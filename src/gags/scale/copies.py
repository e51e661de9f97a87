"""A scene's files on a machine that does not share the driver's disk: they come and go through memory.

Files have names: those of the scene's folder begin with "scene/", the inputs with "capture/", "splats/",
"masks/" and "test_list/". The driver sends what is new to the worker, and writes what the worker sends back.
"""

import json
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import IO, Any

import numpy as np

from gags.errors import WorkspaceError
from gags.files import atomic_write
from gags.scale.events import Event, FileGone, FileMade
from gags.workspace import Workspace

try:
    import fcntl
except ImportError:
    fcntl = None

SCENE = "scene"  # first part of the names of files of the scene's folder
FOLDER = "gags-workers"  # in the machine's folder of temporary files
WITH_PATHS = ("config.toml", "capture.json")  # files of a scene that name others

Fetch = Callable[[list[Any]], list[np.ndarray]]
State = tuple[int, int]  # size and time of a file's last change


class OwnCopy:
    """A worker's own copy of what it needs of a scene, in a temporary folder.

    Folders of workers that were killed are removed when another one starts on the same machine.

    Attributes:
        of: Mark of the run and folder of the scene on the driver's machine.
    """

    def __init__(self, of: tuple[str, Path]) -> None:
        self.of = of
        home = Path(tempfile.gettempdir()).resolve() / FOLDER
        home.mkdir(exist_ok=True)
        _remove_abandoned(home)
        fresh = Path(tempfile.mkdtemp(dir=home, prefix=".new-"))
        self._lock = _held(fresh)
        self._root = fresh.rename(home / fresh.name.removeprefix(".new-"))  # in use from its first moment
        self._known: dict[str, str] = {}
        self._before: dict[str, State] = {}
        self._told: dict[str, State] = {}

    @property
    def scene(self) -> Path:
        """The scene's folder here."""
        return self._root / SCENE / self.of[1].name

    def path(self, kind: str, original: Path) -> Path:
        """Where an input lies here; it keeps its own name."""
        return self._root / kind / original.name

    def fill(self, files: Mapping[str, tuple[str, Any]], fetch: Fetch) -> None:
        """Write the files that are not here yet, and remove those of the scene that are not wanted.

        Args:
            files: Version and content (as `fetch` takes it) of every file by its name.
            fetch: Gives the contents.
        """
        self.scene.mkdir(parents=True, exist_ok=True)
        kept = {name: version for name, (version, _) in files.items()}
        self._known = {name: version for name, version in self._known.items() if kept.get(name) == version}
        wanted = {self._local(name) for name in files}
        for path in [path for path in self.scene.rglob("*") if path.is_file() and path not in wanted]:
            path.unlink()
        for name, (version, content) in files.items():
            if name not in self._known:
                (data,) = fetch([content])  # one at a time: memory holds the largest, not all
                write_array(self._local(name), data)
                self._known[name] = version

    def move_capture(self, original: Path, masks: Path | None = None) -> None:
        """Let `capture.json` say where the photos are here, and the masks that lie outside of the capture."""
        path = Workspace(self.scene).capture
        if not path.exists():
            return
        text = before = path.read_text(encoding="utf-8")
        content = json.loads(text)
        for kind, key, folder in (("capture", "root", original), ("masks", "masks", masks)):
            said = content.get(key)
            if folder is None or not isinstance(said, str):
                continue
            moved = moved_path(said, folder, self.path(kind, folder))
            text = text.replace(f'"{key}": {json.dumps(said)}', f'"{key}": {json.dumps(moved)}', 1)
        if text != before:
            path.write_text(text, "utf-8")
            self._known.pop(f"{SCENE}/{path.name}", None)

    def remember(self) -> None:
        """Remember how the files are, before work on them begins."""
        self._before, self._told = self._states(), {}

    def new_checkpoints(self) -> list[Event]:
        """States of trainings that were saved since this was asked last, so that another worker can go on."""
        workspace = Workspace(self.scene)
        events: list[Event] = []
        for path in (workspace.reconstruct_checkpoint, workspace.distill_checkpoint):
            state = _state(path)
            name = path.name
            if state is not None and state not in (self._before.get(name), self._told.get(name)):
                self._told[name] = state
                events.append(FileMade(name, read_array(path)))
        return events

    def handed_over(self, path: Path) -> FileMade:
        """A file that the driver is to write; it is not kept here."""
        event = FileMade(path.relative_to(self.scene).as_posix(), read_array(path))
        self._before.pop(event.name, None)
        path.unlink()
        return event

    def changes(self, moved: Sequence[tuple[Path, Path]]) -> Iterator[Event]:
        """What became of the files since `remember`; the records come last, as the stages write them.

        Args:
            moved: Paths here, and what they are for the driver.
        """
        after = self._states()
        for name in sorted(after, key=lambda name: (name == "config.toml", name)):
            if after[name] in (self._before.get(name), self._told.get(name)):
                continue
            content = read_array(self.scene / name)
            yield FileMade(name, _with_paths(content, moved) if name in WITH_PATHS else content)
            self._known.pop(f"{SCENE}/{name}", None)
        for name in sorted((self._before.keys() | self._told.keys()) - after.keys()):
            yield FileGone(name)

    def remove(self) -> None:
        """Remove all of it."""
        shutil.rmtree(self._root, ignore_errors=True)
        self._lock.close()

    def _states(self) -> dict[str, State]:
        paths = [path for path in self.scene.rglob("*") if path.is_file() and ".tmp" not in path.suffixes]
        states = {path.relative_to(self.scene).as_posix(): _state(path) for path in paths}
        return {name: state for name, state in states.items() if state is not None}

    def _local(self, name: str) -> Path:
        kind, _, rest = name.partition("/")
        return inside(self.scene if kind == SCENE else self._root / kind, rest)


def inside(folder: Path, name: str) -> Path:
    """A file of a folder by its name with forward slashes.

    Raises:
        WorkspaceError: If the name leads out of the folder.
    """
    parts = PurePosixPath(name).parts
    if not parts or ".." in parts or PurePosixPath(name).is_absolute():
        raise WorkspaceError(f"{name!r} is no name of a file in {folder}")
    return folder.joinpath(*parts)


def read_array(path: Path) -> np.ndarray:
    """Bytes of a file. uint8 [n]"""
    return np.fromfile(path, np.uint8)


def write_array(path: Path, content: np.ndarray) -> None:
    """Write bytes to a file, atomically."""
    with atomic_write(path) as temporary:
        content.tofile(temporary)


def moved_path(path: str, original: Path, moved: Path) -> str:
    """A path in a folder after the folder was moved; others stay as they are."""
    try:
        return str(moved / Path(path).relative_to(original))
    except ValueError:
        return path


def _with_paths(content: np.ndarray, moved: Sequence[tuple[Path, Path]]) -> np.ndarray:
    """A text of JSON or TOML in which paths of this machine are those of the driver's."""
    text = content.tobytes().decode()
    for here, there in moved:
        text = text.replace(json.dumps(str(here))[1:-1], json.dumps(str(there))[1:-1])
    return np.frombuffer(text.encode(), np.uint8)


def _state(path: Path) -> State | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns


def _held(folder: Path) -> IO[str]:
    """The open file whose lock says that a folder is in use."""
    file = open(folder / ".in_use", "a")  # noqa: SIM115 - open as long as the folder is in use
    if fcntl is not None:
        fcntl.flock(file, fcntl.LOCK_EX)
    return file


def _remove_abandoned(home: Path) -> None:
    """Remove the folders of workers that are no longer there."""
    if fcntl is None:
        return
    for folder in home.glob("[!.]*"):
        try:
            with open(folder / ".in_use") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
        except OSError:  # in use, or removed by another worker
            continue
