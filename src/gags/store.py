"""Files of the stages: stamps that say what a piece was made from, tensors with metadata, checkpoints."""

import dataclasses
import hashlib
import json
import math
import os
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from safetensors import SafetensorError, safe_open

from gags.errors import DamagedError, NewerError, TrainingError, WorkspaceError
from gags.files import atomic_write
from gags.files.contents import Contents, check_contents, checksum
from gags.files.ranges import Range, range_metadata
from gags.files.trouble import check_file, check_readable, refused
from gags.progress import SILENT, Bar, Reporter

if TYPE_CHECKING:
    from torch import Tensor

_ADDED = "added"  # metadata of fields made by `added`
_CHECKSUM = "checksum"  # of the tensors, in the metadata of every file; those of 0.1.0 have none
# Raised when results of all stages change although settings and inputs do not; `gags.things.find.WAY` is for
# things alone.
STAMP_FORMAT = 1


def stamp(*parts: Any) -> str:
    """Hash of settings and inputs, equal exactly when they are equal; the same in every process.

    Args:
        parts: Dataclasses, strings, numbers, lists, dicts, other stamps.

    Returns:
        16 hexadecimal digits.
    """
    text = json.dumps([STAMP_FORMAT, *map(plain, parts)], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def raised(name: str, number: int) -> tuple[str, ...]:
    """What the number of some rules adds to a stamp; at 1, where it begins, nothing: earlier stamps stay."""
    return () if number == 1 else (f"{name} {number}",)


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

    A checksum of the tensors goes into the strings.

    Args:
        path: The file.
        tensors: Arrays of NumPy, or tensors of PyTorch, by name.
        metadata: Strings by name.
    """
    arrays = {name: t for name, t in tensors.items() if isinstance(t, np.ndarray)}
    if len(arrays) == len(tensors):
        # (ascontiguousarray would give an array without dimensions one.)
        there: dict[str, Any] = {k: np.require(v, requirements="C") for k, v in arrays.items()}
    else:
        import torch

        there = {name: torch.as_tensor(t).detach().cpu().contiguous() for name, t in tensors.items()}
    strings = dict(metadata or {}) | {_CHECKSUM: checksum(there)}
    with atomic_write(path) as temporary:
        temporary.touch()
        mode = temporary.stat().st_mode  # others may read what they may read of any new file
        try:
            _save_file(there, temporary, strings, of_numpy=len(arrays) == len(tensors))
        except SafetensorError as error:
            raise _os_error(error, temporary) from error
        _sort_metadata(temporary)
        temporary.chmod(mode)


def _save_file(tensors: dict[str, Any], path: Path, strings: dict[str, str], *, of_numpy: bool) -> None:
    if of_numpy:
        from safetensors.numpy import save_file
    else:
        from safetensors.torch import save_file
    save_file(tensors, path, strings)


def _os_error(error: SafetensorError, path: Path) -> OSError:
    """What the system said when a file could not be written; the library only quotes it."""
    code = re.search(r"(?:code: |os error )(\d+)", str(error))
    number = int(code[1]) if code else 0
    return OSError(number, os.strerror(number) if number else str(error), str(path))


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
    path: Path,
    *,
    remedy: str,
    kind: Literal["numpy", "torch"] = "torch",
    format: str = "",
    contents: Contents | None = None,
) -> Stored:
    """Read what `save_tensors` wrote, and make sure that it is what was written.

    Args:
        path: The file.
        remedy: What the user does about a missing or damaged file, as in "run `gags describe` again".
        kind: Whether arrays of NumPy or tensors of PyTorch are wanted.
        format: What the metadata must hold under "format"; "" takes any.
        contents: What the tensors must be; None takes any that the checksum is right for.

    Raises:
        DamagedError: If the file is missing, damaged, or of another format.
        NewerError: If a newer version of gags wrote it.
        FileError: If the system does not let us read it.
    """
    try:
        check_readable(path)  # safetensors says of any file that it may not open that it is not there
        with safe_open(path, "numpy" if kind == "numpy" else "pt") as file:
            metadata = file.metadata() or {}
            _check_format(path, metadata.get("format"), format, remedy)
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except FileNotFoundError as error:
        raise damaged(path, error.strerror or "no such file", remedy) from error
    except OSError as error:
        raise refused(error, path, "cannot be read") from error
    except (SafetensorError, ValueError, TypeError) as error:
        raise damaged(path, error, remedy) from error
    written = metadata.pop(_CHECKSUM, None)
    if written is not None and checksum(tensors) != written:
        raise damaged(path, "its checksum is wrong: its numbers are not those that were written", remedy)
    if contents is not None:
        try:
            check_contents(tensors, contents)
        except ValueError as error:
            raise damaged(path, error, remedy) from error
    return Stored(tensors, metadata)


def load_metadata(path: Path, *, remedy: str, format: str = "") -> dict[str, str]:
    """The strings of a file of tensors, without reading these; empty if there is no such file.

    Raises:
        DamagedError: If the file is damaged, or of another format.
        NewerError: If a newer version of gags wrote it.
        FileError: If the system does not let us read it.
    """
    metadata = _metadata(path, remedy)
    if metadata:
        _check_format(path, metadata.get("format"), format, remedy)
    metadata.pop(_CHECKSUM, None)
    return metadata


def load_checksum(path: Path, *, remedy: str) -> str:
    """Checksum of the tensors of a file, as it says itself; empty if it says none, or is not there.

    Raises:
        DamagedError: If the file is damaged.
        FileError: If the system does not let us read it.
    """
    return _metadata(path, remedy).get(_CHECKSUM, "")


def _metadata(path: Path, remedy: str) -> dict[str, str]:
    try:
        check_readable(path)
        with safe_open(path, "numpy") as file:
            return file.metadata() or {}
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise refused(error, path, "cannot be read") from error
    except (SafetensorError, ValueError, TypeError) as error:
        raise damaged(path, error, remedy) from error


def _check_format(path: Path, found: str | None, wanted: str, remedy: str) -> None:
    """Make sure that a file has a format; its version is behind the last dash, none is the first."""
    name, _, version = wanted.rpartition("-")
    if not wanted or found == wanted or (found is None and version == "1"):
        return
    known, _, newer = (found or "").rpartition("-")
    if known == name and version.isdigit() and newer.isdigit() and int(newer) > int(version):
        raise newer_version(path, f"format {found}", f"format {wanted}")
    raise damaged(path, f"format {found!r} instead of {wanted!r}", remedy)


def damaged(path: Path, what: object, remedy: str) -> DamagedError:
    """The error that tells of a file of a scene that cannot be used."""
    return DamagedError(f"{path} is missing or damaged ({what}); {remedy}", path)


def newer_version(path: Path, found: str, known: str) -> NewerError:
    """The error that tells of a file that a newer version of gags wrote."""
    return NewerError(
        f"{path} was written by a newer version of gags ({found}, this version knows {known}); "
        "install that version: pip install -U gags"
    )


class Checkpoint:
    """State of a training in one file, so that a run that was killed can resume.

    Args:
        path: The file; None keeps nothing.
        key: Describes the run: its settings and inputs. A file with another key is not used.
        seconds: Least time between two saves, see `due`.

    Attributes:
        earlier: Seconds of the steps that led to the state that was loaded; 0 if none was.
    """

    def __init__(self, path: Path | None, key: str, seconds: float) -> None:
        self.path, self.key, self.seconds = path, key, seconds
        self.earlier = 0.0
        self._began = self._saved = time.monotonic()

    def load(self, progress: Reporter = SILENT) -> "tuple[int, dict[str, Tensor]] | None":
        """Steps done, and the state after them; None if there is nothing that this run can use.

        A file of another run or a damaged one is said, then training starts from the beginning.
        """
        if self.path is None:
            return None
        try:
            check_file(self.path)  # a folder in its place would only be noticed when it is saved
            stored = load_tensors(self.path, remedy="")
            if stored.metadata.get("key") != self.key:
                progress.say(
                    f"{self.path} belongs to other photos or settings; training starts from the beginning"
                )
                return None
            step, seconds = int(stored.metadata["step"]), float(stored.metadata.get("seconds", 0))
            self.earlier = seconds if math.isfinite(seconds) and seconds > 0 else 0.0
            return step, stored.tensors
        except FileNotFoundError:
            return None
        except (WorkspaceError, KeyError, ValueError):
            self.refuse(progress)
            return None

    def refuse(self, progress: Reporter) -> None:
        """Warn of a checkpoint that cannot be used."""
        self.earlier = 0.0
        progress.warn(f"checkpoint {self.path} is damaged; training starts from the beginning")

    def begin(self, bar: Bar, done: int) -> None:
        """The steps begin: tell their bar what the loaded state has done of it, and count their seconds."""
        bar.resume(done, self.earlier)
        self._began = time.monotonic()

    @property
    def due(self) -> bool:
        """Whether the state should be saved now."""
        return self.path is not None and time.monotonic() - self._saved >= self.seconds

    def save(self, step: int, tensors: "Mapping[str, Tensor]") -> None:
        """Write the state after `step` steps."""
        if self.path is not None:
            spent = self.earlier + time.monotonic() - self._began
            save_tensors(self.path, tensors, {"step": str(step), "key": self.key, "seconds": f"{spent:.2f}"})
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
