"""Files of the stages: stamps that say what a piece was made from, tensors with metadata, checkpoints."""

import dataclasses
import hashlib
import json
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from safetensors import SafetensorError, safe_open

from gags.errors import TrainingError, WorkspaceError
from gags.files import atomic_write
from gags.files.ranges import Range, range_metadata
from gags.progress import SILENT, Reporter

if TYPE_CHECKING:
    from torch import Tensor

_ADDED = "added"  # metadata of fields made by `added`
STAMP_FORMAT = 1  # raised when a stage's result changes although settings and inputs do not


def stamp(*parts: Any) -> str:
    """Hash of settings and inputs, equal exactly when they are equal; the same in every process.

    Args:
        parts: Dataclasses, strings, numbers, lists, dicts, other stamps.

    Returns:
        16 hexadecimal digits.
    """
    text = json.dumps([STAMP_FORMAT, *map(plain, parts)], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def file_stamp(path: Path) -> str:
    """Hash of a file's content, 16 hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


def digest(*tensors: "Tensor") -> str:
    """SHA-256 of the values of tensors as float32, 64 hexadecimal digits."""
    sha = hashlib.sha256()
    for tensor in tensors:
        sha.update(tensor.detach().float().cpu().contiguous().numpy().tobytes())
    return sha.hexdigest()


def added(default: Any, *ranges: Range) -> Any:
    """A field of a settings class that was added after scenes had been made without it.

    At its default it is left out of `plain`, so that scenes of earlier versions do not count as stale.

    Args:
        default: The default.
        ranges: Of its numbers, see `gags.files.ranges.ranged`.
    """
    return dataclasses.field(default=default, metadata={_ADDED: True} | range_metadata(*ranges))


def plain(value: Any) -> Any:
    """A value as JSON and TOML both hold it: dataclasses as dicts, paths as strings, None left out.

    A number in a field of floats is written as its default is if it equals that, else as a float: so 1 and
    1.0 are the same setting. A field made by `added` is left out at its default.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = dataclasses.fields(value)
        floats = {f.name: f.default for f in fields if f.type in (float, "float")}
        late = [f.name for f in fields if f.metadata.get(_ADDED) and getattr(value, f.name) == f.default]
        value = dataclasses.asdict(value)
        for name, default in floats.items():
            value[name] = default if value[name] == default else float(value[name])
        value = {name: held for name, held in value.items() if name not in late}
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in value.items() if v is not None}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    return str(value) if isinstance(value, Path) else value


@dataclass(frozen=True, eq=False)
class Stored:
    """What a file of tensors holds.

    Attributes:
        tensors: By name; arrays of NumPy or tensors of PyTorch, as asked for.
        metadata: Strings by name.
    """

    tensors: dict[str, Any]
    metadata: dict[str, str]


def save_tensors(
    path: Path, tensors: "Mapping[str, np.ndarray | Tensor]", metadata: Mapping[str, str] | None = None
) -> None:
    """Write tensors and strings to a safetensors file, atomically; tensors of a GPU are copied from there.

    Args:
        path: The file.
        tensors: Arrays of NumPy, or tensors of PyTorch, by name.
        metadata: Strings by name.
    """
    strings = dict(metadata) if metadata else None
    arrays = {name: t for name, t in tensors.items() if isinstance(t, np.ndarray)}
    with atomic_write(path) as temporary:
        temporary.touch()
        mode = temporary.stat().st_mode  # others may read what they may read of any new file
        if len(arrays) == len(tensors):
            from safetensors.numpy import save_file

            # (ascontiguousarray would give an array without dimensions one.)
            save_file({k: np.require(v, requirements="C") for k, v in arrays.items()}, temporary, strings)
        else:
            import torch
            from safetensors.torch import save_file as save_torch_file

            there = {name: torch.as_tensor(t).detach().cpu().contiguous() for name, t in tensors.items()}
            save_torch_file(there, temporary, strings)
        if strings:
            _sort_metadata(temporary)
        temporary.chmod(mode)


def _sort_metadata(path: Path) -> None:
    """Put the strings of a file in order, which its writer does not: equal content gives equal bytes."""
    with open(path, "rb+") as file:
        size = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(size))
        if "__metadata__" in header:
            header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
            text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
            file.seek(8)
            file.write(text.ljust(size))


def load_tensors(
    path: Path, *, remedy: str, kind: Literal["numpy", "torch"] = "torch", format: str = ""
) -> Stored:
    """Read what `save_tensors` wrote.

    Args:
        path: The file.
        remedy: What the user does about a missing or damaged file, as in "run `gags describe` again".
        kind: Whether arrays of NumPy or tensors of PyTorch are wanted.
        format: What the metadata must hold under "format"; "" takes any.

    Raises:
        WorkspaceError: If the file is missing, damaged, or of another format.
    """
    try:
        with safe_open(path, "numpy" if kind == "numpy" else "pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise damaged(path, error, remedy) from error
    if format and metadata.get("format") != format:
        raise damaged(path, f"format {metadata.get('format')!r} instead of {format!r}", remedy)
    return Stored(tensors, metadata)


def load_metadata(path: Path, *, remedy: str) -> dict[str, str]:
    """The strings of a file of tensors, without reading these; empty if there is no such file.

    Raises:
        WorkspaceError: If the file is damaged.
    """
    if not path.exists():
        return {}
    try:
        with safe_open(path, "numpy") as file:
            return file.metadata() or {}
    except (OSError, SafetensorError) as error:
        raise damaged(path, error, remedy) from error


def damaged(path: Path, what: object, remedy: str) -> WorkspaceError:
    """The error that tells of a file of a scene that cannot be used."""
    return WorkspaceError(f"{path} is missing or damaged ({what}); {remedy}")


class Checkpoint:
    """State of a training in one file, so that a run that was killed can resume.

    Args:
        path: The file; None keeps nothing.
        key: Describes the run: its settings and inputs. A file with another key is not used.
        seconds: Least time between two saves, see `due`.
    """

    def __init__(self, path: Path | None, key: str, seconds: float) -> None:
        self.path, self.key, self.seconds = path, key, seconds
        self._saved = time.monotonic()

    def load(self, progress: Reporter = SILENT) -> "tuple[int, dict[str, Tensor]] | None":
        """Steps done, and the state after them; None if there is nothing that this run can use.

        A file of another run or a damaged one is said, then training starts from the beginning.
        """
        if self.path is None or not self.path.is_file():
            return None
        try:
            stored = load_tensors(self.path, remedy="")
            if stored.metadata.get("key") != self.key:
                progress.say(
                    f"{self.path} belongs to other photos or settings; training starts from the beginning"
                )
                return None
            return int(stored.metadata["step"]), stored.tensors
        except (WorkspaceError, KeyError, ValueError):
            self.refuse(progress)
            return None

    def refuse(self, progress: Reporter) -> None:
        """Warn of a checkpoint that cannot be used."""
        progress.warn(f"checkpoint {self.path} is damaged; training starts from the beginning")

    @property
    def due(self) -> bool:
        """Whether the state should be saved now."""
        return self.path is not None and time.monotonic() - self._saved >= self.seconds

    def save(self, step: int, tensors: "Mapping[str, Tensor]") -> None:
        """Write the state after `step` steps."""
        if self.path is not None:
            save_tensors(self.path, tensors, {"step": str(step), "key": self.key})
            self._saved = time.monotonic()


def check_finite(step: int, values: "Mapping[str, Tensor | float]", remedy: str) -> None:
    """Stop a training that has diverged, before it writes anything.

    Args:
        step: Steps done.
        values: What must be finite, by name: a loss, parameters.
        remedy: What the user does about it, as in "set smaller rates".

    Raises:
        TrainingError: If a number is infinite or NaN.
    """
    for name, value in values.items():
        number = isinstance(value, float | int)
        if not (math.isfinite(value) if number else bool(value.isfinite().all())):
            raise TrainingError(
                f"training diverged: after step {step}, {name} is no finite number any more; {remedy}. "
                "Nothing was replaced"
            )


def loss_note(loss: "Tensor", step: int, remedy: str, *, every: int = 50, decimals: int = 4) -> str:
    """What the progress bar says of the loss, at every so many steps; else nothing.

    Raises:
        TrainingError: If it is told, and infinite or NaN; see `check_finite`.
    """
    if step % every:
        return ""
    value = float(loss.item())
    check_finite(step, {"the loss": value}, remedy)
    return f"loss {value:.{decimals}f}"
