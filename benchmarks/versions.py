"""Two versions of the package side by side, stage by stage, alone and beside busy processes.

    python -m benchmarks.versions CAPTURE … --before CHECKOUT [--photos 6] [--rounds 2] [--busy CORES]

CAPTURE is a folder of photos with poses from COLMAP; a few of its photos, spread evenly, become a capture
of their own. CHECKOUT is an earlier version, 0.1.0 or later. Both versions reconstruct, describe and distil
it by the command line, with few steps, one version after the other, alone and then with some busy processes
of the same priority beside them: then the fair share of a stage is half of what it had, if there are as many
of these as cores. Seconds are those that a stage says itself, without what comes before its first step;
figures are medians. A command that takes longer than `--limit` is stopped, and its figure is "over" that.
Leave the machine alone meanwhile. To hold both versions to AVX2:

    ATEN_CPU_CAPABILITY=avx2 ONEDNN_MAX_CPU_ISA=AVX2 MKL_ENABLE_INSTRUCTIONS=AVX2 NUMBA_CPU_NAME=haswell \\
        NUMBA_CPU_FEATURES= python -m benchmarks.versions …

(0.1.0 has to be told not to take bfloat16 then: `fast_dtype` in `segment/sam_decoder.py`.)
"""

import argparse
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pycolmap

from benchmarks.neighbours import busy_processes

STAGES = {
    "reconstruct": "Training Gaussians",
    "describe": "Segmenting and embedding",
    "distill": "Distilling language",
}
STEPS = {"reconstruct": 400, "distill": 150}
PACKAGE = Path(__file__).parents[1] / "src"
RUN = "import sys; from gags.cli import main; sys.exit(main())"
TOOK = re.compile(r"^(?P<stage>[\w ]+): .* in (?:(?P<minutes>\d+) min )?(?P<seconds>[\d.]+) s$")


def few_photos(capture: Path, count: int, folder: Path) -> Path:
    """A capture of some photos of another, spread evenly; those held out are left out."""
    model = pycolmap.Reconstruction(str(capture / "sparse" / "0"))
    held_out = capture / "test.txt"
    left = set(held_out.read_text().split()) if held_out.exists() else set()
    names = sorted(image.name for image in model.images.values() if image.name not in left)
    kept = {names[row] for row in np.linspace(0, len(names) - 1, count).round().astype(int)}
    (folder / "sparse" / "0").mkdir(parents=True)
    (folder / "images").mkdir()
    for image in list(model.images.values()):
        if image.name not in kept:
            model.deregister_frame(image.frame_id)
    model.write_text(str(folder / "sparse" / "0"))
    for name in kept:
        shutil.copy(capture / "images" / name, folder / "images")
    return folder


def command_of(stage: str, capture: Path, scene: Path, *, first_names: bool) -> list[str]:
    """The command of a stage; `first_names` for those of 0.1.0."""
    if stage == "reconstruct":
        steps = "--fit.steps" if first_names else "--reconstruct.steps"
        return ["reconstruct", str(capture), "--out", str(scene), steps, str(STEPS[stage])]
    if stage == "describe":
        return ["describe", str(scene), "--segmenter", "mobile-sam", "--encoder", "lite"]
    return ["distill", str(scene), "--distill.steps", str(STEPS[stage])]


def seconds_of(stage: str, source: Path, arguments: list[str], limit: float) -> float:
    """Seconds that a stage says it took; infinity if it was stopped at the limit."""
    environment = os.environ | {"PYTHONPATH": str(source)}
    command = [sys.executable, "-c", RUN, *arguments]
    try:
        done = subprocess.run(
            command,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=limit,
            text=True,
        )
    except subprocess.TimeoutExpired:
        return float("inf")
    found = [TOOK.match(line.strip()) for line in done.stdout.replace("\r", "\n").splitlines()]
    for match in found:
        if match and match["stage"] == STAGES[stage]:
            return 60 * int(match["minutes"] or 0) + float(match["seconds"])
    raise SystemExit(f"{stage} by {source} failed:\n{done.stdout}")


def run(
    source: Path, capture: Path, scene: Path, made: Path | None, busy: int, limit: float
) -> dict[str, float]:
    """Seconds of every stage of one version, with busy processes beside each command.

    Args:
        source: Folder with the version's package.
        capture: The photos.
        scene: Where the scene is made.
        made: A finished scene of this version, from which a stage that was stopped goes on.
        busy: How many busy processes.
        limit: Longest time of a command, s.
    """
    seconds = {}
    for stage in STAGES:
        arguments = command_of(stage, capture, scene, first_names=(source / "gags" / "splats").is_dir())
        with busy_processes(busy):
            seconds[stage] = seconds_of(stage, source, arguments, limit)
        if seconds[stage] == float("inf") and made is not None:
            shutil.rmtree(scene)
            shutil.copytree(made, scene)
            _forget(scene, list(STAGES)[list(STAGES).index(stage) + 1 :])
    return seconds


def _forget(scene: Path, stages: list[str]) -> None:
    """Take away what some stages made, so that they are done again."""
    if "describe" in stages:
        shutil.rmtree(scene / "features", ignore_errors=True)
    if "distill" in stages:
        (scene / "field.safetensors").unlink(missing_ok=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("captures", type=Path, nargs="+")
    parser.add_argument("--before", type=Path, required=True, help="checkout of an earlier version")
    parser.add_argument("--photos", type=int, default=6)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--busy", type=int, default=os.cpu_count())
    parser.add_argument("--limit", type=float, default=240.0, help="s of a command")
    given = parser.parse_args()
    versions = {"before": given.before / "src", "now": PACKAGE}
    print(f"{given.busy} busy processes, {os.cpu_count()} cores\n")
    columns = ("capture", "stage", "before: alone, s", "beside, s", "now: alone, s", "beside, s")
    print("| " + " | ".join((*columns, "times faster: alone", "beside")) + " |")
    print("|---|---|---|---|---|---|---|---|", flush=True)
    for capture in given.captures:
        seconds: dict[tuple[str, int, str], list[float]] = {}
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary)
            photos = few_photos(capture, given.photos, folder / "capture")
            made = {way: folder / f"made_{way}" for way in versions}
            for way, source in versions.items():  # compiles, and leaves a finished scene
                run(source, photos, made[way], None, 0, 10 * given.limit)
            for number in range(given.rounds):
                for busy in (0, given.busy):
                    for way, source in versions.items():
                        scene = folder / f"{way}_{number}_{busy}"
                        for stage, took in run(source, photos, scene, made[way], busy, given.limit).items():
                            seconds.setdefault((way, busy, stage), []).append(took)
                            print(way, busy, stage, took, file=sys.stderr, flush=True)
        for stage in STAGES:
            cells = [
                statistics.median(seconds[way, busy, stage]) for way in versions for busy in (0, given.busy)
            ]
            shown = [f"{c:.1f}" if c < float("inf") else f"over {given.limit:.0f}" for c in cells]
            limited = [min(c, given.limit) for c in cells]
            ratios = [
                ("over " if cells[n] == float("inf") else "") + f"{limited[n] / limited[n + 2]:.1f}"
                for n in range(2)
            ]
            print(f"| {capture.name} | {stage} | {' | '.join([*shown, *ratios])} |", flush=True)


if __name__ == "__main__":
    main()
