"""Time and memory of every stage on large scenes: by Gaussians, by photos, and by pixels.

    python -m benchmarks.large SCENE --folder DIR [--quick] [--stages …] [--gaussians …] [--photos …]

SCENE is a finished scene with things, such as the demo's. Copies of it become large scenes (`large_scene.py`)
below DIR, where they stay for the next run. They have 30 photos; more are these under other names, which
are described once where that is not what is measured. Segmenter and encoder are stand-ins: what is measured
is all around the nets. Every measurement runs in a process of its own, the first of each stage twice, so that
kernels are compiled; with `--compiled`, once.

"peak" is the most that the process ever held (VmHWM, what `ru_maxrss` is without the parent's share), "grown"
is that less what it held when the stage began, all modules imported. "needed" is the most of it that the
system could not have dropped: without pages of files. Then each stage's growth is fitted: the slope of
log(grown) and of log(processor seconds) over log(Gaussians), log(photos) and log(pixels), others alike. A
slope of 0 does not grow, 1 is in proportion. Seconds of the clock mean little where other work runs beside.

Rows are kept in DIR/rows.jsonl; what is there is not measured again.
"""

import argparse
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, astuple, dataclass
from pathlib import Path
from typing import Any

import numpy as np

SIZES = ((800, 600), (1600, 1200))
GAUSSIANS, PHOTOS = (300_000, 1_000_000, 3_000_000), (30, 100, 300)
VIEW = (1440, 1080)  # px; the view that texts are asked in
TEXTS = 9  # of which the median time counts; every one is new
STAGES = ("adopt", "train", "describe", "distill", "things", "ask", "open", "text")
BY_PHOTOS = STAGES[:6]  # the others do not look at photos
# How far a scene must be made before a stage: 0 copied, 1 with Gaussians, 2 described, 3 with a field.
NEEDS: dict[str, int] = dict(zip(STAGES, (0, 0, 1, 2, 2, 3, 0, 0), strict=True))
LEAVES = {"describe": 2, "distill": 3}  # how far a stage itself makes it
ROWS = "rows.jsonl"
VARIED = {"gaussians": "Gaussians", "photos": "photos", "pixels": "pixels"}


@dataclass(frozen=True)
class Case:
    """What is measured: a stage on a large scene."""

    stage: str
    gaussians: int
    photos: int
    width: int
    height: int

    @property
    def pixels(self) -> int:
        """Of a photo."""
        return self.width * self.height

    @property
    def name(self) -> str:
        """Of the folder of the scene."""
        return f"{self.gaussians}_{self.width}x{self.height}"


@dataclass(frozen=True)
class Row:
    """What was measured; seconds of the clock and of the processor, all threads; memory in MB."""

    case: Case
    seconds: float
    processor: float
    before: float
    peak: float
    needed: float
    note: str = ""

    @property
    def grown(self) -> float:
        """What the stage added."""
        return self.peak - self.before


class Watch:
    """The most memory that this process held and could not have dropped, looked at every few milliseconds."""

    def __init__(self) -> None:
        self.needed = 0.0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> "Watch":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._ended.wait(0.005):
            self.needed = max(self.needed, held("RssAnon"))


def held(name: str) -> float:
    """A line of /proc/self/status, MB (Linux)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:")) * 1024 / 1e6


def run_stage(case: Case, made: Any) -> tuple[Callable[[], object], Callable[[], str]]:
    """What does the stage, and what says something of its result; all that it needs is imported here."""
    from benchmarks import large_stages

    return getattr(large_stages, case.stage)(made, case)


def measure(case: Case, folder: Path) -> Row:
    """One row, in this process."""
    from benchmarks.large_scene import Made

    work, note = run_stage(case, Made(folder / case.name))
    before = held("VmRSS")
    with Watch() as watch:
        started, spent = time.perf_counter(), time.process_time()
        done = work()
        seconds, spent = time.perf_counter() - started, time.process_time() - spent
    seconds = done if isinstance(done, float) else seconds
    return Row(case, seconds, spent, before, held("VmHWM"), watch.needed, note())


def measured(case: Case, small: Path, folder: Path, *, made: bool = False) -> Row | None:
    """One row, in a process of its own; None if that failed, which is told."""
    mode = "--make" if made else "--measure"
    command = [sys.executable, "-m", "benchmarks.large", str(small), "--folder", str(folder)]
    done = subprocess.run([*command, mode, json.dumps(asdict(case))], text=True, stdout=subprocess.PIPE)
    if done.returncode:
        print(
            f"{case.stage} of {case.name}, {case.photos} photos, failed ({done.returncode})",
            file=sys.stderr,
            flush=True,
        )
        return None
    if made:
        return None
    values = json.loads(done.stdout.splitlines()[-1])
    return Row(case, **{name: value for name, value in values.items() if name != "case"})


def read_rows(folder: Path) -> list[Row]:
    """What was measured before."""
    if not (folder / ROWS).exists():
        return []
    found = map(json.loads, (folder / ROWS).read_text().splitlines())
    return [Row(Case(**row.pop("case")), **row) for row in found]


def cases(given: argparse.Namespace) -> list[Case]:
    """Cases differ in one thing from the base: the middle of Gaussians, least photos, the largest size."""
    sizes = [tuple(map(int, size.split("x"))) for size in given.sizes]
    base = sorted(given.gaussians)[len(given.gaussians) // 2], min(given.photos), sizes[-1]
    wanted: list[tuple[int, int, tuple[int, ...]]] = []
    wanted += [(count, base[1], base[2]) for count in given.gaussians]
    wanted += [(base[0], photos, base[2]) for photos in given.photos]
    wanted += [(base[0], base[1], size) for size in sizes]
    found = []
    for count, photos, (width, height) in dict.fromkeys(wanted):
        for stage in given.stages:
            if stage in BY_PHOTOS or (photos == base[1] and (width, height) == base[2]):
                found.append(Case(stage, count, photos, width, height))
    return found


def print_rows(rows: Iterable[Row]) -> None:
    """A Markdown table."""
    columns = ["stage", "Gaussians", "photos", "size", "s", "processor s"]
    columns += ["before MB", "peak MB", "needed MB", "grown MB"]
    print("\n| " + " | ".join([*columns, ""]) + " |\n|" + "---|" * (len(columns) + 1))
    for row in rows:
        case = row.case
        cells = [case.stage, f"{case.gaussians:,}", case.photos, f"{case.width}×{case.height}"]
        cells += [f"{row.seconds:.3g}", f"{row.processor:.3g}"]
        cells += [f"{mb:.0f}" for mb in (row.before, row.peak, row.needed, row.grown)]
        print(f"| {' | '.join(map(str, cells))} | {row.note} |", flush=True)


def slope(sizes: list[int], values: list[float]) -> float:
    """Of the line through log(values) over log(sizes), by least squares."""
    return float(np.polyfit(np.log(sizes), np.log(np.maximum(values, 1e-3)), 1)[0])


def fitted(rows: list[Row], stage: str, varied: str) -> list[tuple[int, Row]]:
    """Rows of a stage that differ in one thing alone, by its size; the largest such set."""
    sets: dict[Any, dict[int, Row]] = {}
    for row in rows:
        if row.case.stage == stage:
            others = {"gaussians": row.case.gaussians, "photos": row.case.photos, "pixels": row.case.pixels}
            size = others.pop(varied)
            sets.setdefault(tuple(others.items()), {})[size] = row
    return sorted(max(sets.values(), key=len, default={}).items())


def print_growth(rows: list[Row], expected: Iterable[int]) -> None:
    """Slopes of every stage, what a photo more takes, and what larger captures would take."""
    columns = ["stage", "by", "processor s: slope", "grown MB: slope"]
    columns += ["grown MB a photo", "needed MB a photo", "expected"]
    print("\n| " + " | ".join(columns) + " |\n|" + "---|" * len(columns))
    for stage in STAGES:
        for varied, word in VARIED.items():
            found = fitted(rows, stage, varied)
            if len(found) < 2:
                continue
            sizes = [size for size, _ in found]
            cells = [stage, word, f"{slope(sizes, [row.processor for _, row in found]):.2f}"]
            cells += [f"{slope(sizes, [row.grown for _, row in found]):.2f}"]
            cells += more_photos(found, expected) if varied == "photos" else ["", "", ""]
            print(f"| {' | '.join(cells)} |", flush=True)


def more_photos(found: list[tuple[int, Row]], expected: Iterable[int]) -> list[str]:
    """MB that a photo more takes, and those that it needs, from the two largest captures; and what numbers
    not measured would take."""
    (less, row), (more, last) = found[-2:]
    per_photo = (last.grown - row.grown) / (more - less)
    needed = (last.needed - row.needed) / (more - less)
    power = slope([less, more], [row.processor, last.processor])
    told = [
        f"{count} photos: {last.processor * (count / more) ** power:.0f} s, "
        f"{last.peak + max(per_photo, 0) * (count - more):.0f} MB"
        for count in expected
        if count > more
    ]
    return [f"{per_photo:.2f}", f"{needed:.2f}", "; ".join(told)]


def processor() -> str:
    """What the processor says that it is, and how many of it there are (Linux)."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return f"{len(names)} × {names[0]}" if names else "an unknown processor"


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("scene", type=Path)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--quick", action="store_true", help="small sizes, a few minutes")
    parser.add_argument("--compiled", action="store_true", help="kernels are compiled: measure once")
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=STAGES)
    parser.add_argument("--gaussians", type=int, nargs="+", default=GAUSSIANS)
    parser.add_argument("--photos", type=int, nargs="+", default=PHOTOS)
    parser.add_argument("--sizes", nargs="+", default=[f"{width}x{height}" for width, height in SIZES])
    parser.add_argument("--expect", type=int, nargs="+", default=[1000], help="photos to extrapolate to")
    parser.add_argument("--make", help=argparse.SUPPRESS)  # a case, in this process
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.quick:
        given.gaussians, given.photos, given.sizes = (
            [50_000, 100_000, 200_000],
            [6, 12, 24],
            ["320x240", "640x480"],
        )
    return given


def main() -> None:
    """Print the tables."""
    given = arguments()
    if given.make:
        from benchmarks.large_scene import make
        from benchmarks.large_stages import prepare

        case = Case(**json.loads(given.make))
        made = make(given.scene, given.folder / case.name, case.gaussians, (case.width, case.height))
        prepare(made, case)
        return
    if given.measure:
        row = measure(Case(**json.loads(given.measure)), given.folder)
        print(json.dumps(asdict(row)))
        return
    rows = read_rows(given.folder)
    compiled: set[str] = set(STAGES) if given.compiled else {row.case.stage for row in rows}
    prepared: dict[tuple[str, int], int] = {}  # how far every scene is, by name and photos
    for case in cases(given):
        if any(row.case == case for row in rows):
            continue
        key = case.name, case.photos
        if prepared.get(key, -1) < NEEDS[case.stage]:
            measured(case, given.scene, given.folder, made=True)
            prepared[key] = NEEDS[case.stage]
        row = measured(case, given.scene, given.folder)
        if case.stage not in compiled:  # the first time, kernels were compiled; now they are on disk
            compiled.add(case.stage)
            row = measured(case, given.scene, given.folder)
        if row is not None:
            prepared[key] = max(prepared[key], LEAVES.get(case.stage, 0))
            rows.append(row)
            with open(given.folder / ROWS, "a") as file:
                file.write(json.dumps(asdict(row)) + "\n")
            print(
                f"{case.stage} {case.name} {case.photos}: {row.seconds:.3g} s, {row.grown:.0f} MB",
                file=sys.stderr,
                flush=True,
            )
    rows.sort(key=lambda row: (STAGES.index(row.case.stage), *astuple(row.case)[1:]))
    print(processor())
    print_rows(rows)
    print_growth(rows, given.expect)


if __name__ == "__main__":
    main()
