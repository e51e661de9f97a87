"""All methods, all seeds, on one scene: `gags compare`."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gags.capture import Capture
from gags.compare.job import Job, labels_stamp, run_job
from gags.compare.measure import in_own_process
from gags.compare.methods import Method, all_methods, chosen_methods
from gags.compare.methods.langsplat import LangSplatSettings
from gags.compare.paper import TABLES, PaperTable, ablation_methods
from gags.compare.results import MethodResult, SeedResult
from gags.compare.scenes import Described, uniform_twin
from gags.distill.settings import DistillSettings
from gags.errors import CompareError
from gags.evaluate.labels import load_labels, match_frames
from gags.evaluate.protocols import named_protocol
from gags.files import write_json
from gags.progress import SILENT, Reporter

SCENE = "scene"  # folders of a comparison
UNIFORM_SCENE = "scene-uniform"
METHODS = "methods"
FILE = "compare.json"


@dataclass(frozen=True)
class CompareSettings:
    """What is compared, and how often."""

    seeds: int = 3
    """How often each method learns; figures are medians. Masks are the same for all seeds."""
    protocol: str = "lerf-ovs"
    """Rules of scoring: lerf-ovs, or held-out for photos that were not learnt from alone."""
    ablations: bool = False
    """Also run the paper's ablations, and print its tables beside its figures."""
    langsplat: LangSplatSettings = field(default_factory=LangSplatSettings)
    """Training of the baseline LangSplat."""


@dataclass(frozen=True)
class Comparison:
    """All figures of one scene.

    Attributes:
        labels: Folder of ground truth.
        protocol: Rules of scoring.
        encoder: Encoder of masks and texts.
        methods: One result a method, in the order asked for.
        tables: Tables of the paper that can be filled; empty without ablations.
    """

    labels: Path
    protocol: str
    encoder: str
    methods: tuple[MethodResult, ...]
    tables: tuple[PaperTable, ...] = ()

    def __getitem__(self, method: str) -> MethodResult:
        return next(result for result in self.methods if result.method == method)

    def to_json(self) -> dict[str, Any]:
        """As in `compare.json`; mAcc and mIoU are shares in [0, 1], those of the paper are in %."""
        content: dict[str, Any] = {
            "labels": str(self.labels),
            "protocol": self.protocol,
            "encoder": self.encoder,
            "methods": [result.to_json() for result in self.methods],
        }
        if self.tables:
            content["tables"] = [table.to_json() for table in self.tables]
        return content


def compare(
    scene: Described,
    labels: Path,
    out: Path,
    names: Sequence[str],
    settings: CompareSettings = CompareSettings(),
    distill: DistillSettings = DistillSettings(),
    *,
    progress: Reporter = SILENT,
    call: Callable[..., None] | None = None,
) -> Comparison:
    """Let methods learn from the same Gaussians and masks, and score their answers.

    Args:
        scene: Gaussians, masks and embeddings; stays as it is.
        labels: Folder of ground truth in the LERF-OVS format.
        out: Folder of the comparison; what is done already is kept.
        names: Methods, by name.
        settings: Seeds, protocol, ablations.
        distill: Settings of distillation that all methods share.
        progress: Told about progress.
        call: Calls the job of one method and seed; by default `in_own_process`, so that the peak of memory
            is the method's own.

    Returns:
        All figures, also written to `compare.json` in `out`.

    Raises:
        GagsError: If a method is unknown, labels do not fit, or nothing can be learnt; finished pieces stay.
    """
    methods = check(scene.capture, labels, names, settings, distill)
    scenes: dict[str, Described] = {"granularity-aware": scene}
    if any(method.prompts == "uniform" for method in methods):
        scenes["uniform"] = uniform_twin(scene, out / UNIFORM_SCENE, progress=progress)
    figures = {prompts: place.figures() for prompts, place in scenes.items()}
    truth = labels_stamp(labels)
    results = []
    for number, method in enumerate(methods, 1):
        progress.say(f"{method.title} ({number} of {len(methods)} methods)")
        place = scenes[method.prompts]
        seeds = []
        for seed in range(settings.seeds):
            folder = out / METHODS / method.name / f"seed_{seed}"
            job = Job(method, seed, place.workspace.root, labels, truth, settings.protocol, folder)
            seeds.append(_finish(job, place, call or in_own_process, progress))
        about = figures[method.prompts]
        results.append(MethodResult(method.name, method.title, method.prompts, about, tuple(seeds)))
    tables = TABLES if settings.ablations else ()
    comparison = Comparison(labels, settings.protocol, scene.encoder, tuple(results), tables)
    write_json(out / FILE, comparison.to_json())
    return comparison


def check(
    capture: Capture,
    labels: Path,
    names: Sequence[str],
    settings: CompareSettings = CompareSettings(),
    distill: DistillSettings = DistillSettings(),
) -> list[Method]:
    """Find out what cannot work before hours are spent.

    Returns:
        The methods to run, those of ablations included.

    Raises:
        CompareError: If a method is unknown, or the settings cannot be compared by.
        LabelError: If the labels cannot be read or do not fit the photos.
    """
    if settings.seeds < 1:
        raise CompareError(f"--seeds must be at least 1, got {settings.seeds}")
    if named_protocol(settings.protocol).asks != "relevancy":
        raise CompareError(
            f"protocol {settings.protocol} scores a choice of Gaussians, which not every method makes; "
            "compare with --protocol lerf-ovs or held-out"
        )
    match_frames(load_labels(labels), capture)
    names = [*names, *(ablation_methods() if settings.ablations else ())]
    return chosen_methods(names, all_methods(distill, settings.langsplat))


def _finish(job: Job, scene: Described, call: Callable[..., None], progress: Reporter) -> SeedResult:
    """The result of a job, run if there is none on file that fits."""
    result = job.finished(scene)
    if result is not None:
        progress.say(f"Seed {job.seed}: done already")
        return result
    progress.say(f"Seed {job.seed}:")
    call(run_job, job)
    result = job.finished(scene)
    if result is None:
        raise CompareError(f"{job.folder} was changed by someone else meanwhile; run the same line again")
    return result
