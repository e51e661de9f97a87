"""All methods, all seeds, on one scene: `gags compare`."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

from gags.capture import Capture
from gags.compare.job import Job, labels_stamp, run_job
from gags.compare.measure import in_own_process
from gags.compare.methods import DEFAULT, OF_PRESET, all_methods, chosen_methods
from gags.compare.methods.goi import GoiSettings
from gags.compare.methods.grouping import GroupingSettings
from gags.compare.methods.langsplat import LangSplatSettings
from gags.compare.methods.learner import Method, Prompts
from gags.compare.methods.legaussians import LEGaussiansSettings
from gags.compare.paper import ablation_methods, side_by_side
from gags.compare.results import Comparison, MethodResult, SeedResult
from gags.compare.scenes import Described, prompted_scene, shared_scene
from gags.distill.presets import PRESETS, ChosenSettings, fitting_settings
from gags.distill.settings import DistillSettings
from gags.errors import CompareError
from gags.evaluate.labels import LabelsBy, held_out_frames, load_labels, match_frames
from gags.evaluate.protocols import named_protocol
from gags.files import write_json
from gags.files.locks import held_by_another, locked
from gags.files.ranges import SEED, Range, Settings, check_value, ranged
from gags.pipeline import CaptureSettings, RunSettings, chosen_settings, read_capture
from gags.pipeline.settings import check_settings, given_seed
from gags.progress import SILENT, Reporter
from gags.workspace import LOCK, Workspace

SCENE_FOLDER = "scene"  # in the folder of a comparison
PROMPTED: tuple[Prompts, ...] = ("uniform", "crops", *PRESETS)
"""Kinds of prompts that get a scene of their own, in the folder `scene-<kind>`."""
METHODS_FOLDER = "methods"
COMPARISON_FILE = "compare.json"


@dataclass(frozen=True)
class MethodSettings(Settings):
    """Settings of single methods."""

    langsplat: LangSplatSettings = field(default_factory=LangSplatSettings)
    """Training of the baseline LangSplat."""
    legaussians: LEGaussiansSettings = field(default_factory=LEGaussiansSettings)
    """Training of the baseline LEGaussians."""
    grouping: GroupingSettings = field(default_factory=GroupingSettings)
    """Training of the baseline Gaussian Grouping."""
    goi: GoiSettings = field(default_factory=GoiSettings)
    """Training of the baseline GOI."""


OfMethods = TypeVar("OfMethods", bound=MethodSettings)
METHOD_MODELS = {"legaussians": "features", "grouping": "detector", "goi": "detector"}
"""Systems that have a model of their own, with the setting that names it."""


def having_models(methods: Sequence[str]) -> list[str]:
    """Those of `METHOD_MODELS` that some methods, by name, belong to."""
    return [system for system in METHOD_MODELS if any(system in method for method in methods)]


def with_models(settings: OfMethods, methods: Sequence[str], progress: Reporter = SILENT) -> OfMethods:
    """The same settings with the models that are meant on this machine, of the systems that are asked for.

    Args:
        settings: Settings of single methods.
        methods: Methods by name.
        progress: Told about models that are fetched, and what "auto" stands for.

    Raises:
        ModelError: If a method needs a model that is not here and cannot be fetched.
    """
    ready = {system: getattr(settings, system).ready(progress) for system in having_models(methods)}
    return replace(settings, **ready)


@dataclass(frozen=True)
class CompareSettings(MethodSettings):
    """What is compared, and how often."""

    seeds: int = ranged(3, Range(1, 1000))
    """How often each method learns; figures are medians. Masks are the same for all seeds."""
    first_seed: int = ranged(0, Range(0, SEED.high - 1000))
    """Seed of the first of these times; the others follow one by one."""
    protocol: str = "lerf-ovs"
    """Rules of scoring: lerf-ovs; lerf-ovs-strict, by which published figures are made; or held-out, for
    photos that were not learnt from alone."""
    labels_by: LabelsBy = "name"
    """Whether label files find their photos by name, or by position: frame_00007 labels the seventh of all
    photos by name, as in Mip-NeRF360-OVS."""
    ablations: bool = False
    """Also run the paper's ablations, and print its tables beside its figures."""


def compare(
    capture: Capture | Path | str | None,
    labels: Path | str,
    out: Path | str,
    methods: Sequence[str] = DEFAULT,
    settings: CompareSettings = CompareSettings(),
    *,
    scene: Path | str | None = None,
    splats: Path | None = None,
    photos: CaptureSettings = CaptureSettings(),
    stages: RunSettings = RunSettings(),
    progress: Reporter = SILENT,
    progress_in_child: Callable[[], Reporter] = Reporter,
) -> Comparison:
    """Let methods learn from the same Gaussians and masks, and score their answers.

    A comparison that was stopped resumes; what has not changed is not done again. Every method
    learns and answers in a process of its own, so that its peak of memory is its own.

    Args:
        capture: Photos with poses, or the folder they are in; None with a finished `scene`.
        labels: Folder of ground truth in the LERF-OVS format.
        out: Folder of the comparison; what is done already is kept.
        methods: Methods by name.
        settings: Seeds, protocol, ablations.
        scene: Folder of a finished scene whose Gaussians and masks are used, instead of a capture; only read.
        splats: 3DGS `.ply` to adopt instead of training Gaussians.
        photos: How photos are read, if `capture` is a folder.
        stages: Settings of the stages; those of distillation are shared by all methods. Methods that are a
            preset, such as `gags-paper`, have its settings, with the changes by name that have an effect
            there. The seeds of learning are those of `settings`.
        progress: Told about progress.
        progress_in_child: Makes what is told about progress in a method's process: a class or a function of a
            module, so that it can be sent there. Default: silence.

    Returns:
        All figures, also written to `compare.json` in `out`.

    Raises:
        GagsError: If a method is unknown, labels do not fit, or nothing can be learnt; finished pieces stay.
    """
    labels, out = Path(labels), Path(out)
    if Workspace(out).config.exists():
        raise CompareError(f"{out} is a scene; give --out a folder of its own, and the scene with --scene")
    if (capture is None) == (scene is None):
        raise CompareError("give either a CAPTURE, or a finished scene with --scene")
    check_value("settings", settings, CompareSettings)
    check_settings(stages)
    check_seed(stages, settings)
    shared = None if scene is None else Described.open(Path(scene))
    if shared is not None:
        capture = shared.capture
    elif not isinstance(capture, Capture):
        capture = read_capture(Path(capture or ""), photos, require_points=splats is None, progress=progress)
    check(capture, labels, methods, settings, progress=progress)
    presets = preset_rows(methods, stages, progress)
    with working_in(out):
        if shared is None:
            shared = shared_scene(capture, out / SCENE_FOLDER, stages, splats=splats, progress=progress)
        distill = chosen_settings(
            shared.workspace, stages, segmenter=shared.segmenter, encoder=shared.encoder
        ).distill
        chosen = check(shared.capture, labels, methods, settings, distill, presets)
        results = _results(chosen, shared, labels, out, settings, presets, progress, progress_in_child)
        tables = side_by_side() if settings.ablations else ()
        comparison = Comparison(labels, settings.protocol, shared.encoder, results, tables)
        write_json(out / COMPARISON_FILE, comparison.to_json())
    return comparison


@contextmanager
def working_in(out: Path) -> Iterator[None]:
    """Keep other processes out of the folder of a comparison or benchmark; it is made if it is not there.

    Raises:
        CompareError: If the folder cannot be made.
        WorkspaceError: If another process works in it.
        FileError: If nothing can be written there.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CompareError(f"cannot make {out} ({error.strerror}); choose another --out") from error
    with locked(out / LOCK, held_by_another(out)):
        yield


def check(
    capture: Capture,
    labels: Path,
    methods: Sequence[str],
    settings: CompareSettings = CompareSettings(),
    distill: DistillSettings = DistillSettings(),
    presets: Mapping[str, ChosenSettings] | None = None,
    progress: Reporter = SILENT,
) -> list[Method]:
    """Find out what cannot work before hours are spent.

    Args:
        capture: Photos and poses.
        labels: Folder of ground truth.
        methods: Methods by name.
        settings: Seeds, protocol, ablations.
        distill: Settings of distillation that all methods share.
        presets: Settings of the methods that are a preset, from `preset_rows`.
        progress: Told about models that are fetched.

    Returns:
        The methods to run, those of ablations included.

    Raises:
        CompareError: If a method is unknown, or the settings cannot be compared by.
        LabelError: If the labels cannot be read or do not fit the photos.
        ModelError: If a method needs a model that is not here and cannot be fetched.
    """
    check_protocol(settings.protocol)
    pairs = match_frames(load_labels(labels, progress), capture, settings.labels_by, progress)
    if named_protocol(settings.protocol).frames == "held-out":
        held_out_frames(pairs, capture)
    names = [*methods, *(ablation_methods() if settings.ablations else ())]
    own = with_models(settings, names, progress)
    of_presets = {name: chosen.distill for name, chosen in (presets or {}).items()}
    known = all_methods(distill, own.langsplat, own.legaussians, own.grouping, own.goi, of_presets)
    return chosen_methods(names, known)


def preset_rows(
    methods: Sequence[str], stages: RunSettings, progress: Reporter = SILENT
) -> dict[str, ChosenSettings]:
    """Settings of the methods that are a preset, with the user's changes by name; by name of the preset.

    Args:
        methods: Methods by name.
        stages: Settings of the stages as they were asked for.
        progress: Told what these methods leave out, and why.

    Raises:
        WorkspaceError: If a change makes no sense with a preset.
    """
    found = {}
    whole = [name for name in ("describe", "distill") if isinstance(getattr(stages, name), Settings)]
    for name in PRESETS:
        if f"{OF_PRESET}{name}" in methods:
            found[name], ignored = fitting_settings(name, stages.describe, stages.distill)
            for reason in ignored:
                progress.say(f"{OF_PRESET}{name} leaves a setting out: {reason.partition(';')[0]}")
            if whole:
                progress.say(f"{OF_PRESET}{name} keeps the settings of its preset for {' and '.join(whole)}")
    return found


def check_seed(stages: RunSettings, settings: CompareSettings) -> None:
    """Refuse a seed of distillation that is not the one that methods learn with.

    Raises:
        CompareError: If there is one.
    """
    seed = given_seed(stages.distill)
    if seed is not None and (settings.seeds, settings.first_seed) != (1, seed):
        raise CompareError(
            f"--distill.seed {seed} would have no effect: methods learn with the seeds that --seeds and "
            "--first-seed say; leave it out"
        )


def check_protocol(name: str) -> None:
    """Refuse a protocol by which not every method can be scored.

    Raises:
        LabelError: If there is no such protocol.
        CompareError: If it scores what not every method makes.
    """
    if named_protocol(name).asks != "relevancy":
        raise CompareError(
            f"protocol {name} scores a choice of Gaussians, which not every method makes; "
            "compare with --protocol lerf-ovs, lerf-ovs-strict or held-out"
        )


def _results(
    methods: Sequence[Method],
    shared: Described,
    labels: Path,
    out: Path,
    settings: CompareSettings,
    presets: Mapping[str, ChosenSettings],
    progress: Reporter,
    progress_in_child: Callable[[], Reporter],
) -> tuple[MethodResult, ...]:
    """Results of all methods with all seeds, each from the scene with the prompts that it asks for."""
    scenes: dict[str, Described] = {"granularity-aware": shared}
    for prompts in PROMPTED:
        if any(method.prompts == prompts for method in methods):
            folder = out / f"{SCENE_FOLDER}-{prompts}"
            own = presets[prompts].describe if prompts in presets else None
            scenes[prompts] = prompted_scene(shared, prompts, folder, own=own, progress=progress)
    figures = {prompts: scene.figures() for prompts, scene in scenes.items()}
    truth = labels_stamp(labels)
    results = []
    for number, method in enumerate(methods, 1):
        progress.say(f"{method.title} ({number} of {len(methods)} methods)")
        scene = scenes[method.prompts]
        seeds = []
        for seed in range(settings.first_seed, settings.first_seed + settings.seeds):
            folder = out / METHODS_FOLDER / method.name / f"seed_{seed}"
            root, by = scene.workspace.root, settings.labels_by
            job = Job(method, seed, root, labels, truth, settings.protocol, folder, labels_by=by)
            seeds.append(_finish(job, scene, progress, progress_in_child))
        about = figures[method.prompts]
        results.append(MethodResult(method.name, method.title, method.prompts, about, tuple(seeds)))
    return tuple(results)


def _finish(
    job: Job, scene: Described, progress: Reporter, progress_in_child: Callable[[], Reporter]
) -> SeedResult:
    """The result of a job, run if there is none on file that fits."""
    result = job.finished(scene)
    if result is not None:
        progress.say(f"Seed {job.seed}: done already")
        return result
    progress.say(f"Seed {job.seed}:")
    in_own_process(run_job, job, progress_in_child)
    result = job.finished(scene)
    if result is None:
        raise CompareError(f"{job.folder} was changed by someone else meanwhile; run the same line again")
    return result
