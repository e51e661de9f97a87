"""Ways to damage a file of a scene: functions of the file, its twin in another scene, and rng."""

import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
from safetensors import safe_open
from safetensors.numpy import save_file

from gags.files.contents import checksum

Damage = Callable[[Path, Path, np.random.Generator], None]


class NotPossibleError(Exception):
    """The damage makes no sense for this file, or cannot be done here."""


def missing(file: Path, twin: Path, rng: np.random.Generator) -> None:
    """The file is gone."""
    file.unlink()


def empty(file: Path, twin: Path, rng: np.random.Generator) -> None:
    """Nothing is in it."""
    file.write_bytes(b"")


def truncated(file: Path, twin: Path, rng: np.random.Generator) -> None:
    """The second half is gone."""
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2])


def zeroed(file: Path, twin: Path, rng: np.random.Generator) -> None:
    """All bytes are 0."""
    file.write_bytes(bytes(file.stat().st_size))


def zeroed_end(file: Path, twin: Path, rng: np.random.Generator) -> None:
    """The last quarter is 0, as after a crash of the machine."""
    content = file.read_bytes()
    kept = 3 * len(content) // 4
    file.write_bytes(content[:kept] + bytes(len(content) - kept))


def flipped(file: Path, twin: Path, rng: np.random.Generator) -> None:
    """One bit is another one, somewhere."""
    content = bytearray(file.read_bytes())
    content[rng.integers(len(content))] ^= 1 << int(rng.integers(8))
    file.write_bytes(content)


def scrambled(file: Path, twin: Path, rng: np.random.Generator) -> None:
    """Some bytes in the second half are random."""
    content = bytearray(file.read_bytes())
    start = int(rng.integers(len(content) // 2, len(content)))
    some = rng.bytes(min(64, len(content) - start))
    content[start : start + len(some)] = some
    file.write_bytes(content)


def random_bytes(file: Path, twin: Path, rng: np.random.Generator) -> None:
    """All bytes are random."""
    file.write_bytes(rng.bytes(file.stat().st_size))


def swapped(file: Path, twin: Path, rng: np.random.Generator) -> None:
    """It is that of another scene."""
    shutil.copyfile(twin, file)


def folder(file: Path, twin: Path, rng: np.random.Generator) -> None:
    """A folder has its name."""
    file.unlink()
    file.mkdir()
    (file / "something").write_text("of somebody")


def loop(file: Path, twin: Path, rng: np.random.Generator) -> None:
    """A link has its name, which leads back to itself."""
    file.unlink()
    file.symlink_to(file.name)


def pipe(file: Path, twin: Path, rng: np.random.Generator) -> None:
    """A pipe has its name, into which nobody writes."""
    file.unlink()
    os.mkfifo(file)


def no_permission(file: Path, twin: Path, rng: np.random.Generator) -> None:
    """It may not be read; root may read everything."""
    if os.geteuid() == 0:
        raise NotPossibleError
    file.chmod(0)


def newer(file: Path, twin: Path, rng: np.random.Generator) -> None:
    """A newer version of gags wrote it."""
    if file.suffix == ".toml":
        file.write_text(re.sub(r"(?m)^format = \d+$", "format = 99", file.read_text()))
    elif file.name == "capture.json":
        file.write_text(re.sub(r'"version": \d+', '"version": 99', file.read_text()))
    elif file.suffix == ".safetensors":
        tensors, metadata = _read(file)
        _write(file, tensors, metadata | {"format": re.sub(r"-\d+$", "-99", metadata["format"])})
    else:
        raise NotPossibleError


def not_finite(file: Path, twin: Path, rng: np.random.Generator) -> None:
    """A number is no number, and the checksum is right."""
    if file.suffix == ".safetensors":
        tensors, metadata = _read(file)
        for tensor in tensors.values():
            if tensor.dtype.kind == "f" and tensor.size:
                tensor.reshape(-1)[0] = np.nan
        _write(file, tensors, metadata)
    elif file.name == "capture.json":
        content = json.loads(file.read_text())
        content["views"][0]["K"][0][0] = float("nan")
        file.write_text(json.dumps(content))
    else:
        raise NotPossibleError


def nested(file: Path, twin: Path, rng: np.random.Generator) -> None:
    """Lists in lists in lists."""
    if file.suffix == ".toml":
        file.write_text(file.read_text() + "x = " + "[" * 100_000 + "]" * 100_000)
    elif file.suffix == ".json":
        file.write_text("[" * 100_000 + "]" * 100_000)
    else:
        raise NotPossibleError


def other_shape(file: Path, twin: Path, rng: np.random.Generator) -> None:
    """Its first tensor of two or more dimensions lacks a column, and the checksum is right."""
    if file.suffix != ".safetensors":
        raise NotPossibleError
    tensors, metadata = _read(file)
    name = next(name for name in ("features", "labels", "embeddings") if name in tensors)
    tensors[name] = np.ascontiguousarray(tensors[name][..., 1:] if name != "labels" else tensors[name][0])
    _write(file, tensors, metadata)


def huge_claim(file: Path, twin: Path, rng: np.random.Generator) -> None:
    """It says that it has 10^12 rows."""
    if file.suffix != ".ply":
        raise NotPossibleError
    head, _, body = file.read_bytes().partition(b"end_header\n")
    lines = [b"element vertex 1000000000000" if b"element vertex" in x else x for x in head.splitlines()]
    file.write_bytes(b"\n".join(lines) + b"\nend_header\n" + body)


def huge_values(file: Path, twin: Path, rng: np.random.Generator) -> None:
    """A Gaussian has log-scales of 1e38."""
    if file.suffix != ".ply":
        raise NotPossibleError
    head, mark, body = file.read_bytes().partition(b"end_header\n")
    names = [line.split()[-1] for line in head.splitlines() if line.startswith(b"property")]
    table = np.frombuffer(body, "<f4").reshape(-1, len(names)).copy()
    table[0, names.index(b"scale_0") : names.index(b"scale_2") + 1] = 1e38
    file.write_bytes(head + mark + table.tobytes())


DAMAGES: dict[str, Damage] = {
    damage.__name__: damage
    for damage in (
        missing, empty, truncated, zeroed, zeroed_end, flipped, scrambled, random_bytes, swapped, folder,
        loop, pipe, no_permission, newer, not_finite, nested, other_shape, huge_claim, huge_values,
    )
}  # fmt: skip


def _read(file: Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    with safe_open(file, "numpy") as stored:
        metadata = stored.metadata() or {}
        return {name: stored.get_tensor(name) for name in stored.keys()}, metadata  # noqa: SIM118


def _write(file: Path, tensors: dict[str, np.ndarray], metadata: dict[str, str]) -> None:
    if "checksum" in metadata:
        metadata = metadata | {"checksum": checksum(tensors)}
    save_file(tensors, file, metadata)
