"""How much slower each stage gets beside other work: python -m benchmarks.neighbours CAPTURE SCENE [--busy 2]

CAPTURE is a folder of photos with poses, SCENE a scene finished from it. Each stage does a piece of its work
over and over in a process of its own:

    poses         keypoints of twelve photos, their matches, cameras and points
    reconstruct   300 training steps from the start
    describe      one photo: prompts answered, masks embedded
    distill       120 steps, without consensus
    things        of twelve photos
    query         four texts, each to its heat map in one view

alone, beside some busy processes of the lowest priority (nice 19), and beside as many of its own priority:
then its fair share is half of what it had, if there are as many busy processes as cores. Once as the package
settles threads (they sleep once they have waited some µs), and once as OpenMP has it by default (they spin
for ms): "before". Ways alternate; a figure is the median. Leave the machine alone meanwhile.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gags.capture.capture import View

STAGES = ("poses", "reconstruct", "describe", "distill", "things", "query")
SOME_PHOTOS = 12  # the first ones, of stages that take all photos of a scene
SETTLED = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")
WAITS = {"before": "ACTIVE", "now": ""}  # OMP_WAIT_POLICY; left to the package if empty
TEXTS = ("laptop", "coffee mug", "bottle", "table")


def work_of(stage: str, capture: Path, scene: Path) -> Callable[[], object]:
    """A piece of the work of a stage, ready to be done again and again."""
    from gags.capture.saved import read_saved_capture
    from gags.gaussians.ply import load_ply
    from gags.workspace import Workspace

    workspace = Workspace(scene)
    photos = read_saved_capture(workspace.capture)
    if stage == "poses":
        return _pose_finder(photos.train[:SOME_PHOTOS])
    if stage == "reconstruct":
        from gags.capture import load_capture
        from gags.reconstruct.settings import ReconstructSettings
        from gags.reconstruct.step import Training

        training = Training.of(load_capture(capture), ReconstructSettings(), "cpu")
        training.warm_up()

        def train() -> None:
            state = training.begin()
            for _ in range(300):
                training.step(state)

        return train
    if stage == "describe":
        from gags.embed import load_encoder
        from gags.embed.crops import embed_masks
        from gags.segment import load_segmenter
        from gags.segment.photo import segment_photo
        from gags.segment.prompts import PromptPlacer
        from gags.segment.settings import DescribeSettings

        segmenter, encoder, settings = load_segmenter("mobile-sam"), load_encoder("lite"), DescribeSettings()
        view = photos.train[0]
        placer = PromptPlacer(load_ply(workspace.splats), [v.camera for v in photos.train], settings)
        image, points = view.image(), placer.place(0, view.name)
        return lambda: embed_masks(image, segment_photo(image, points, segmenter, settings), encoder)
    if stage == "distill":
        from gags.distill.settings import DistillSettings
        from gags.distill.train import train_field
        from gags.embed.description import Descriptions

        gaussians, items = load_ply(workspace.splats), Descriptions(workspace, photos.train[:SOME_PHOTOS])
        return lambda: train_field(gaussians, items, DistillSettings(consensus=False, steps=120))
    if stage == "things":
        from gags.embed.description import Descriptions
        from gags.things.find import find_things

        gaussians, items = load_ply(workspace.splats), Descriptions(workspace, photos.train[:SOME_PHOTOS])
        return lambda: find_things(gaussians, items)
    import gags

    loaded = gags.Scene.load(scene)
    return lambda: [loaded.query(text, view=photos.train[0].name) for text in TEXTS]


def _pose_finder(views: "list[View]") -> Callable[[], object]:
    """Finds the poses of some photos, in a new folder each time."""
    from gags.poses import poses

    def find() -> None:
        with TemporaryDirectory() as folder:
            photos = Path(folder, "photos")
            photos.mkdir()
            for view in views:
                shutil.copy(view.path, photos)
            poses(photos, Path(folder, "out"))

    return find


def measure(stage: str, capture: Path, scene: Path, repeats: int) -> list[float]:
    """Seconds of each repeat, after one to warm up."""
    work = work_of(stage, capture, scene)
    work()
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return seconds


@contextmanager
def busy_processes(count: int, nice: int = 0) -> Iterator[None]:
    """Processes beside this one that do nothing but work, of its own priority or a lower one."""
    with ExitStack() as stack:
        for _ in range(count):
            spin = ["nice", "-n", str(nice), sys.executable, "-c", "while True: pass"]
            neighbour = subprocess.Popen(spin)
            stack.callback(neighbour.wait)
            stack.callback(neighbour.kill)
        yield


def in_own_process(given: argparse.Namespace, stage: str, busy: int, nice: int, wait: str) -> list[float]:
    """`measure` in a new process, with busy ones beside it from when it is ready."""
    environment = {k: v for k, v in os.environ.items() if k not in SETTLED}
    if wait:
        environment["OMP_WAIT_POLICY"] = wait
    command = [sys.executable, "-m", "benchmarks.neighbours", str(given.capture), str(given.scene)]
    command += ["--measure", stage, "--repeats", str(given.repeats)]
    with busy_processes(busy, nice):
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("capture", type=Path)
    parser.add_argument("scene", type=Path)
    parser.add_argument("--busy", type=int, default=os.cpu_count())
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--stages", nargs="+", default=STAGES)
    parser.add_argument("--ways", nargs="+", choices=WAITS, default=list(WAITS))
    parser.add_argument("--measure", choices=STAGES, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.measure:
        print(json.dumps(measure(given.measure, given.capture, given.scene, given.repeats)))
        return
    beside = {"alone": (0, 0), "nice 19": (given.busy, 19), "nice 0": (given.busy, 0)}
    waits = {way: WAITS[way] for way in given.ways}
    print(f"{given.busy} busy processes, {os.cpu_count()} cores\n")
    print("| stage | threads | alone, s | beside nice 19, s | times | beside nice 0, s | times |")
    print("|---|---|---|---|---|---|---|")
    for stage in given.stages:
        seconds: dict[tuple[str, str], list[float]] = {}
        for _ in range(given.rounds):
            for wait, policy in waits.items():
                for name, (busy, nice) in beside.items():
                    found = in_own_process(given, stage, busy, nice, policy)
                    seconds.setdefault((wait, name), []).extend(found)
        for wait in waits:
            alone, low, same = (statistics.median(seconds[wait, name]) for name in beside)
            print(
                f"| {stage} | {wait} | {alone:.2f} | {low:.2f} | {low / alone:.2f} | {same:.2f} | "
                f"{same / alone:.2f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
