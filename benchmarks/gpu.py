"""What a GPU should speed up, in one table; the same on the CPU, for comparison.

    python -m benchmarks.gpu [--capture FOLDER] [--steps 7000] [--toy]

Runs the bundled demo and, if one is given, a capture folder from photos to language field, each in a fresh
folder; asks the last one in views of two sizes; compares the rasteriser with its reference. Every time is
taken after the device has finished. `--toy` takes a small made-up capture with made-up models instead, for
a machine without weights. GAGS_DEVICE=cpu does it all on the CPU.
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch

from gags import pipeline, scene
from gags.capture import Camera
from gags.cli.console import ConsoleReporter
from gags.compare.measure import peak_memory_mb
from gags.demo import demo_capture
from gags.distill.settings import DistillSettings
from gags.evaluate.answerer import FieldAnswerer
from gags.evaluate.protocols import named_protocol
from gags.gaussians import Gaussians, blend_weights, render
from gags.models.choose import SMALL_ENCODER, SMALL_SEGMENTER
from gags.models.device import scene_device
from gags.pipeline import RunSettings
from gags.progress import Bar, StageClock
from gags.query import lerf_ovs
from gags.reconstruct.settings import ReconstructSettings
from gags.scene import Scene
from gags.segment.settings import DescribeSettings

SIZES = ((960, 540), (1440, 1080))
QUERIES = 50
WIDTHS = (1, 3, 16, 40, 600)  # of the features compared with the reference
TOP_K = (1, 16)


class Clock(StageClock):
    """Seconds of every stage, up to when the device has finished."""

    @contextmanager
    def stage(self, name: str, total: int, unit: str = "steps") -> Iterator[Bar]:
        """Open a stage; end it when all that was queued is done."""
        with super().stage(name, total, unit) as bar:
            yield bar
            finish()


def finish() -> None:
    """Wait for the GPU, if there is one."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def main() -> int:
    """Measure and print Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--capture", type=Path, help="folder of photos with poses")
    parser.add_argument("--steps", type=int, default=7000, help="training steps of the capture")
    parser.add_argument("--segmenter", default=SMALL_SEGMENTER)
    parser.add_argument("--encoder", default=SMALL_ENCODER)
    parser.add_argument("--toy", action="store_true", help="a made-up capture and made-up models")
    arguments = parser.parse_args()
    print(f"{_where()}\n", flush=True)
    print(compared(), flush=True)
    models = {"segmenter": arguments.segmenter, "encoder": arguments.encoder}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="gags-gpu-")))
        if arguments.toy:
            made = staged("toy", _toy(folder, stack), folder / "toy", _toy_settings(arguments.steps))
        else:
            made = staged("demo", demo_capture(), folder / "demo", RunSettings(**models))
            if arguments.capture:
                settings = RunSettings(ReconstructSettings(steps=arguments.steps), **models)
                made = staged(arguments.capture.name, arguments.capture, folder / "capture", settings)
        print(asked(made), flush=True)
    return 0


def _where() -> str:
    device = scene_device(ConsoleReporter())
    name = (
        torch.cuda.get_device_name() if device.type == "cuda" else f"CPU, {torch.get_num_threads()} threads"
    )
    return f"{name}; torch {torch.__version__}"


def staged(name: str, capture: Path, out: Path, settings: RunSettings) -> Scene:
    """Run a capture through everything and print the seconds of its stages."""
    clock = Clock(ConsoleReporter())
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    began = time.perf_counter()
    made = pipeline.run(capture, out, settings, progress=clock)
    finish()
    total = time.perf_counter() - began
    photos, count = len(made.capture.views), len(made.gaussians)
    print(f"| {name}: {photos} photos, {count:,} Gaussians | seconds |\n|---|---|")
    for stage, seconds in [*clock.seconds.items(), ("everything", total)]:
        print(f"| {stage} | {seconds:.2f} |")
    print(f"\nMost memory: {_memory()}\n", flush=True)
    return made


def _memory() -> str:
    process = f"{(peak_memory_mb() or 0) / 1e3:.2f} GB in the process"
    if not torch.cuda.is_available():
        return process
    return f"{torch.cuda.max_memory_allocated() / 1e9:.2f} GB on the GPU, {process}"


def asked(made: Scene) -> str:
    """Times of queries in views of `SIZES`, as a Markdown table."""
    queries = made.queries(["something red"])
    answerer = FieldAnswerer(made.gaussians, made.field)
    cut = named_protocol("lerf-ovs").cut
    lines = ["| one text, encoded | peak and mask, ms | queries a second | answer with its pictures, ms |"]
    lines.append("|---|---|---|---|")

    def point(camera: Camera) -> None:
        found = answerer.relevancy(camera, queries)
        lerf_ovs.peak(found.values[0])
        cut(found.values[0], found.known)

    view = made.capture.views[0]
    for width, height in SIZES:
        camera = view.camera.resized(width, height)
        pointing = milliseconds(lambda camera=camera: point(camera))
        sized = replace(view, camera=camera)
        whole = milliseconds(lambda sized=sized: made.query(queries, sized))
        lines.append(f"| {width}×{height} | {pointing:.2f} | {1000 / pointing:.0f} | {whole:.2f} |")
    return "\n".join(lines)


def milliseconds(job: Callable[[], object]) -> float:
    """Median time of a job, the device's part included, once warm."""
    times = []
    for turn in range(QUERIES + 3):
        finish()
        began = time.perf_counter()
        job()
        finish()
        times += [time.perf_counter() - began] * (turn >= 3)
    return 1000 * statistics.median(times)


def compared() -> str:
    """Largest differences between the device's rasteriser and the reference, as a Markdown table."""
    device = scene_device()
    lines = [f"| {device.type} beside the reference | largest difference |", "|---|---|"]
    gaussians, camera = _gaussians(400), _camera(150, 110)
    there = gaussians.to(device)
    for width in WIDTHS:
        colors = torch.rand(400, width, generator=torch.Generator().manual_seed(width))
        ours = render(there, camera, colors.to(device))
        true = render(gaussians, camera, colors, backend="reference")
        lines.append(f"| {width} channels | {_gap(ours.colors, true.colors):.1e} |")
    lines.append(f"| depth | {_gap(ours.depths, true.depths):.1e} |")
    lines.append(f"| alpha | {_gap(ours.alphas, true.alphas):.1e} |")
    pixels = torch.cartesian_prod(torch.arange(150), torch.arange(110))[::17]
    for top_k in TOP_K:
        ours = blend_weights(there, camera, pixels.to(device), top_k=top_k)
        true = blend_weights(gaussians, camera, pixels, top_k=top_k, backend="reference")
        lines.append(f"| {top_k} blending weights a pixel | {_gap(ours.weights, true.weights):.1e} |")
    return "\n".join(lines) + "\n"


def _gap(ours: torch.Tensor, true: torch.Tensor) -> float:
    return float((ours.cpu() - true).abs().max())


def _gaussians(count: int) -> Gaussians:
    rng = torch.Generator().manual_seed(0)
    return Gaussians(
        means=torch.randn(count, 3, generator=rng) * torch.tensor([1.0, 1, 1.5]) + torch.tensor([0, 0, 4.0]),
        log_scales=0.7 * torch.randn(count, 3, generator=rng) - 2.3,
        quats=torch.randn(count, 4, generator=rng),
        logit_opacities=torch.rand(count, generator=rng).logit(),
        sh=torch.zeros(count, 1, 3),
    )


def _camera(width: int, height: int) -> Camera:
    K = np.array([[120.0, 0, width / 2], [0, 120, height / 2], [0, 0, 1]])
    return Camera(np.eye(4), K, width, height)


def _toy(folder: Path, stack: ExitStack) -> Path:
    """The tests' capture, and their models in the place of real ones until the stack ends."""
    from tests.helpers.toy_capture import ColorEncoder, ColorSegmenter, write_capture

    for module in (pipeline, scene):
        stack.enter_context(patch.object(module, "load_encoder", lambda *_: ColorEncoder()))
    stack.enter_context(patch.object(pipeline, "load_segmenter", lambda *_: ColorSegmenter()))
    stack.enter_context(patch("gags.models.ensure", lambda *_: None))
    return write_capture(folder / "capture")


def _toy_settings(steps: int) -> RunSettings:
    masks = DescribeSettings(min_area=6, prompts_per_patch=1)
    models = {"segmenter": SMALL_SEGMENTER, "encoder": SMALL_ENCODER}
    return RunSettings(ReconstructSettings(steps=steps), masks, DistillSettings(steps=100), **models)


if __name__ == "__main__":
    sys.exit(main())
