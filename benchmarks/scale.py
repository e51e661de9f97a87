"""Six small scenes on a local cluster of two workers, with everything killed that can be.

    python -m benchmarks.scale DESK PANTRY --out DIR [--photos 6] [--steps 100] [--only RUN …]

Two captures each are cut out of DESK, PANTRY and the bundled demo. They become scenes

    alone     one after the other in one process with one thread
    cluster   on a local Ray cluster of two workers of one core each
    killed    the same, and in each stage the worker that is at it is killed (-9), each time at another scene
    node      on a cluster of two nodes; one of them is stopped in the middle
    driver    on a local cluster; the driver is killed (-9) in the middle and started again

A finished piece is a stage with its record in config.toml, or the description of a photo. After a kill, the
pieces that were there are compared with the end: "redone" counts those that were written once more. All files
of every run are compared byte by byte with those of the first.
"""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import tomllib
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import psutil

import gags
from gags.demo import demo_capture
from gags.progress import Bar, Reporter

FILES = ("capture.json", "splats.ply", "field.safetensors", "things.safetensors")
KILLED_AT = {
    "reconstruct": "Training Gaussians",
    "describe": "Segmenting and embedding",
    "distill": "Distilling language",
    "things": "Finding things",
}
RUNS = ("alone", "cluster", "killed", "node", "driver")
Pieces = dict[str, object]


def write_part(capture: Path, folder: Path, first: int, photos: int) -> Path:
    """A capture of a few neighbouring photos of a large one, with all its points."""
    if (folder / "transforms.json").exists():
        return folder
    whole = gags.load_capture(capture, test_every=0)
    (folder / "images").mkdir(parents=True, exist_ok=True)
    frames = []
    for view in whole.views[first : first + photos]:
        shutil.copy(view.path, folder / "images" / view.path.name)
        camera = view.camera
        pose = np.linalg.inv(camera.viewmat) @ np.diag([1.0, -1, -1, 1])  # OpenCV → OpenGL axes
        K = {"fl_x": camera.K[0, 0], "fl_y": camera.K[1, 1], "cx": camera.K[0, 2], "cy": camera.K[1, 2]}
        frame = {"file_path": f"images/{view.path.name}", "w": camera.width, "h": camera.height}
        frames.append(frame | K | {"transform_matrix": pose.tolist()})
    names = ["float x", "float y", "float z", "uchar red", "uchar green", "uchar blue"]
    header = ["ply", "format ascii 1.0", f"element vertex {len(whole.points)}"]
    header += [f"property {name}" for name in names] + ["end_header"]
    rows = [
        f"{x} {y} {z} {r} {g} {b}"
        for (x, y, z), (r, g, b) in zip(whole.points, whole.points_rgb, strict=True)
    ]
    (folder / "points.ply").write_text("\n".join(header + rows) + "\n")
    transforms = {"ply_file_path": "points.ply", "frames": frames}
    (folder / "transforms.json").write_text(json.dumps(transforms))
    return folder


def settings_of(steps: int) -> gags.RunSettings:
    """Few steps, few prompts, the two small models."""
    return gags.RunSettings(
        gags.ReconstructSettings(steps=steps),
        {"prompts_per_patch": 1},
        {"steps": steps},
        segmenter="mobile-sam",
        encoder="lite",
        preset="lite",
    )


def options_of(steps: int) -> list[str]:
    """The same on the command line."""
    return [
        "--reconstruct.steps", str(steps), "--distill.steps", str(steps), "--describe.prompts-per-patch", "1",
        "--segmenter", "mobile-sam", "--encoder", "lite", "--preset", "lite", "--max-size", "320",
    ]  # fmt: skip


def pieces(scene: Path) -> Pieces:
    """What is finished of a scene: when each stage was, and when each photo's description was written."""
    found: Pieces = {path.name: path.stat().st_mtime_ns for path in (scene / "features").glob("[!.]*")}
    if (scene / "config.toml").exists():
        stages = tomllib.loads((scene / "config.toml").read_text()).get("stages", {})
        found |= {stage: (record["finished"], record["seconds"]) for stage, record in stages.items()}
    return found


def contents(out: Path, names: list[str]) -> dict[str, bytes]:
    """Bytes of all that the scenes consist of."""
    paths = [path for name in names for path in (out / name / "features").glob("[!.]*")]
    paths += [out / name / file for name in names for file in FILES]
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in paths if path.exists()}


@dataclass
class Blow:
    """Something that was killed, and what was finished of the scenes then."""

    what: str
    finished: dict[Path, Pieces]

    def redone(self) -> int:
        """How many of the finished pieces are no longer those of then."""
        now = {scene: pieces(scene) for scene in self.finished}
        return sum(now[scene].get(k) != v for scene, then in self.finished.items() for k, v in then.items())

    def row(self) -> str:
        """A row of the table."""
        count = sum(map(len, self.finished.values()))
        return f"| {self.what} | {count} | {self.redone()} |"


@dataclass
class Killer(Reporter):
    """Kills the worker that is at a stage, once a stage, each time at another scene.

    A worker holds the lock of its scene open, so the scene tells which process it is.
    """

    out: Path
    blows: list[Blow] = field(default_factory=list)
    tried: set[str] = field(default_factory=set)
    scenes: set[str] = field(default_factory=set)

    @contextmanager
    def stage(self, name: str, total: int, unit: str = "steps"):
        """Kill soon after a stage that is still to be killed has begun."""
        scene, _, title = name.partition(": ")
        for stage, begins in KILLED_AT.items():
            if title == begins and stage not in self.tried and scene not in self.scenes:
                self.tried.add(stage)
                self.scenes.add(scene)
                threading.Thread(target=self._kill, args=(stage, scene), daemon=True).start()
        yield Bar(total)

    def _kill(self, stage: str, scene: str) -> None:
        path = self.out / scene
        lock, before = str(path / ".run" / "work.lock"), len(pieces(path))
        until = time.monotonic() + 60
        while stage == "describe" and len(pieces(path)) == before and time.monotonic() < until:
            time.sleep(0.05)  # until the first photo is done
        for process in psutil.Process().children(recursive=True):
            try:
                if any(file.path == lock for file in process.open_files()):
                    process.send_signal(signal.SIGKILL)
                    self.blows.append(Blow(f"worker at {stage} of {scene}", {path: pieces(path)}))
                    return
            except psutil.Error:
                continue
        self.tried.discard(stage)  # too late: try at the next scene
        self.scenes.discard(scene)


class Bench:
    """The runs of the benchmark."""

    def __init__(self, captures: list[Path], out: Path, steps: int) -> None:
        self.captures, self.out, self.steps = captures, out, steps
        self.names = [capture.name for capture in captures]
        self.expected: dict[str, bytes] = {}

    def command(self, run: str, *options: str) -> list[str]:
        """`gags run-many` for a run."""
        many = [sys.executable, "-m", "gags.cli", "run-many", *map(str, self.captures)]
        return [*many, "--out", str(self.out / run), *options_of(self.steps), *options]

    def many(self, run: str, address: str, progress: Reporter | None = None) -> list[gags.SceneResult]:
        """All scenes, from this process."""
        return gags.run_many(
            self.captures,
            self.out / run,
            settings_of(self.steps),
            photos=gags.CaptureSettings(max_size=320),
            ray=address,
            cpus_per_scene=1,
            progress=progress or Reporter(),
        )

    def alone(self) -> list[Blow]:
        """One after the other."""
        subprocess.run(
            self.command("alone"),
            check=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            stderr=subprocess.DEVNULL,
        )
        return []

    def cluster(self) -> list[Blow]:
        """On a local cluster."""
        command = self.command("cluster", "--ray", "local", "--cpus-per-scene", "1")
        subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
        return []

    def killed(self) -> list[Blow]:
        """A worker is killed in each stage."""
        killer = Killer(self.out / "killed")
        results = self.many("killed", "local", killer)
        print("workers lost:", {result.name: result.lost for result in results if result.lost})
        return killer.blows

    def node(self) -> list[Blow]:
        """One of two nodes is stopped when two scenes have their Gaussians."""
        import ray
        from ray.cluster_utils import Cluster

        os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
        nodes = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
        ray.init(nodes.address, log_to_driver=False, logging_level="error")  # at the head, which stays
        second, blows = nodes.add_node(num_cpus=1), []

        def stop() -> None:
            self._wait_for_gaussians("node", 2)
            nodes.remove_node(second)
            blows.append(self._blow("node", "one of two nodes"))

        stopping = threading.Thread(target=stop)
        stopping.start()
        results = self.many("node", nodes.address)
        stopping.join()
        print("workers lost:", {result.name: result.lost for result in results if result.lost})
        ray.shutdown()
        nodes.shutdown()
        return blows

    def driver(self) -> list[Blow]:
        """The driver is killed when three scenes have their Gaussians, and started again."""
        command = self.command("driver", "--ray", "local", "--cpus-per-scene", "1")
        first = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        self._wait_for_gaussians("driver", 3)
        first.send_signal(signal.SIGKILL)
        blow = self._blow("driver", "the driver")
        first.wait()
        subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
        return [blow]

    def _wait_for_gaussians(self, run: str, scenes: int) -> None:
        while len(list((self.out / run).glob("*/splats.ply"))) < scenes:
            time.sleep(0.1)

    def _blow(self, run: str, what: str) -> Blow:
        scenes = [self.out / run / name for name in self.names]
        return Blow(what, {scene: pieces(scene) for scene in scenes})

    def run(self, run: str) -> str:
        """One run: its seconds, which files differ from the first run's, and what was redone."""
        shutil.rmtree(self.out / run, ignore_errors=True)
        started = time.monotonic()
        blows = getattr(self, run)()
        seconds = time.monotonic() - started
        found = contents(self.out / run, self.names)
        self.expected = self.expected or found
        differ = sorted(
            k for k in self.expected.keys() | found.keys() if self.expected.get(k) != found.get(k)
        )
        files = f"{len(found)} files, " + (f"differ: {', '.join(differ)}" if differ else "same bytes")
        print(f"{run}: {seconds:.0f} s, {files}, load {os.getloadavg()[0]:.1f}", flush=True)
        for blow in blows:
            print(blow.row(), flush=True)
        return run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("desk", type=Path)
    parser.add_argument("pantry", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--photos", type=int, default=6)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--only", nargs="+", choices=RUNS, default=RUNS)
    given = parser.parse_args()
    os.environ["RAY_worker_niceness"] = "0"  # noqa: SIM112 - 15 by default: no fair race
    sources = {"desk": given.desk, "pantry": given.pantry, "demo": demo_capture()}
    captures = [
        write_part(source, given.out.absolute() / "captures" / f"{name}_{part}", first, given.photos)
        for name, source in sources.items()
        for part, first in (("a", 0), ("b", 20))
    ]
    bench = Bench(captures, given.out.absolute(), given.steps)
    if (bench.out / "alone").is_dir() and "alone" not in given.only:
        bench.expected = contents(bench.out / "alone", bench.names)
    print("| killed | finished pieces then | redone |\n|---|---|---|")
    for run in given.only:
        bench.run(run)


if __name__ == "__main__":
    main()
