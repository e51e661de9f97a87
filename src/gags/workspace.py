"""The folder of one scene: names of its files, what is already done, and with which settings."""

import os
import tomllib
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import tomli_w

from gags._version import __version__
from gags.errors import WorkspaceError
from gags.files import atomic_write, read_table, write_json
from gags.store import plain

FORMAT = 1  # of the folder
FORMER_NAMES = {"reconstruct": "splats", "distill": "field"}  # of stages, in scenes made by 0.1.0


@dataclass(frozen=True)
class StageRecord:
    """What `config.toml` says of a finished stage.

    Attributes:
        stamp: Hash of the settings and inputs it ran with.
        seconds: Time of the run that finished it.
        finished: When, ISO 8601, UTC.
        settings: The settings as they ran.
    """

    stamp: str
    seconds: float
    finished: str
    settings: dict[str, Any]


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
        if workspace.root.is_dir() and any(workspace.root.iterdir()) and not workspace.config.exists():
            raise WorkspaceError(
                f"{root} holds files that are not a gags scene; give --out a new or empty folder"
            )
        try:
            workspace.root.mkdir(parents=True, exist_ok=True)
            if not workspace.config.exists():
                workspace._write({"gags": __version__, "format": FORMAT})
        except OSError as error:
            raise WorkspaceError(
                f"cannot write to {root} ({error.strerror}); choose another --out"
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
        if not workspace.config.is_file():
            raise WorkspaceError(
                f"{root} is not a gags scene (no config.toml in it); make one with `gags run`"
            )
        workspace._read()
        return workspace

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
        """Folder of locks: who makes something of the scene now, on one machine or many."""
        return self.root / ".run"

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
            return StageRecord(table["stamp"], table["seconds"], table["finished"], table.get("settings", {}))
        except (KeyError, TypeError) as error:
            raise WorkspaceError(f"{self.config} is damaged at stage {stage}; delete that table") from error

    def finish(self, stage: str, stage_stamp: str, seconds: float, settings: Any = None) -> None:
        """Write a finished stage to config.toml."""
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
        self._write(config)

    def update_metrics(self, figures: dict[str, Any]) -> None:
        """Merge figures into `report/metrics.json`; one that is None now is taken out."""
        merged = self.read_metrics() | figures
        write_json(self.metrics, {name: figure for name, figure in merged.items() if figure is not None})

    def read_metrics(self) -> dict[str, Any]:
        """The figures of `report/metrics.json`; empty if there are none yet or the file is damaged."""
        return read_table(self.metrics)

    def is_writable(self) -> bool:
        """Whether files can be made in the folder."""
        return os.access(self.root, os.W_OK)

    def _read(self) -> dict[str, Any]:
        try:
            return tomllib.loads(self.config.read_text())
        except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            message = f"{self.config} cannot be read ({error}); delete it to start this scene over"
            raise WorkspaceError(message) from error

    def _write(self, config: dict[str, Any]) -> None:
        with atomic_write(self.config) as temporary:
            temporary.write_bytes(tomli_w.dumps(config).encode())
