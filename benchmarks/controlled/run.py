"""What prompts and distillation do, apart from how well an encoder names things.

    python -m benchmarks.controlled.run CAPTURE --clip-text DIR --scene WS --out DIR
        [--methods gags average …] [--seeds 1] [--world 0] [--preset lite] [--prompts-per-patch 4]
        [--recognised 0.3] [--patches-grow [0.25]] [--shared-noise 0] [--set NAME=VALUE …]
        [--resume] [--json]

CAPTURE is a synthetic capture with exact instance maps and labels, WS a scene of it that has Gaussians, DIR
the folder of CLIP's text vectors. Every training photo is cut by the controlled segmenter, with
granularity-aware prompts and with as many uniform ones, and embedded by the controlled encoder; the methods
of `gags compare` learn from that and are scored on CAPTURE/labels by the protocol `lerf-ovs`. A seed decides
prompts, masks, embeddings and learning. Masks and embeddings are kept in --out and used again; learning is
done anew each time, unless --resume takes results that are there already, made with the same settings.
Figures are medians over the seeds, in %; what methods differ by is a mean over pairs of a frame and a
category and over the seeds, with its 95 % interval, for all frames and for those of each ring of cameras
(`granularity/photos.py`). WS is only read.

With --world all seeds have masks and embeddings of one world, in which only prompts and learning differ.

--preset takes the rules for prompts and masks, and the distillation, of a preset: `paper` is the paper's own
(levels learnt by distance, λ > 0, regions alike, consistency). --patches-grow lets patches appear without
end as prompts get denser, --shared-noise lets photos taken side by side share a part of their noise.
"""

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from benchmarks.controlled.describe import DescribedViews, describe, uniform
from benchmarks.controlled.encoder import RECOGNISED, ControlledEncoder
from benchmarks.controlled.names import TextVectors
from benchmarks.controlled.results import (
    PAIRED,
    Outcome,
    by_ring,
    contrasts,
    effects_table,
    main_table,
    paper_tables,
)
from benchmarks.controlled.truth import Truth
from benchmarks.granularity.photos import RINGS, natural_rings, shown_distance
from gags.capture import read_saved_capture
from gags.cli.console import ConsoleReporter
from gags.compare.methods import UNIFORM, all_methods, chosen_methods
from gags.compare.methods.learner import Inputs, Method
from gags.distill.presets import PRESETS, choose_settings
from gags.errors import CompareError, GagsError
from gags.evaluate.labels import FrameLabels, load_labels, match_view
from gags.evaluate.score import evaluate
from gags.files import write_json
from gags.gaussians.ply import load_ply
from gags.progress import Reporter
from gags.segment.settings import DescribeSettings
from gags.store import file_stamp, stamp
from gags.workspace import Workspace

GRANULARITY = ("sub-part", "part", "whole", "average", "no-consensus")
PATCHES_GROW = 0.25  # chance of a finer patch, if patches grow and no other is given
DEFAULT_METHODS = ("gags", "langsplat", "uplift", *GRANULARITY, *(UNIFORM + name for name in GRANULARITY))


@dataclass(frozen=True)
class World:
    """What masks and embeddings are like.

    Attributes:
        recognised: See `ControlledEncoder`.
        grow: Chance of finer patches, see `ControlledSegmenter`.
        shared: Share of the noise that photos side by side have in common, see `ControlledEncoder`.
        seed: Of masks and embeddings; None for a world of its own with every seed of prompts.
    """

    recognised: float = RECOGNISED
    grow: float = 0.0
    shared: float = 0.0
    seed: int | None = None


@dataclass(eq=False)
class Experiment:
    """Everything that methods share.

    Attributes:
        capture: Folder of the synthetic capture.
        clip_text: Folder of text vectors.
        scene: Folder of a scene of the capture, for its Gaussians and cameras.
        out: Folder of what is kept.
        settings: Prompts and rules for masks.
        world: What the world is like.
        progress: Told about progress.
        resume: Whether results of the same settings that are in `out` are taken.
    """

    capture: Path
    clip_text: Path
    scene: Path
    out: Path
    settings: DescribeSettings
    world: World
    progress: Reporter
    resume: bool = False

    def __post_init__(self) -> None:
        workspace = Workspace.open(self.scene)
        self.truth = Truth.load(self.capture)
        self.texts = TextVectors(self.clip_text, self.truth.aliases)
        self.photos = read_saved_capture(workspace.capture)
        self.gaussians = load_ply(workspace.splats)
        self.splats_stamp = file_stamp(workspace.splats)

    @cached_property
    def labels(self) -> list[FrameLabels]:
        """Ground truth of the capture."""
        return load_labels(self.capture / "labels")

    def described(self, prompts: str, seed: int) -> tuple[DescribedViews, ControlledEncoder]:
        """Masks and embeddings of all training photos, made if they are not on disk.

        Raises:
            CompareError: If prompts are neither granularity-aware nor uniform.
        """
        if prompts not in ("granularity-aware", "uniform"):
            raise CompareError(f"the controlled experiment has no prompts {prompts!r}; leave the method out")
        world = self.world
        seed_of_world = seed if world.seed is None else world.seed
        encoder = ControlledEncoder(self.texts, self.truth, seed_of_world, world.recognised, world.shared)
        settings = replace(self.settings, seed=seed)
        if prompts == "uniform":
            settings = uniform(settings, self.described("granularity-aware", seed)[0])
        views = describe(
            self.photos.train,
            self.gaussians,
            self.splats_stamp,
            self.truth,
            encoder,
            settings,
            self.out / "features" / f"{prompts}_{seed}",
            grow=world.grow,
            world=seed_of_world,
            progress=self.progress,
        )
        return views, encoder

    def outcome(self, method: Method, seeds: int) -> Outcome:
        """Let a method learn and answer, once a seed."""
        evaluations, seconds = [], []
        for seed in range(seeds):
            views, encoder = self.described(method.prompts, seed)
            made_by = stamp(method.learner, seed, views.stamps(), self.splats_stamp)
            kept = self.out / "outcomes" / f"{method.name}_{seed}_{made_by}.json"
            if not (self.resume and kept.exists()):
                write_json(kept, self._learnt(method, seed, views, encoder))
            done = json.loads(kept.read_text())
            evaluations.append(done["evaluation"])
            seconds.append(done["seconds"])
        return Outcome(method, tuple(evaluations), tuple(seconds))

    def _learnt(
        self, method: Method, seed: int, views: DescribedViews, encoder: ControlledEncoder
    ) -> dict[str, Any]:
        """Let a method learn and answer: seconds of learning, and the evaluation."""
        path = self.out / "language" / f"{method.name}_{seed}.safetensors"
        path.parent.mkdir(parents=True, exist_ok=True)
        began = time.perf_counter()
        inputs = Inputs(self.gaussians, views, encoder, self.photos.train)
        method.learner.learn(inputs, seed, path, self.progress)
        seconds = time.perf_counter() - began
        answerer = method.learner.load(path, inputs)
        scored = evaluate(answerer, self.photos, self.labels, encoder, "lerf-ovs", progress=self.progress)
        return {"seconds": seconds, "evaluation": scored.to_json()}

    @cached_property
    def rings(self) -> dict[str, str]:
        """The ring of cameras of every labelled photo, by its name: how far away what it shows is."""
        if len(self.labels) < len(RINGS):
            return {}
        views = [match_view(frame, self.photos) for frame in self.labels]
        distances = [shown_distance(self.gaussians, view) for view in views]
        return {view.name: RINGS[r] for view, r in zip(views, natural_rings(distances), strict=True)}

    def masks(self, methods: list[Method]) -> dict[str, dict[str, Any]]:
        """Prompts and masks of the first seed, by kind of prompts."""
        kinds = dict.fromkeys(method.prompts for method in methods)
        views = {prompts: self.described(prompts, 0)[0] for prompts in kinds}
        return {name: {"prompts": seen.prompts(), "masks": seen.masks()} for name, seen in views.items()}


def changed_settings(changes: Sequence[str]) -> dict[str, Any]:
    """Settings by name from NAME=VALUE each; values are JSON, or else text."""
    values = {}
    for change in changes:
        name, _, text = change.partition("=")
        try:
            values[name] = json.loads(text)
        except ValueError:
            values[name] = text
    return values


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("capture", type=Path, help="synthetic capture with instance maps and labels")
    parser.add_argument("--clip-text", type=Path, required=True, help="folder of lvis_v1.npy and .json")
    parser.add_argument("--scene", type=Path, required=True, help="scene of the capture with Gaussians")
    parser.add_argument("--out", type=Path, required=True, help="folder of masks and what is learnt")
    parser.add_argument("--methods", nargs="+", default=DEFAULT_METHODS, metavar="METHOD")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--world", type=int, help="seed of masks and embeddings, the same for all seeds")
    parser.add_argument("--preset", choices=list(PRESETS), default="lite")
    parser.add_argument("--prompts-per-patch", type=float, help="N0 of Eq. 1 (default: the preset's)")
    parser.add_argument("--recognised", type=float, default=RECOGNISED, help="how fast pieces lose a name")
    parser.add_argument(
        "--patches-grow",
        type=float,
        nargs="?",
        const=PATCHES_GROW,
        default=0.0,
        metavar="CHANCE",
        help="of a finer patch; the denser the prompts, the finer the patches",
    )
    parser.add_argument("--shared-noise", type=float, default=0.0, metavar="SHARE", help="between photos")
    parser.add_argument("--set", nargs="+", default=[], metavar="NAME=VALUE", help="settings of distillation")
    parser.add_argument("--resume", action="store_true", help="take the results that are in --out")
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    arguments = parser.parse_args()
    if arguments.seeds < 1:
        parser.error("--seeds must be at least 1")
    if not 0 <= arguments.patches_grow < 1:
        parser.error("--patches-grow must be at least 0 and below 1")
    if not 0 <= arguments.shared_noise <= 1:
        parser.error("--shared-noise must be between 0 and 1")
    try:
        print(_run(arguments))
    except GagsError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _run(arguments: argparse.Namespace) -> str:
    """All methods; the tables or the JSON to print."""
    base = arguments.prompts_per_patch
    settings = choose_settings(
        arguments.preset,
        describe={} if base is None else {"prompts_per_patch": base},
        distill=changed_settings(arguments.set),
    )
    methods = chosen_methods(arguments.methods, all_methods(settings.distill))
    progress = ConsoleReporter()
    experiment = Experiment(
        arguments.capture,
        arguments.clip_text,
        arguments.scene,
        arguments.out,
        settings.describe,
        World(arguments.recognised, arguments.patches_grow, arguments.shared_noise, arguments.world),
        progress,
        arguments.resume,
    )
    outcomes = []
    for number, method in enumerate(methods, 1):
        progress.say(f"{method.title} ({number} of {len(methods)} methods)")
        outcomes.append(experiment.outcome(method, arguments.seeds))
        progress.say(main_table(outcomes[-1:]).splitlines()[-1])
    masks, compared, rings = experiment.masks(methods), contrasts(outcomes), experiment.rings
    if arguments.json:
        effects = [
            {"compared": contrast.title, "ring": ring}
            | {column: vars(contrast.effect(column, frames)) for column in PAIRED}
            for contrast in compared
            for ring, frames in by_ring(rings).items()
        ]
        methods_plain = [outcome.to_json() for outcome in outcomes]
        return json.dumps({"masks": masks, "methods": methods_plain, "effects": effects}, indent=2)
    counts = [
        f"{name}: {about['prompts']} prompts, masks {' + '.join(map(str, about['masks']))}"
        for name, about in masks.items()
    ]
    tables = [
        main_table(outcomes),
        *([effects_table(compared, rings)] if compared else []),
        *paper_tables(outcomes),
    ]
    return "\n\n".join(["\n".join(counts), *tables])


if __name__ == "__main__":
    sys.exit(main())
