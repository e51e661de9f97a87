"""The folder of one scene: names of its files, what is already done, and with which settings."""

import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import tomli_w

from gags._version import __version__
from gags.errors import DamagedError, WorkspaceError
from gags.files import atomic_write, is_temporary, read_table, remove_temporaries, write_json
from gags.files.locks import held_by_another, is_locked, locked
from gags.files.trouble import check_file, refused
from gags.store import newer_version, plain

FORMAT = 1  # of the folder
MOST_NESTED = 50  # tables in tables, or parts of a key, of a config.toml; ours has 4
MOST_CONFIG = 1 << 20  # bytes
LOCK = ".lock"  # held by the process that makes something of the scene
DRIVER_LOCK = "driver.lock"  # held by the run that makes something of it on many machines
_DRIVEN: ContextVar[tuple[Path, ...]] = ContextVar("_DRIVEN", default=())  # scenes made for such a run
FORMER_NAMES = {"reconstruct": "splats", "distill": "field"}  # of stages, in scenes made by 0.1.0


@dataclass(frozen=True)
class StageRecord:
    """What `config.toml` says of a finished stage.

    Attributes:
        stamp: Hash of the settings and inputs it ran with.
        seconds: How long it took, with the parts that earlier runs did before they were stopped.
        finished: When, ISO 8601, UTC.
        settings: The settings as they ran.
        checksums: Of files that it wrote, by their names; of scenes of 0.1.0 none are known.
    """

    stamp: str
    seconds: float
    finished: str
    settings: dict[str, Any]
    checksums: dict[str, str] = field(default_factory=dict)


class Workspace:
    """Paths and records of one scene's folder.

    Attributes:
        root: The folder.
    """

    def __init__(self, root: Path | str) -> None:
        self.root = Path(root)

    @classmethod
    def create(cls, root: Path | str) -> "Workspace":
        """Make the folder, or take up an earlier run in it.

        Raises:
            WorkspaceError: If the path is a file, or a folder that holds something else.
        """
        workspace = cls(root)
        try:
            if workspace._holds_something_else():
                raise WorkspaceError(
                    f"{root} holds files that are not a gags scene; give --out a new or empty folder"
                )
            workspace.root.mkdir(parents=True, exist_ok=True)
            if not os.path.lexists(workspace.config):
                workspace._write({"gags": __version__, "format": FORMAT})
        except OSError as error:
            raise WorkspaceError(
                f"cannot write to {root} ({refused(error).strerror}); choose another --out"
            ) from error
        workspace._read()
        return workspace

    @classmethod
    def open(cls, root: Path | str) -> "Workspace":
        """Take up a folder that `create` made.

        Raises:
            WorkspaceError: If there is no scene in it.
        """
        workspace = cls(root)
        try:
            check_file(workspace.config)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise WorkspaceError(
                f"{root} is not a gags scene (no config.toml in it); make one with `gags run`"
            ) from error
        workspace._read()
        return workspace

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Keep other processes from making something of the scene; what only reads it needs no lock.

        Leftovers of a process that was killed are removed.

        Raises:
            WorkspaceError: If another process makes something of it now.
        """
        if self.root.absolute() not in _DRIVEN.get() and is_locked(self.run / DRIVER_LOCK):
            raise WorkspaceError(self._held)
        with locked(self.root / LOCK, self._held):
            for folder in (self.root, self.run, self.descriptions, self.viewer):
                remove_temporaries(folder)
            yield

    @contextmanager
    def driven(self) -> Iterator[None]:
        """Work on the scene for the run on many machines that holds it: it may be locked meanwhile."""
        token = _DRIVEN.set((*_DRIVEN.get(), self.root.absolute()))
        try:
            yield
        finally:
            _DRIVEN.reset(token)

    def check_free(self) -> None:
        """Make sure that no other process makes something of the scene now.

        Raises:
            WorkspaceError: If one does.
        """
        if is_locked(self.root / LOCK):
            raise WorkspaceError(self._held)

    @property
    def _held(self) -> str:
        return held_by_another(self.root)

    @property
    def config(self) -> Path:
        """Settings of every stage as they ran."""
        return self.root / "config.toml"

    @property
    def capture(self) -> Path:
        """Where the photos are, cameras, split."""
        return self.root / "capture.json"

    @property
    def poses(self) -> Path:
        """The capture made of photos that came without poses."""
        return self.root / "poses"

    @property
    def splats(self) -> Path:
        """The Gaussians, a standard 3DGS PLY."""
        return self.root / "splats.ply"

    @property
    def reconstruct_checkpoint(self) -> Path:
        """State of a training of Gaussians that is not finished."""
        return self.root / "checkpoint.safetensors"

    @property
    def run(self) -> Path:
        """Folder of what is known of runs: locks, on one machine or many, and times."""
        return self.root / ".run"

    @property
    def describe_time(self) -> Path:
        """How long describing took for how many photos so far; gone once all are described."""
        return self.run / "describe.json"

    @property
    def descriptions(self) -> Path:
        """Folder of masks and embeddings, one file a photo."""
        return self.root / "features"

    def description(self, photo: str) -> Path:
        """Masks and embeddings of one photo, by its name in the capture."""
        return self.descriptions / f"{photo}.safetensors"

    @property
    def field(self) -> Path:
        """The language field."""
        return self.root / "field.safetensors"

    @property
    def distill_checkpoint(self) -> Path:
        """State of a distillation that is not finished."""
        return self.root / "field_checkpoint.safetensors"

    @property
    def things(self) -> Path:
        """Things and parts of the scene."""
        return self.root / "things.safetensors"

    @property
    def taught(self) -> Path:
        """Names that the scene was taught."""
        return self.root / "taught.safetensors"

    @property
    def frame(self) -> Path:
        """What people said of the scene's frame: its unit, and what is up."""
        return self.root / "frame.json"

    @property
    def viewer(self) -> Path:
        """Folder of what the viewer makes of the scene and would have to make again."""
        return self.root / "viewer"

    @property
    def answers(self) -> Path:
        """Folder of answers as files, unless another one is named."""
        return self.root / "answers"

    @property
    def catalog(self) -> Path:
        """Folder of the catalogue, unless another one is named."""
        return self.root / "catalog"

    @property
    def report(self) -> Path:
        """Folder of the pages, their pictures and all figures."""
        return self.root / "report"

    @property
    def metrics(self) -> Path:
        """Figures of the scene, JSON."""
        return self.report / "metrics.json"

    def evaluation(self, protocol: str) -> Path:
        """Rows and means of an evaluation, JSON."""
        return self.report / f"evaluation_{protocol}.json"

    def evaluation_page(self, protocol: str) -> Path:
        """Page of an evaluation's worst answers."""
        return self.report / f"evaluation_{protocol}.html"

    def record(self, stage: str) -> StageRecord | None:
        """What config.toml holds of a stage such as "distill"; None before it has finished."""
        stages = self._read().get("stages", {})
        table = stages.get(stage, stages.get(FORMER_NAMES.get(stage)))
        if table is None:
            return None
        try:
            record = StageRecord(
                table["stamp"],
                table["seconds"],
                table["finished"],
                table.get("settings", {}),
                table.get("checksums", {}),
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise self._damaged_at(stage) from error
        kinds = (str, float | int, str, dict, dict)
        if not all(map(isinstance, vars(record).values(), kinds)):
            raise self._damaged_at(stage)
        return record

    def finish(
        self,
        stage: str,
        stage_stamp: str,
        seconds: float,
        settings: Any = None,
        *,
        checksums: Mapping[str, str] | None = None,
    ) -> None:
        """Write a finished stage to config.toml.

        Args:
            stage: Its name.
            stage_stamp: Hash of the settings and inputs it ran with.
            seconds: How long it took.
            settings: The settings as they ran.
            checksums: Of files it wrote that hold none themselves, by their names.
        """
        config = self._read()
        finished = datetime.now(UTC).isoformat(timespec="seconds")
        config["gags"] = __version__
        stages = config.setdefault("stages", {})
        stages.pop(FORMER_NAMES.get(stage), None)
        stages[stage] = {
            "stamp": stage_stamp,
            "seconds": round(seconds, 2),
            "finished": finished,
            "settings": plain(settings) if settings is not None else {},
        }
        if checksums:
            stages[stage]["checksums"] = dict(checksums)
        self._write(config)

    def remember(self, stage: str, checksums: Mapping[str, str], stage_stamp: str | None = None) -> None:
        """Note checksums of files that a finished stage wrote anew, and its stamp if that has changed."""
        config = self._read()
        stages = config.get("stages", {})
        table = stages.get(stage, stages.get(FORMER_NAMES.get(stage)))
        if table is not None:
            table["checksums"] = {**table.get("checksums", {}), **checksums}
            table["stamp"] = stage_stamp or table["stamp"]
            self._write(config)

    def rename_settings(self, stage: str, settings: Mapping[str, Any]) -> None:
        """Note other names for what a finished stage ran with, as another preset of the same settings."""
        config = self._read()
        stages = config.get("stages", {})
        table = stages.get(stage, stages.get(FORMER_NAMES.get(stage)))
        if table is not None:
            table["settings"] = {**table.get("settings", {}), **plain(settings)}
            self._write(config)

    def update_metrics(self, figures: dict[str, Any]) -> None:
        """Merge figures into `report/metrics.json`; one that is None now is taken out."""
        merged = self.read_metrics() | figures
        write_json(self.metrics, {name: figure for name, figure in merged.items() if figure is not None})

    def read_metrics(self) -> dict[str, Any]:
        """The figures of `report/metrics.json`; empty if there are none yet or the file is damaged."""
        return read_table(self.metrics)

    def longest_name(self) -> int:
        """How many bytes the name of a file in the folder may have."""
        try:
            return os.pathconf(self.root, "PC_NAME_MAX")
        except (OSError, ValueError, AttributeError):  # not known, as on Windows
            return 255

    def is_writable(self) -> bool:
        """Whether files can be made in the folder."""
        return os.access(self.root, os.W_OK)

    def _holds_something_else(self) -> bool:
        """Whether a folder without config.toml holds anything that gags did not write."""
        if not self.root.is_dir() or os.path.lexists(self.config):
            return False
        ours = {path.name for path in (self.capture, self.poses, self.splats, self.descriptions, self.field)}
        ours |= {path.name for path in (self.things, self.report, self.reconstruct_checkpoint)}
        ours |= {self.distill_checkpoint.name, self.answers.name, self.catalog.name, LOCK}
        ours |= {self.taught.name, self.frame.name, self.run.name, self.viewer.name}
        return any(entry.name not in ours and not is_temporary(entry.name) for entry in self.root.iterdir())

    def _damaged_at(self, stage: str) -> WorkspaceError:
        return WorkspaceError(f"{self.config} is damaged at stage {stage}; delete that table")

    def _read(self) -> dict[str, Any]:
        """The content of config.toml.

        Raises:
            DamagedError: If it is no such file.
            NewerError: If a newer version of gags wrote it.
        """
        try:
            check_file(self.config)
            text = self.config.read_bytes()[: MOST_CONFIG + 1].decode()
            refuse_nested(text)
            content = tomllib.loads(text)
            written = content.get("format", FORMAT)
            tables = content.get("stages", {})
            if type(written) is not int or written < 1:
                raise ValueError(f"its format is {written!r}, not a number")
            if not isinstance(tables, dict) or not all(isinstance(t, dict) for t in tables.values()):
                raise ValueError("its stages are no tables")
        except OSError as error:
            raise refused(error, self.config, "cannot be read") from error
        except (ValueError, RecursionError) as error:
            message = f"{self.config} cannot be read ({error}); delete it to start this scene over"
            raise DamagedError(message, self.config) from error
        if written > FORMAT:
            raise newer_version(self.config, f"format {written}", f"format {FORMAT}")
        return content

    def _write(self, config: dict[str, Any]) -> None:
        with atomic_write(self.config) as temporary:
            temporary.write_bytes(tomli_w.dumps(config).encode())


def refuse_nested(toml: str) -> None:
    """Refuse a text whose tables and keys are nested so deep that reading it would take hours.

    Raises:
        ValueError: If it is too long, or nested deeper than `MOST_NESTED`.
    """
    if len(toml) > MOST_CONFIG:
        raise ValueError("it is far too long")
    plain_text = re.sub(r'"(?:\\.|[^"\\\n])*"|\'[^\'\n]*\'|#[^\n]*', "", toml)
    dots = max(line.count(".") for line in plain_text.split("\n"))
    depth = 0
    for bracket in re.findall(r"[\[\]{}]", plain_text):
        depth += 1 if bracket in "[{" else -1
        if depth > MOST_NESTED:
            break
    if max(depth, dots) > MOST_NESTED:
        raise ValueError(f"it is nested deeper than {MOST_NESTED} tables")
