"""Measure whether the mixed schedule of the preset `paper` ends at the loss of one-photo steps.

    python benchmarks/schedules.py SCENE [--photo-steps 30000] [--more-steps 0] [--judged 6]

Runs on the masks of a finished scene, all with the preset's decoder, loss and weights λ: the preset as it is;
steps on one photo each at the released program's rates; and, if wanted, such steps from where the preset
ended, under which the loss would go on falling if it had not arrived. The table has the terms of Eq. 7, each
unweighted, and their sum with the λ of the second half, on all pixels of every sixth photo at half of its
size: most of them are learnt from in neither schedule. Nothing is written.
"""

import argparse
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from gags.distill.decoder import Decoder
from gags.distill.field import LanguageField
from gags.distill.objective import Terms
from gags.distill.optimize import Schedule, adam, optimize
from gags.distill.presets import PRESETS
from gags.distill.settings import DistillSettings
from gags.distill.train import Training, begin
from gags.embed.description import Descriptions
from gags.gaussians import Gaussians
from gags.progress import SILENT
from gags.scene import Scene

PAPER, RELEASED = PRESETS["paper"].distill, PRESETS["released"].distill
MARKS = (1000, 2000, 4000, 6000, 8000, 10_000, 15_000, 20_000, 25_000)


class Judge:
    """Whole photos that all figures are of.

    Args:
        gaussians: The scene.
        items: Cameras and masks of its photos.
        every: Every how manieth of them counts.
    """

    def __init__(self, gaussians: Gaussians, items: Descriptions, every: int) -> None:
        some = [items[row] for row in range(0, len(items), every)]
        self.schedule = begin(gaussians, some, replace(photo_settings(1), step_pixels=0)).schedule
        self.photos = len(some)

    @torch.no_grad()
    def row(self, title: str, steps: int, seconds: float, features: Tensor, decoder: Decoder) -> None:
        """Print a row of the table: L_r, L_e, L_c and L of a field, means over the photos."""
        found = []
        for number in range(self.photos):  # an epoch: every photo once
            terms = self.schedule.terms(features, decoder, number)
            assert terms.entropy is not None
            total = terms.total(PAPER, PAPER.steps)  # with the λ of the second half
            found.append([float(t) for t in (terms.distillation, terms.entropy, terms.consistency, total)])
        cells = " | ".join(f"{value:.4f}" for value in np.mean(found, axis=0))
        print(f"| {title} | {steps} | {seconds:.0f} | {cells} |", flush=True)


def photo_settings(steps: int) -> DistillSettings:
    """The preset `paper`, but for one-photo steps at the released program's rates."""
    return replace(
        PAPER,
        schedule="photo",
        photo_scale=RELEASED.photo_scale,
        feature_rate=RELEASED.feature_rate,
        decoder_rate=RELEASED.decoder_rate,
        rate_decay=RELEASED.rate_decay,
        steps=steps,
    )


class Recorder:
    """A schedule that prints a row of the table before some of its steps.

    Args:
        title: First cell of the rows.
        schedule: The schedule.
        judge: Who judges.
    """

    def __init__(self, title: str, schedule: Schedule, judge: Judge) -> None:
        self.title, self.schedule, self.judge = title, schedule, judge
        self.began = time.process_time()

    def state(self) -> dict[str, Tensor]:
        """Nothing is resumed."""
        return {}

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Nothing is resumed."""

    def terms(self, features: Tensor, decoder: Decoder, step: int) -> Terms:
        """The terms of the schedule."""
        if step in MARKS:
            self.row(features, decoder, step)
        return self.schedule.terms(features, decoder, step)

    def row(self, features: Tensor, decoder: Decoder, steps: int) -> None:
        """Print a row; its time does not count."""
        started = time.process_time()
        self.judge.row(self.title, steps, started - self.began, features, decoder)
        self.began += time.process_time() - started


def run(title: str, training: Training, settings: DistillSettings, judge: Judge) -> None:
    """Train a field in place, with rows of the table on the way and at the end."""
    recorder = Recorder(title, training.schedule, judge)
    optimize(training.field, recorder, settings, checkpoint=None, key="", progress=SILENT)
    recorder.row(training.field.features, training.field.decoder, settings.steps)


def go_on(title: str, field: LanguageField, schedule: Schedule, steps: int, judge: Judge) -> None:
    """One-photo steps from where a field is, with the λ of the second half and the released rates."""
    features = torch.nn.Parameter(field.features.clone())
    optimizer = adam(features, field.decoder.requires_grad_(True).train())
    for group, rate in zip(
        optimizer.param_groups, (RELEASED.feature_rate, RELEASED.decoder_rate), strict=True
    ):
        group["lr"] = rate
    recorder = Recorder(title, schedule, judge)
    for step in range(steps):
        optimizer.zero_grad(set_to_none=True)
        recorder.terms(features, field.decoder, step).total(PAPER, PAPER.steps).backward()
        optimizer.step()
    recorder.row(features, field.decoder, steps)


def main(given: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("scene", type=Path, help="folder of a finished scene")
    parser.add_argument("--photo-steps", type=int, default=RELEASED.steps)
    parser.add_argument("--more-steps", type=int, default=0)
    parser.add_argument("--judged", type=int, default=6, help="every how manieth photo the figures are of")
    arguments = parser.parse_args(given)
    scene = Scene.load(arguments.scene)
    items = Descriptions(scene.workspace, scene.capture.train)
    judge = Judge(scene.gaussians, items, arguments.judged)
    print("| schedule | steps | CPU s | L_r, Eq. 3 | L_e, Eq. 4 | L_c, Eq. 6 | L, Eq. 7 |")
    print("|---|---|---|---|---|---|---|", flush=True)
    mixed = begin(scene.gaussians, items, PAPER)
    run("mixed (`paper`)", mixed, PAPER, judge)
    single = begin(scene.gaussians, items, photo_settings(arguments.photo_steps))
    if arguments.more_steps:
        go_on("one photo a step, from there", mixed.field, single.schedule, arguments.more_steps, judge)
    run("one photo a step", single, photo_settings(arguments.photo_steps), judge)


if __name__ == "__main__":
    main()
