"""Why Gaussians are read by code of our own: layouts that are read right, and time, beside gsply.

    python benchmarks/ply.py [--count 300000] [--repeats 15]

Every layout is one that the PLY format allows and that some exporter writes. Right means: all values as they
were written. The time is that of the layout both read, harmonics of degree 3, with calls alternating.
"""

import contextlib
import io
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import gsply
import numpy as np
import torch
import tyro

from gags.gaussians import Gaussians
from gags.gaussians.ply import load_ply, save_ply

BASE = ["x", "y", "z", "f_dc_0", "f_dc_1", "f_dc_2", "opacity", "scale_0", "scale_1", "scale_2"]
BASE += ["rot_0", "rot_1", "rot_2", "rot_3"]
NORMALS = [*BASE[:3], "nx", "ny", "nz", *BASE[3:]]
REST = [f"f_rest_{i}" for i in range(45)]
KINDS = {"float": "f4", "double": "f8", "uchar": "u1"}


def main(count: int = 300_000, repeats: int = 15) -> None:
    """Print both tables.

    Args:
        count: Gaussians of the timed file.
        repeats: Timed calls of each reader.
    """
    with tempfile.TemporaryDirectory(prefix="gags-ply-") as folder:
        path = Path(folder) / "a.ply"
        print(f"gsply {gsply.__version__}\n\n| layout | gags | gsply |\n|---|---|---|")
        total = np.zeros(2, int)
        for name, layout in layouts().items():
            values = write(path, **layout)
            right = [read_right(reader, path, values) for reader in (load_ply, gsply.plyread)]
            total += right
            print(f"| {name} | {' | '.join('right' if r else 'not' for r in right)} |")
        print(f"| **right** | **{total[0]} of {len(layouts())}** | **{total[1]} of {len(layouts())}** |\n")
        print(f"| {count:,} Gaussians, degree 3 | ms |\n|---|---:|")
        for name, milliseconds in timed(path, count, repeats).items():
            print(f"| {name} | {milliseconds:.0f} |")


def layouts() -> dict[str, dict[str, Any]]:
    """Arguments of `write` by what is special about a file."""
    shuffled = [*NORMALS[9:], *NORMALS[:9]]
    return {
        "as 3DGS writes it, degree 0": {"names": NORMALS},
        "as 3DGS writes it, degree 3": {"names": [*NORMALS[:9], *REST, *NORMALS[9:]]},
        "without normals": {"names": BASE},
        "without normals, degree 3": {"names": [*BASE[:6], *REST, *BASE[6:]]},
        "opacity, scales and rotations first": {"names": shuffled},
        "one property more": {"names": [*NORMALS, "label"]},
        "one property more, degree 3": {"names": [*NORMALS[:9], *REST, *NORMALS[9:], "label"]},
        "colours as bytes beside harmonics": {
            "names": [*NORMALS, "red", "green", "blue"],
            "types": dict.fromkeys(["red", "green", "blue"], "uchar"),
        },
        "positions as doubles": {"names": NORMALS, "types": dict.fromkeys(["x", "y", "z"], "double")},
        "big endian": {"names": NORMALS, "order": ">"},
        "ascii": {"names": NORMALS, "order": ""},
        "another element before": {"names": NORMALS, "before": True},
    }


def write(
    path: Path,
    *,
    names: list[str],
    types: dict[str, str] | None = None,
    order: str = "<",
    before: bool = False,
) -> np.ndarray:
    """Write 50 rows of random values; returns them as a structured array."""
    types = types or {}
    rng = np.random.default_rng(0)
    dtype = np.dtype([(name, (order or "<") + KINDS[types.get(name, "float")]) for name in names])
    rows = np.empty(50, dtype)
    for name in names:
        rows[name] = rng.integers(0, 256, 50) if types.get(name) == "uchar" else rng.normal(size=50)
    kind = {"<": "binary_little_endian", ">": "binary_big_endian", "": "ascii"}[order]
    header = ["ply", f"format {kind} 1.0", "comment made by benchmarks/ply.py"]
    header += ["element camera 1", "property float fov"] if before else []
    header += ["element vertex 50", *(f"property {types.get(name, 'float')} {name}" for name in names)]
    lines = "".join(" ".join(repr(value.item()) for value in row) + "\n" for row in rows)
    body = rows.tobytes() if order else lines.encode()
    first = np.float32(1).tobytes() if before else b""
    path.write_bytes("\n".join([*header, "end_header\n"]).encode() + first + body)
    return rows


def read_right(reader: Any, path: Path, rows: np.ndarray) -> bool:
    """Whether a reader gives the values that were written."""
    with contextlib.redirect_stdout(io.StringIO()):
        try:
            read = reader(path)
        except Exception:
            return False
    names = rows.dtype.names or ()
    if isinstance(read, Gaussians):
        found = [read.means, read.quats, read.log_scales, read.logit_opacities[:, None], read.sh[:, 0]]
        rest = read.sh[:, 1:]
    else:
        found = [read.means, read.quats, read.scales, np.reshape(read.opacities, (-1, 1)), read.sh0]
        rest = np.zeros((len(rows), 0, 3)) if read.shN is None else read.shN
    wanted = [["x", "y", "z"], BASE[10:], BASE[7:10], ["opacity"], BASE[3:6]]
    pairs = [(a, np.stack([rows[name] for name in group], 1)) for a, group in zip(found, wanted, strict=True)]
    harmonics = [name for name in REST if name in names]
    true = np.stack([rows[name] for name in harmonics], 1) if harmonics else np.zeros((len(rows), 0))
    pairs.append((rest, true.reshape(len(rows), 3, -1).transpose(0, 2, 1)))
    return all(
        np.shape(a) == b.shape and np.allclose(np.asarray(a), b.astype(np.float32), atol=0) for a, b in pairs
    )


def timed(path: Path, count: int, repeats: int) -> dict[str, float]:
    """Median milliseconds of both readers."""
    rng = torch.Generator().manual_seed(0)
    shapes = ((count, 3), (count, 4), (count, 3), (count,), (count, 16, 3))
    save_ply(Gaussians(*(torch.randn(shape, generator=rng) for shape in shapes)), path)
    readers = {"gags": load_ply, "gsply": gsply.plyread}
    times: dict[str, list[float]] = {name: [] for name in readers}
    for _ in range(repeats + 1):
        for name, reader in readers.items():
            start = time.perf_counter()
            reader(path)
            times[name].append(1000 * (time.perf_counter() - start))
    return {name: statistics.median(values[1:]) for name, values in times.items()}


if __name__ == "__main__":
    tyro.cli(main)
