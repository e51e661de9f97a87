"""Give every reader of other programs' files damaged ones, and count what comes out.

Whole files are changed at random: bytes and numbers replaced, parts left out, doubled, moved, cut off; and
some are made of nothing but random bytes. A reader must read or refuse each with the package's own exception,
within 10 s and 1 GB, for up to 1 MB of input.

    python -m tools.campaign.readers --minutes 5
"""

import argparse
import gzip
import json
import random
import resource
import signal
import struct
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from gags.capture import load_capture
from gags.errors import GagsError
from gags.evaluate.labels import load_labels
from gags.gaussians.files import load_gaussians, save_gaussians

MOST_SECONDS, MOST_BYTES = 10, 1 << 30
MOST_INPUT_BYTES = 1 << 20
SIZE = (8, 6)  # of the photos
_ODD_NUMBERS = (0, -1, 1, 255, 2**31 - 1, -(2**31), 2**32, 2**40, 2**63 - 1, 10**12)
_ODD_WORDS = (
    "NaN",
    "inf",
    "-1e308",
    "1e999",
    "99999999999999999999",
    "null",
    "[]",
    "{}",
    '"x"',
    "-0",
    "[" * 5000,
)


@dataclass(frozen=True)
class Reader:
    """A reader of other programs' files.

    Attributes:
        name: What is damaged.
        make: Writes whole inputs into a folder, and returns the file to damage.
        read: Reads what lies in the folder.
        unpack: For packed files, what is damaged: the content.
        pack: Packs it again.
    """

    name: str
    make: Callable[[Path], Path]
    read: Callable[[Path], object]
    unpack: Callable[[bytes], bytes] = bytes
    pack: Callable[[bytes], bytes] = bytes


def _photos(folder: Path, count: int = 4) -> None:
    (folder / "images").mkdir(parents=True)
    for number in range(count):
        Image.new("RGB", SIZE, (number, 9, 9)).save(folder / "images" / f"{number}.png")


def _colmap_text(folder: Path, file: str) -> Path:
    _photos(folder)
    model = folder / "sparse" / "0"
    model.mkdir(parents=True)
    (model / "cameras.txt").write_text("# cameras\n1 OPENCV 8 6 7.5 7.5 4 3 0.01 0 0 0\n")
    lines = [f"{i + 1} 1 0 0 0.{i} 0 0.{i} 2 1 {i}.png\n1.5 2.5 {i}\n" for i in range(4)]
    (model / "images.txt").write_text("# photos\n" + "".join(lines))
    (model / "points3D.txt").write_text("".join(f"{i} 0.{i} 1 2 3 4 5 0.5 1 {i}\n" for i in range(1, 20)))
    return model / f"{file}.txt"


def _colmap_binary(folder: Path, file: str) -> Path:
    _colmap_text(folder, file)
    model = folder / "sparse" / "0"
    for text in model.glob("*.txt"):
        text.unlink()
    camera = struct.pack("<iiQQ8d", 1, 4, *SIZE, 7.5, 7.5, 4, 3, 0.01, 0, 0, 0)
    (model / "cameras.bin").write_bytes(struct.pack("<Q", 1) + camera)
    images = [
        struct.pack("<I7di", i, 1, 0, 0, i / 10, 0, i / 10, 2, 1)
        + f"{i}.png\0".encode()
        + struct.pack("<QddQ", 1, 1.5, 2.5, i)
        for i in range(4)
    ]
    (model / "images.bin").write_bytes(struct.pack("<Q", 4) + b"".join(images))
    points = [struct.pack("<Q3d3BdQii", i, i / 10, 1, 2, 3, 4, 5, 0.5, 1, 1, i) for i in range(20)]
    (model / "points3D.bin").write_bytes(struct.pack("<Q", 20) + b"".join(points))
    return model / f"{file}.bin"


def _transforms(folder: Path, file: str = "transforms.json") -> Path:
    _photos(folder)
    frames = [
        {"file_path": f"images/{i}.png", "transform_matrix": (np.eye(4) + np.eye(4, k=3) * i / 9).tolist()}
        for i in range(4)
    ]
    keys = {"fl_x": 7.5, "w": 8, "h": 6, "k1": 0.01, "k4": 0.02, "test_filenames": ["images/1.png"]}
    (folder / file).write_text(json.dumps(keys | {"ply_file_path": "points.ply", "frames": frames}))
    header = "ply\nformat ascii 1.0\nelement vertex 2\n" + "".join(f"property float {a}\n" for a in "xyz")
    (folder / "points.ply").write_text(header + "end_header\n1 2 3\n4 5 6\n")
    return folder / file


def _points_ply(folder: Path) -> Path:
    return _transforms(folder).with_name("points.ply")


def _polycam(folder: Path) -> Path:
    for number in range(4):
        (folder / "keyframes" / "images").mkdir(parents=True, exist_ok=True)
        (folder / "keyframes" / "cameras").mkdir(exist_ok=True)
        Image.new("RGB", SIZE).save(folder / "keyframes" / "images" / f"{number}.jpg")
        values = {f"t_{r}{c}": float(r == c) for r in range(3) for c in range(4)}
        values |= {"fx": 7, "fy": 7, "cx": 4, "cy": 3, "width": 8, "height": 6}
        (folder / "keyframes" / "cameras" / f"{number}.json").write_text(json.dumps(values))
    return folder / "keyframes" / "cameras" / "2.json"


def _record3d(folder: Path) -> Path:
    (folder / "rgb").mkdir(parents=True)
    for number in range(4):
        Image.new("RGB", SIZE).save(folder / "rgb" / f"{number}.jpg")
    poses = [[0, 0, 0, 1, number, 0, 0] for number in range(4)]
    content = {"w": 8, "h": 6, "K": [7, 0, 0, 0, 7, 0, 4, 3, 1], "poses": poses}
    (folder / "metadata").write_text(json.dumps(content))
    return folder / "metadata"


def _gaussians(folder: Path, suffix: str) -> Path:
    import torch

    from gags.gaussians import Gaussians

    folder.mkdir(parents=True, exist_ok=True)
    rng = torch.Generator().manual_seed(1)
    shapes = ((3,), (4,), (3,), (), (4, 3))
    values = [torch.randn(30, *shape, generator=rng) for shape in shapes]
    save_gaussians(Gaussians(*values), folder / f"a{suffix}")
    return folder / f"a{suffix}"


def _labels(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    square = [[1, 1], [5, 1], [5, 4], [1, 4]]
    things = [
        {"category": "cup", "segmentation": square, "bbox": [1, 1, 5, 4], "layer": 1.0},
        {"category": "__background__", "segmentation": [square, square], "layer": 2.0},
    ]
    info = {"name": "a.jpg", "width": 8, "height": 6}
    (folder / "a.json").write_text(json.dumps({"info": info, "objects": things}))
    return folder / "a.json"


def _capture(folder: Path) -> object:
    return load_capture(folder, require_points=False).fingerprint()


def _masks(folder: Path) -> object:
    return [
        f.mask(label, *SIZE).sum() for f in load_labels(folder) for label in f.labels if label.exact is None
    ]


def _splats(folder: Path) -> object:
    return load_gaussians(next(folder.glob("a.*")))


READERS = [
    *(
        Reader(f"{f}.txt", lambda d, f=f: _colmap_text(d, f), _capture)
        for f in ("cameras", "images", "points3D")
    ),
    *(
        Reader(f"{f}.bin", lambda d, f=f: _colmap_binary(d, f), _capture)
        for f in ("cameras", "images", "points3D")
    ),
    Reader("transforms.json", _transforms, _capture),
    Reader("transforms_train.json", lambda d: _transforms(d, "transforms_train.json"), _capture),
    Reader("points.ply", _points_ply, _capture),
    Reader("polycam", _polycam, _capture),
    Reader("record3d", _record3d, _capture),
    *(Reader(suffix, lambda d, s=suffix: _gaussians(d, s), _splats) for suffix in (".ply", ".spz", ".splat")),
    Reader(
        "inside .spz", lambda d: _gaussians(d, ".spz"), _splats, unpack=gzip.decompress, pack=gzip.compress
    ),
    Reader("labels", _labels, _masks),
]


def damaged(data: bytes, rng: random.Random) -> bytes:
    """A changed copy of a file, of `MOST_INPUT_BYTES` at most."""
    if rng.random() < 0.03:
        return rng.randbytes(rng.choice([0, 1, 40, 5000]))
    out = bytearray(data)
    for _ in range(rng.choice([1, 1, 2, 4, 12])):
        _CHANGES[rng.randrange(len(_CHANGES))](out, rng)
    return bytes(out[:MOST_INPUT_BYTES])


def _flip(out: bytearray, rng: random.Random) -> None:
    if out:
        out[rng.randrange(len(out))] = rng.randrange(256)


def _cut(out: bytearray, rng: random.Random) -> None:
    del out[rng.randrange(len(out) + 1) :]


def _drop(out: bytearray, rng: random.Random) -> None:
    start = rng.randrange(len(out) + 1)
    del out[start : start + rng.randrange(1, 40)]


def _double(out: bytearray, rng: random.Random) -> None:
    start = rng.randrange(len(out) + 1)
    part = bytes(out[start : start + rng.randrange(1, 400)])
    times = rng.choice([1, 1, 1, 50, MOST_INPUT_BYTES // max(1, len(part))])
    out[start:start] = part * min(times, MOST_INPUT_BYTES // max(1, len(part)))


def _number(out: bytearray, rng: random.Random) -> None:
    """A number of 4 or 8 bytes somewhere, most of all near the beginning, where counts are."""
    layout = rng.choice(["<I", "<Q", "<d", "<f"])
    value = rng.choice(_ODD_NUMBERS)
    packed = struct.pack(layout, float(value)) if layout in ("<d", "<f") else None
    packed = packed or struct.pack(layout, value % (1 << (32 if layout == "<I" else 64)))
    start = rng.choice([0, 4, 8, rng.randrange(len(out) + 1)])
    out[start : start + len(packed)] = packed


def _word(out: bytearray, rng: random.Random) -> None:
    """Replace a word of a text, mostly a number, by another one."""
    text = out.decode("latin-1")
    starts = [
        i for i, letter in enumerate(text) if letter.isdigit() and (i == 0 or not text[i - 1].isdigit())
    ]
    if not starts:
        return
    start = rng.choice(starts)
    end = start
    while end < len(text) and (text[end].isdigit() or text[end] in ".-+eE"):
        end += 1
    word = rng.choice([*_ODD_WORDS, *map(str, _ODD_NUMBERS)])
    out[start:end] = word.encode()


_CHANGES = (_flip, _cut, _drop, _double, _number, _word, _word)


@contextmanager
def limits() -> Iterator[None]:
    """Stop whatever takes too long, and refuse memory beyond the limit, of this process."""
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    before = resource.getrlimit(resource.RLIMIT_AS)

    def stop(*_: object) -> None:
        raise TimeoutError(f"more than {MOST_SECONDS} s")

    handler = signal.signal(signal.SIGALRM, stop)
    resource.setrlimit(resource.RLIMIT_AS, (used + MOST_BYTES, before[1]))
    signal.setitimer(signal.ITIMER_REAL, MOST_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        resource.setrlimit(resource.RLIMIT_AS, before)
        signal.signal(signal.SIGALRM, handler)


def outcome(reader: Reader, folder: Path) -> str:
    """What a reader makes of a folder: "read", "refused", or the traceback of what must not come out."""
    try:
        with limits():
            reader.read(folder)
    except GagsError as error:
        return (
            "refused" if len(str(error)) < 3000 and "\n" not in str(error) else f"no line: {str(error)[:300]}"
        )
    except Exception:
        return traceback.format_exc()
    return "read"


def trial(reader: Reader, seed: int, folder: Path) -> str:
    """The outcome of one damaged file, which stays in the folder."""
    prepare(reader, seed, folder)
    return outcome(reader, folder)


def prepare(reader: Reader, seed: int, folder: Path) -> None:
    """Write inputs with one damaged file into a folder."""
    file = reader.make(folder)
    file.write_bytes(reader.pack(damaged(reader.unpack(file.read_bytes()), random.Random(seed))))


def main() -> int:
    """Run for some minutes; the exit code says whether every file was read or refused."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    end, seed = time.monotonic() + 60 * arguments.minutes, arguments.seed
    counts: dict[str, Counter[str]] = {reader.name: Counter() for reader in READERS}
    slowest = (0.0, "nothing")
    while time.monotonic() < end:
        for reader in READERS:
            with tempfile.TemporaryDirectory() as root:
                prepare(reader, seed, Path(root) / "in")
                started = time.monotonic()
                found = outcome(reader, Path(root) / "in")
                slowest = max(slowest, (time.monotonic() - started, f"{reader.name}, seed {seed}"))
            short = found if found in ("read", "refused") else "wrong"
            counts[reader.name][short] += 1
            if short == "wrong":
                print(f"{reader.name}, seed {seed}:\n{found}", file=sys.stderr)
        seed += 1
    for name, count in counts.items():
        print(f"{name:22} " + ", ".join(f"{kind} {count[kind]}" for kind in ("read", "refused", "wrong")))
    print(f"slowest {slowest[0]:.1f} s ({slowest[1]}), seeds {arguments.seed} to {seed - 1}")
    return int(any(count["wrong"] for count in counts.values()))


if __name__ == "__main__":
    sys.exit(main())
