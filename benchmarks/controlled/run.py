"""What prompts and distillation do, apart from how well an encoder names things.

    python -m benchmarks.controlled.run CAPTURE --clip-text DIR --scene WS --out DIR
        [--methods gags average …] [--seeds 1] [--prompts-per-patch 4]
        [--recognised 0.3] [--set NAME=VALUE …] [--json]

CAPTURE is a synthetic capture with exact instance maps and labels, WS a scene of it that has Gaussians, DIR
the folder of CLIP's text vectors. Every training photo is cut by the controlled segmenter, with
granularity-aware prompts and with as many uniform ones, and embedded by the controlled encoder; the methods
of `gags compare` learn from that and are scored on CAPTURE/labels by the protocol `lerf-ovs`. A seed decides
prompts, masks, embeddings and learning. Masks and embeddings are kept in --out and used again; learning is
done anew each time. Figures are medians over the seeds, in %. WS is only read.
"""

import argparse
import json
import sys
import time
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from benchmarks.controlled.describe import DescribedViews, describe, uniform
from benchmarks.controlled.encoder import RECOGNISED, ControlledEncoder
from benchmarks.controlled.names import TextVectors
from benchmarks.controlled.results import Outcome, main_table, paper_tables
from benchmarks.controlled.truth import Truth
from gags.capture import read_saved_capture
from gags.cli.console import ConsoleReporter
from gags.compare.methods import UNIFORM, all_methods, chosen_methods
from gags.compare.methods.learner import Inputs, Method
from gags.distill.settings import DistillSettings
from gags.errors import CompareError, GagsError
from gags.evaluate.labels import FrameLabels, load_labels
from gags.evaluate.score import evaluate
from gags.gaussians.ply import load_ply
from gags.progress import Reporter
from gags.segment.settings import DescribeSettings
from gags.store import file_stamp
from gags.workspace import Workspace

GRANULARITY = ("sub-part", "part", "whole", "average", "no-consensus")
DEFAULT_METHODS = ("gags", "langsplat", "uplift", *GRANULARITY, *(UNIFORM + name for name in GRANULARITY))


@dataclass(eq=False)
class Experiment:
    """Everything that methods share.

    Attributes:
        capture: Folder of the synthetic capture.
        clip_text: Folder of text vectors.
        scene: Folder of a scene of the capture, for its Gaussians and cameras.
        out: Folder of what is kept.
        prompts_per_patch: N0 of Eq. 1.
        recognised: See `ControlledEncoder`.
        progress: Told about progress.
    """

    capture: Path
    clip_text: Path
    scene: Path
    out: Path
    prompts_per_patch: float
    recognised: float
    progress: Reporter

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
        """Masks and embeddings of all training photos, made if they are not on disk."""
        encoder = ControlledEncoder(self.texts, self.truth, seed, self.recognised)
        settings = DescribeSettings(prompts_per_patch=self.prompts_per_patch, seed=seed)
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
            progress=self.progress,
        )
        return views, encoder

    def outcome(self, method: Method, seeds: int) -> Outcome:
        """Let a method learn and answer, once a seed."""
        evaluations, seconds = [], []
        for seed in range(seeds):
            views, encoder = self.described(method.prompts, seed)
            path = self.out / "language" / f"{method.name}_{seed}.safetensors"
            path.parent.mkdir(parents=True, exist_ok=True)
            began = time.perf_counter()
            inputs = Inputs(self.gaussians, views, encoder, self.photos.train)
            method.learner.learn(inputs, seed, path, self.progress)
            seconds.append(time.perf_counter() - began)
            answerer = method.learner.load(path, inputs)
            scored = evaluate(answerer, self.photos, self.labels, encoder, "lerf-ovs", progress=self.progress)
            evaluations.append(scored.to_json())
        return Outcome(method, tuple(evaluations), tuple(seconds))

    def masks(self, methods: list[Method]) -> dict[str, dict[str, Any]]:
        """Prompts and masks of the first seed, by kind of prompts."""
        kinds = dict.fromkeys(method.prompts for method in methods)
        views = {prompts: self.described(prompts, 0)[0] for prompts in kinds}
        return {name: {"prompts": seen.prompts(), "masks": seen.masks()} for name, seen in views.items()}


def distill_settings(changes: list[str]) -> DistillSettings:
    """The defaults of distillation with some values changed.

    Args:
        changes: NAME=VALUE each; values are JSON, or else text.

    Raises:
        CompareError: If there is no such setting.
    """
    known = [field.name for field in fields(DistillSettings)]
    values = {}
    for change in changes:
        name, _, text = change.partition("=")
        if name not in known:
            raise CompareError(f"--set {change}: there is no setting {name!r}; there are: {', '.join(known)}")
        try:
            values[name] = json.loads(text)
        except ValueError:
            values[name] = text
    return replace(DistillSettings(), **values)


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
    parser.add_argument("--prompts-per-patch", type=float, default=DescribeSettings().prompts_per_patch)
    parser.add_argument("--recognised", type=float, default=RECOGNISED, help="how fast pieces lose a name")
    parser.add_argument("--set", nargs="+", default=[], metavar="NAME=VALUE", help="settings of distillation")
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    arguments = parser.parse_args()
    if arguments.seeds < 1:
        parser.error("--seeds must be at least 1")
    try:
        print(_run(arguments))
    except GagsError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _run(arguments: argparse.Namespace) -> str:
    """All methods; the tables or the JSON to print."""
    methods = chosen_methods(arguments.methods, all_methods(distill_settings(arguments.set)))
    progress = ConsoleReporter()
    experiment = Experiment(
        arguments.capture,
        arguments.clip_text,
        arguments.scene,
        arguments.out,
        arguments.prompts_per_patch,
        arguments.recognised,
        progress,
    )
    outcomes = []
    for number, method in enumerate(methods, 1):
        progress.say(f"{method.title} ({number} of {len(methods)} methods)")
        outcomes.append(experiment.outcome(method, arguments.seeds))
        progress.say(main_table(outcomes[-1:]).splitlines()[-1])
    masks = experiment.masks(methods)
    if arguments.json:
        plain = {"masks": masks, "methods": [outcome.to_json() for outcome in outcomes]}
        return json.dumps(plain, indent=2)
    counts = [
        f"{name}: {about['prompts']} prompts, masks {' + '.join(map(str, about['masks']))}"
        for name, about in masks.items()
    ]
    return "\n\n".join(["\n".join(counts), main_table(outcomes), *paper_tables(outcomes)])


if __name__ == "__main__":
    sys.exit(main())
