"""What reads a damaged COLMAP model: pycolmap against this package's own reader.

    python benchmarks/damaged_colmap.py CAPTURE [--limit 20]

Copies the binary model of CAPTURE, cuts one of its files short or takes its last photo out, and reads it with
both, each in a process of its own that is ended after `--limit` seconds. A good reader refuses what is cut,
and reads a model from which people took photos.
"""

import argparse
import shutil
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from gags.capture.formats.colmap import model_folder

SHARES = (0.0, 0.3, 0.5, 0.97)  # of the file that stays
PYCOLMAP = "import sys, pycolmap; model = pycolmap.Reconstruction(sys.argv[1] + '/sparse/0')"
PYCOLMAP += "; print(len(model.cameras), len(model.images), len(model.points3D))"
OURS = "import sys; from pathlib import Path; from gags.capture.formats.colmap import read_colmap"
OURS += "; source = read_colmap(Path(sys.argv[1])); print('-', len(source.poses), len(source.points))"


def outcome(program: str, root: Path, limit: float) -> str:
    """What a reader does with a capture, in a few words."""
    started = time.monotonic()
    try:
        done = subprocess.run(
            [sys.executable, "-c", program, str(root)], capture_output=True, text=True, timeout=limit
        )
    except subprocess.TimeoutExpired:
        return f"not back after {limit:.0f} s"
    seconds = time.monotonic() - started
    if done.returncode == 0:
        return f"reads it: {done.stdout.strip()} cameras, photos, points ({seconds:.1f} s)"
    last = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
    return f"refuses ({seconds:.1f} s): {last.replace(str(root), 'CAPTURE')[:110]}"


def without_last_photo(data: bytes) -> bytes:
    """`images.bin` with its last record taken out."""
    (count,) = struct.unpack_from("<Q", data)
    offset = 8
    for _ in range(count - 1):
        end = data.index(b"\0", offset + 64)
        (points,) = struct.unpack_from("<Q", data, end + 1)
        offset = end + 9 + 24 * points
    return struct.pack("<Q", count - 1) + data[8:offset]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("capture", type=Path)
    parser.add_argument("--limit", type=float, default=20.0, help="seconds for one reader")
    arguments = parser.parse_args()
    model = model_folder(arguments.capture)
    if model is None:
        parser.error(f"{arguments.capture} has no COLMAP model")
    print("| model | pycolmap | own reader |\n|---|---|---|")
    cases = [("images", "whole", lambda data: data), ("images", "last photo taken out", without_last_photo)]
    for file in ("cameras", "images", "points3D"):
        cases += [(file, f"{s:.0%} kept", lambda data, s=s: data[: int(len(data) * s)]) for s in SHARES]
    for file, what, change in cases:
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder)
            shutil.copytree(model, root / "sparse" / "0", copy_function=shutil.copyfile)
            (root / "images").mkdir()
            path = root / "sparse" / "0" / f"{file}.bin"
            path.write_bytes(change(path.read_bytes()))
            results = [outcome(program, root, arguments.limit) for program in (PYCOLMAP, OURS)]
        print(f"| {file}.bin: {what} | {results[0]} | {results[1]} |", flush=True)


if __name__ == "__main__":
    main()
