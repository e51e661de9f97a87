"""Show that the memory of `describe` does not grow with the number of photos.

    python benchmarks/describe_memory.py CAPTURE [--counts 70 140] [--max-size 480]

Every count runs in a process of its own, with that many photos of the capture (each repeated as often as
needed, under different names), Gaussians at the sparse points without training, and stand-ins for the models
that take almost no time and memory: discs around the prompts at the size of SAM's logits, and mean colours.
The rest is the pipeline: depths, prompts, masks, label maps, crops, files.
"""

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np

from gags import pipeline
from gags.capture import Capture, load_capture, save_capture
from gags.embed.encoder import CropRule
from gags.gaussians.ply import save_ply
from gags.progress import Bar, Reporter
from gags.reconstruct.start import gaussians_at_points, scene_extent
from gags.segment.segmenter import PromptedMasks
from gags.segment.settings import DescribeSettings
from gags.workspace import Workspace

GRID = 256  # cells of SAM's mask logits along the longer side
RADII = (6.0, 18.0, 50.0)  # cells; of the discs of a prompt, one a level


class Discs:
    """A segmenter that gives three discs around every prompt."""

    name = "discs"

    def encode(self, image: np.ndarray) -> tuple[int, int]:
        return image.shape[1], image.shape[0]

    def predict(self, encoded: tuple[int, int], points: np.ndarray, *, min_iou: float = 0.0) -> PromptedMasks:
        width, height = (side * GRID / max(encoded) for side in encoded)
        y, x = np.mgrid[: int(np.ceil(height)), : int(np.ceil(width))] + 0.5
        centres = points * GRID / max(encoded)
        distances = np.hypot(x - centres[:, 0, None, None], y - centres[:, 1, None, None])
        logits = np.stack([20 * (radius - distances) for radius in RADII], 1).astype(np.float32)
        count = len(points)
        return PromptedMasks(
            logits=logits.reshape(-1, *x.shape),
            ious=np.full(3 * count, 0.95, np.float32),
            levels=np.tile(np.arange(3, dtype=np.int8), count),
            prompts=np.repeat(np.arange(count, dtype=np.int32), 3),
            extent=(width, height),
        )


class MeanColor:
    """An encoder that returns the mean colour of a crop, at CLIP's sizes."""

    name, dim, image_size = "mean color", 512, 224
    crops = (CropRule(),)
    temperature, negatives, same_meaning = 10.0, ("object",), 2.0

    def encode_images(self, crops: np.ndarray) -> np.ndarray:
        vectors = np.ones((len(crops), self.dim), np.float32)
        vectors[:, :3] += crops.mean((1, 2, 3))
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    def encode_texts(self, texts: Sequence[str]) -> np.ndarray:
        return np.full((len(texts), self.dim), self.dim**-0.5, np.float32)


class Watch(Reporter):
    """Records how much memory the process holds after every photo of the last stage."""

    def __init__(self) -> None:
        self.megabytes: list[float] = []

    @contextmanager
    def stage(self, name: str, total: int, unit: str = "steps") -> Iterator[Bar]:
        self.megabytes.clear()
        watch = self

        class Recording(Bar):
            def advance(self, steps: int = 1, note: str = "") -> None:
                super().advance(steps, note)
                watch.megabytes.append(held())

        yield Recording(total)


def held() -> float:
    """Memory that the process holds now, MB (Linux)."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1e6


def peak() -> float:
    """The most that the process ever held, MB (Linux: `ru_maxrss` is in KiB)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


def repeated(capture: Capture, count: int) -> Capture:
    """A capture of `count` photos to be described; those of `capture` are repeated as often as needed."""
    views = [
        replace(capture.views[number % len(capture)], name=f"{number:05d}.jpg", split="train")
        for number in range(count)
    ]
    options = {"format": capture.format, "options": capture.options}
    return Capture(capture.root, views, capture.points, capture.points_rgb, **options)


def measure(path: Path, count: int, max_size: int) -> str:
    """One row of the table."""
    capture = repeated(load_capture(path, max_size=max_size), count)
    extent = scene_extent(capture)
    gaussians = gaussians_at_points(capture.points, capture.points_rgb, opacity=0.9, extent=extent)
    settings = DescribeSettings(prompts_per_patch=1, seed=0)
    with tempfile.TemporaryDirectory() as folder:
        workspace = Workspace.create(Path(folder) / "scene")
        save_capture(capture, workspace.capture)
        save_ply(gaussians, workspace.splats)
        workspace.finish("reconstruct", "made up", 0.0)
        pipeline.choose_models = lambda workspace, *names, progress: ("discs", "mean color")
        pipeline.load_segmenter = lambda name, progress=None: Discs()
        pipeline.load_encoder = lambda name, progress: MeanColor()
        before, started, watch = held(), time.monotonic(), Watch()
        pipeline.describe(workspace, settings, progress=watch)
        seconds = time.monotonic() - started
        masks = sum(workspace.read_metrics()["masks"].values())
    cells = [count, masks, f"{before:.0f}"]
    cells += [f"{watch.megabytes[row]:.0f}" for row in (len(watch.megabytes) // 10, -1)]
    return f"| {' | '.join([*map(str, cells), f'{peak():.0f}', f'{seconds:.0f}'])} |"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("capture", type=Path)
    parser.add_argument("--counts", type=int, nargs="+", default=[70, 140])
    parser.add_argument("--max-size", type=int, default=480)
    parser.add_argument("--row", type=int, help=argparse.SUPPRESS)  # one count, in this process
    given = parser.parse_args()
    if given.row:
        print(measure(given.capture, given.row, given.max_size))
        return
    columns = ["photos", "masks", "MB before", "MB after a tenth", "MB at the end", "peak MB", "s"]
    print("| " + " | ".join(columns) + " |\n|" + "---|" * len(columns), flush=True)
    for count in given.counts:
        command = [sys.executable, __file__, str(given.capture), "--row", str(count)]
        row = subprocess.run([*command, "--max-size", str(given.max_size)], check=True, text=True, stdout=-1)
        print(row.stdout.strip(), flush=True)


if __name__ == "__main__":
    main()
