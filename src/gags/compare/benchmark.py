"""All scenes of a data set, all runs, all methods, in the paper's tables: `gags benchmark`."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import tomli_w

from gags._version import __version__
from gags.capture import Capture
from gags.compare.chosen import Chosen, choose_once, chosen_in, data_stamp
from gags.compare.datasets import (
    Dataset,
    SceneFiles,
    chosen_scenes,
    dataset_folder,
    find_scene,
    named_dataset,
)
from gags.compare.earlier import Asked, Earlier, check_data, check_goes_on, read_earlier
from gags.compare.harness import (
    COMPARISON_FILE,
    SCENE_FOLDER,
    CompareSettings,
    MethodSettings,
    check,
    check_protocol,
    compare,
    working_in,
)
from gags.compare.measure import machine, versions
from gags.compare.methods import all_methods, chosen_methods
from gags.compare.paper import ablation_methods, published
from gags.compare.results import Comparison, MethodResult
from gags.compare.scenes import shared_scene, take_gaussians
from gags.compare.standings import BenchmarkTable, Entry, Failure, Standings, paper_tables
from gags.distill.presets import PRESETS
from gags.errors import CompareError, GagsError
from gags.files import write_json
from gags.files.ranges import Range, check_value, ranged
from gags.pipeline import CaptureSettings, RunSettings, read_capture
from gags.pipeline.settings import check_settings, given_seed
from gags.progress import SILENT, Reporter
from gags.report.pages import write_page
from gags.store import plain
from gags.workspace import Workspace

BENCHMARK_FILE = "benchmark.json"  # in the folder of a benchmark
BENCHMARK_PAGE = "index.html"


@dataclass(frozen=True)
class BenchmarkSettings(MethodSettings):
    """What is run, and how often."""

    runs: int = ranged(3, Range(1, 1000))
    """Whole runs: Gaussians, prompts and what is learnt are made anew in each, with its number as seed."""
    share_gaussians: bool = False
    """Make Gaussians in the first run only; the others take these, and make prompts and the rest anew."""
    protocol: str = "lerf-ovs-strict"
    """Rules of scoring: lerf-ovs-strict, by which figures are published; lerf-ovs; or held-out."""
    ablations: bool = False
    """Also run the methods of the paper's ablations, for Tables 4 to 6."""


@dataclass(frozen=True)
class Benchmark:
    """What came out.

    Attributes:
        dataset: The data set.
        scenes: The scenes that were asked for, now or in an earlier call.
        settings: What was run, and how often.
        stages: Settings of the stages as they were asked for.
        photos: How photos were read, as it was asked for.
        folder: Where everything lies.
        entries: One a scene, run and method that could be done, those of earlier calls included.
        failures: What could not be done in this call.
        failures_before: What could not be done in earlier calls, and was not asked for in this one.
        ran: Settings of the Gaussians and masks as they ran, of the first scene that has them.
        chosen: What "auto" stands for, the same for all scenes and runs, by the name of the setting.
    """

    dataset: Dataset
    scenes: tuple[str, ...]
    settings: BenchmarkSettings
    stages: RunSettings
    photos: CaptureSettings
    folder: Path
    entries: list[Entry] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    failures_before: tuple[Failure, ...] = ()
    ran: dict[str, Any] = field(default_factory=dict)
    chosen: dict[str, str] = field(default_factory=dict)

    @property
    def standings(self) -> Standings:
        """Best and median of the runs."""
        return Standings(self.entries, self.scenes)

    @property
    def tables(self) -> tuple[BenchmarkTable, ...]:
        """The paper's tables with our figures."""
        return paper_tables(self.standings, self.dataset)

    @property
    def all_failures(self) -> tuple[Failure, ...]:
        """What could not be done, in earlier calls and in this one."""
        return (*self.failures_before, *self.failures)

    @property
    def page(self) -> Path:
        """Everything to look at."""
        return self.folder / BENCHMARK_PAGE

    def add(self, entry: Entry) -> None:
        """Take an entry in: instead of that of the same scene, run and method, if there is one.

        Entries of the same scene that were made from other photos or labels go.
        """
        self.entries[:] = [
            other
            for other in self.entries
            if other.scene != entry.scene or not (entry.data and other.data) or other.data == entry.data
        ]
        places = {other.key: place for place, other in enumerate(self.entries)}
        if entry.key in places:
            self.entries[places[entry.key]] = entry
        else:
            self.entries.append(entry)
        self.entries.sort(key=lambda each: (self.scenes.index(each.scene), each.run))

    def drop(self, scene: str, run: int | None, method: str | None = None) -> None:
        """Take out earlier entries whose method failed, or whose Gaussians or masks were replaced.

        Args:
            scene: Name of the scene.
            run: Number of the run.
            method: Name of the method; None for all methods of the run.
        """
        self.entries[:] = [
            entry
            for entry in self.entries
            if (entry.scene, entry.run) != (scene, run) or method not in (None, entry.result.method)
        ]

    def to_json(self) -> dict[str, Any]:
        """As in `benchmark.json`: shares in [0, 1]; those of the tables in %, as printed."""
        return {
            "dataset": self.dataset.name,
            "scenes": list(self.scenes),
            "benchmark": plain(self.settings),
            "stages": plain(self.stages),
            "photos": plain(self.photos),
            "chosen": self.chosen,
            "ran": self.ran,
            "versions": versions(),
            "machine": machine(),
            "entries": [entry.to_json() for entry in self.entries],
            "failures": [vars(failure) for failure in self.all_failures],
            "standings": self.standings.to_json(),
            "tables": [table.to_json() for table in self.tables],
        }

    def write(self) -> None:
        """Write `benchmark.json` and the page, as far as the benchmark has come."""
        write_json(self.folder / BENCHMARK_FILE, self.to_json())
        write_page(
            self.page,
            "benchmark.html",
            benchmark=self,
            tables=self.tables,
            settings=tomli_w.dumps(
                plain(self.settings)
                | {"asked": plain(self.stages), "photos": plain(self.photos)}
                | {"chosen": self.chosen, "ran": self.ran}
            ),
            versions=versions(),
            machine=machine(),
            version=__version__,
        )


def default_methods() -> list[str]:
    """The systems of the paper's Tables 1 to 3 and 5: of each row the first method of ours."""
    rows = [row for table in ("quality", "fusion") for row in published(table).rows.values()]
    return list(dict.fromkeys(row.methods[0] for row in rows))


def benchmark(
    dataset: str,
    folder: Path | str,
    out: Path | str,
    methods: Sequence[str] = (),
    settings: BenchmarkSettings = BenchmarkSettings(),
    *,
    scenes: Sequence[str] = (),
    labels: Path | None = None,
    photos: CaptureSettings = CaptureSettings(test_every=0),
    stages: RunSettings = RunSettings(),
    progress: Reporter = SILENT,
    progress_in_child: Callable[[], Reporter] = Reporter,
) -> Benchmark:
    """Run methods on the scenes of a data set, several times, and put the figures into the paper's tables.

    A benchmark that was stopped resumes; what has not changed is not done again. What fails is listed with
    its reason, and the rest goes on. Scenes, methods and runs can be asked for one after the other: what
    earlier calls with the same settings came to stays in the tables.

    Args:
        dataset: Name of the data set, lerf-ovs or mip360-ovs.
        folder: Where its scenes lie, see `gags.compare.datasets`.
        out: Folder of the benchmark; what is done already is kept.
        methods: Methods by name, those of `gags.compare`. Default: the systems of the paper's tables.
        settings: Runs, protocol, ablations.
        scenes: Some of its scenes. Default: all.
        labels: Folder that holds a folder of labels a scene. Default: where the data set has them.
        photos: How photos are read; by default all of them are trained on, as the paper does.
        stages: Settings of the stages; their seeds are the number of the run.
        progress: Told about progress.
        progress_in_child: Makes what is told about progress in a method's process, see `gags.compare`.

    Returns:
        All figures, also written to `benchmark.json` and to the page `index.html` in `out`.

    Raises:
        GagsError: If nothing can be done as asked: an unknown name, a model that cannot be had, a folder
            without any scene, an `out` that holds results of another data set, or of other settings, models,
            photos or labels that would be mixed with these.
    """
    check_value("settings", settings, BenchmarkSettings)
    known = named_dataset(dataset)
    asked = chosen_scenes(known, scenes)
    wanted = [*(methods or default_methods()), *(ablation_methods() if settings.ablations else ())]
    names = [method.name for method in chosen_methods(wanted, all_methods())]
    check_protocol(settings.protocol)
    check_settings(stages)
    _check_seeds(stages)
    root = dataset_folder(known, Path(folder))
    _check_free(Path(out), known, Path(folder), root)
    with working_in(Path(out)):
        earlier = read_earlier(Path(out) / BENCHMARK_FILE)
        settled = earlier.asked.chosen if earlier.entries else {}
        before = settled or chosen_in(Path(out), known.scenes)
        chosen = choose_once(settings, stages, names, before, progress)
        keys = [(scene, run, method) for scene in asked for run in range(settings.runs) for method in names]
        result = _begun(earlier, known, asked, keys, settings, stages, photos, chosen.names, Path(out))
        replaces = bool(earlier.entries) and not result.entries
        work = _Work(result, chosen, names, photos, progress, progress_in_child, replaces)
        ready: list[_SceneData] = []
        for name in asked:  # all scenes are looked at before the first of them takes hours
            with work.noting_failure(name):
                ready.append(work.read(root, name, labels))
        data = {scene.files.name: scene.stamp for scene in ready}
        check_data(result.entries, Path(out) / BENCHMARK_FILE, data | work.others(root, labels, asked), keys)
        for scene in ready:
            for run in range(settings.runs):
                with work.noting_failure(scene.files.name, run):
                    work.run(scene, run)
                with work.noting_failure(scene.files.name, run):
                    work.write()
        work.write()
    return result


def _check_seeds(stages: RunSettings) -> None:
    """Refuse seeds of stages, since those of a benchmark are the numbers of its runs.

    Raises:
        CompareError: If there is one.
    """
    for name in ("reconstruct", "describe", "distill"):
        seed = given_seed(getattr(stages, name))
        if seed:  # 0, the default, may be written out
            raise CompareError(
                f"--{name}.seed {seed} would have no effect: the seeds of a benchmark are the numbers of its "
                "runs (--runs); leave it out"
            )


def _check_free(out: Path, dataset: Dataset, given: Path, root: Path) -> None:
    """Make sure that a benchmark may write into a folder.

    Args:
        out: The folder.
        dataset: The data set.
        given: Folder of the data as it was named.
        root: Folder whose children are its scenes.

    Raises:
        CompareError: If it is a file, a scene, or holds the data.
    """
    if out.is_file():
        raise CompareError(f"{out} is a file; choose a folder for the benchmark (--out)")
    if Workspace(out).config.exists():
        raise CompareError(f"{out} is a scene; choose a folder of its own for the benchmark (--out)")
    place, scenes = out.resolve(), {(root / scene).resolve() for scene in dataset.scenes}
    if place in (given.resolve(), root.resolve()) or scenes & {place, *place.parents}:
        raise CompareError(f"{out} holds the data; choose a folder of its own for the benchmark (--out)")


def _begun(
    earlier: Earlier,
    dataset: Dataset,
    scenes: tuple[str, ...],
    keys: Sequence[tuple[str, int, str]],
    settings: BenchmarkSettings,
    stages: RunSettings,
    photos: CaptureSettings,
    chosen: dict[str, str],
    out: Path,
) -> Benchmark:
    """A benchmark with what earlier calls came to.

    Raises:
        CompareError: If that is of another data set, or would be mixed with other settings or lost.
    """
    path = out / BENCHMARK_FILE
    wanted = Asked(plain(settings), plain(stages), plain(photos), chosen)
    if not check_goes_on(earlier, path, dataset.name, wanted, keys):
        return Benchmark(dataset, scenes, settings, stages, photos, out, chosen=chosen)
    together = tuple(name for name in dataset.scenes if name in (*scenes, *earlier.scenes))
    methods = list({method for _, _, method in keys})
    left = tuple(failure for failure in earlier.failures if failure.untried(scenes, settings.runs, methods))
    return Benchmark(
        dataset,
        together,
        settings,
        stages,
        photos,
        out,
        list(earlier.entries),
        failures_before=left,
        ran=dict(earlier.ran),
        chosen={**earlier.asked.chosen, **chosen},
    )


@dataclass(frozen=True, eq=False)
class _SceneData:
    """One scene of the data set, read.

    Attributes:
        files: Where it lies.
        capture: Its photos and poses.
        stamp: Which photos and labels these are, see `data_stamp`.
    """

    files: SceneFiles
    capture: Capture
    stamp: str


@dataclass(frozen=True, eq=False)
class _Work:
    """A benchmark under way.

    Attributes:
        result: What came out so far.
        chosen: Settings without any "auto".
        methods: Methods by name.
        photos: How photos are read.
        progress: Told about progress.
        progress_in_child: Makes what is told about progress in a method's process.
        replaces: Whether results of other settings lie there, which the first new one replaces.
    """

    result: Benchmark
    chosen: Chosen[BenchmarkSettings]
    methods: Sequence[str]
    photos: CaptureSettings
    progress: Reporter
    progress_in_child: Callable[[], Reporter]
    replaces: bool

    def write(self) -> None:
        """Write what the benchmark has come to; if that is nothing, results of other settings stay."""
        if self.result.entries or not self.replaces:
            self.result.write()

    @contextmanager
    def noting_failure(self, scene: str, run: int | None = None, method: str | None = None) -> Iterator[None]:
        """Whatever goes wrong inside is listed and said, and the benchmark goes on."""
        try:
            yield
        except Exception as error:
            reason = " ".join(str(error).split())
            if not isinstance(error, GagsError):
                reason = f"unexpected {type(error).__name__}: {reason}"
            failure = Failure(scene, reason, run, method)
            self.result.failures.append(failure)
            if method is not None:
                self.result.drop(scene, run, method)
            self.progress.warn(f"{failure.what}: {reason}")

    def read(self, root: Path, name: str, labels: Path | None) -> _SceneData:
        """Find a scene, read its photos and poses, and match its labels with them."""
        files = find_scene(self.result.dataset, root, name, labels)
        photos = self.photos
        if photos.images is None:
            photos = replace(photos, images=files.photos)
        capture = read_capture(files.capture, photos, progress=self.progress)
        check(capture, files.labels, self.methods, self.comparison(0), progress=self.progress)
        return _SceneData(files, capture, data_stamp(capture, files.labels))

    def others(self, root: Path, labels: Path | None, asked: Sequence[str]) -> dict[str, str]:
        """Data of the scenes that are not asked for and have results, as far as they are there; by name."""
        found = {}
        for name in dict.fromkeys(e.scene for e in self.result.entries if e.data and e.scene not in asked):
            with suppress(GagsError, OSError):
                found[name] = self.read(root, name, labels).stamp
        return found

    def comparison(self, run: int) -> CompareSettings:
        """Settings of the comparison that one run of one scene is."""
        settings = self.chosen.settings
        shared = {f.name: getattr(settings, f.name) for f in fields(MethodSettings)}
        return CompareSettings(
            **shared,
            seeds=1,
            first_seed=run,
            protocol=settings.protocol,
            labels_by=self.result.dataset.labels_by,
        )

    def run(self, data: _SceneData, run: int) -> None:
        """One run of one scene: Gaussians and masks, then every method."""
        files = data.files
        self.progress.say(f"{files.name}, run {run} ({run + 1} of {self.result.settings.runs})")
        folder, stages = self._folder(files.name, run), self._stages(run)
        with self._dropping_replaced(files.name, run):
            if run and self.result.settings.share_gaussians:
                first = self._folder(files.name, 0) / SCENE_FOLDER
                if not Workspace(first).splats.exists():
                    raise CompareError(f"run 0 has no Gaussians to share ({first}); see why it failed")
                take_gaussians(first, folder / SCENE_FOLDER)
            scene = shared_scene(data.capture, folder / SCENE_FOLDER, stages, progress=self.progress)
        about = {"reconstruct": scene.splats.settings, "describe": scene.masks.settings}
        self.result.ran.update({} if self.result.ran else about)
        preset = str(scene.masks.settings.get("preset", "lite"))  # the only one of earlier versions
        results = []
        for method in self.methods:
            with self.noting_failure(files.name, run, method):
                compared = compare(
                    None,
                    files.labels,
                    folder,
                    [method],
                    self.comparison(run),
                    scene=folder / SCENE_FOLDER,
                    stages=stages,
                    progress=self.progress,
                    progress_in_child=self.progress_in_child,
                )
                results += compared.methods
        for done in results:
            self.result.add(Entry(files.name, run, preset_of(done, preset), done, data.stamp))
        known = tuple(e.result for e in self.result.entries if (e.scene, e.run) == (files.name, run))
        if results:
            together = Comparison(files.labels, self.result.settings.protocol, scene.encoder, known)
            write_json(folder / COMPARISON_FILE, together.to_json())

    @contextmanager
    def _dropping_replaced(self, scene: str, run: int) -> Iterator[None]:
        """Take out what was made from Gaussians or masks that are replaced inside, also where that fails."""
        workspace = Workspace(self._folder(scene, run) / SCENE_FOLDER)
        before = _written(workspace)
        try:
            yield
        finally:
            now = _written(workspace)
            replaced = {path for path, state in before.items() if now.get(path) != state}
            if replaced:
                # The first run's Gaussians may be those of all runs.
                of_all = run == 0 and self.result.settings.share_gaussians and workspace.splats in replaced
                entries = [e for e in self.result.entries if e.scene == scene and (of_all or e.run == run)]
                gone = dict.fromkeys(entry.result.method for entry in entries)
                for other in {entry.run for entry in entries}:
                    self.result.drop(scene, other)
                self.write()  # at once: a call that is stopped must not leave them
                if others := ", ".join(method for method in gone if method not in self.methods):
                    self.progress.warn(
                        f"{scene}, run {run}: Gaussians or masks were made again, so figures of {others} "
                        "from the former ones are left out; run the same line with these methods"
                    )

    def _folder(self, scene: str, run: int) -> Path:
        return self.result.folder / scene / f"run_{run}"

    def _stages(self, run: int) -> RunSettings:
        """Settings of the stages with the seeds of a run."""
        stages, shared = self.chosen.stages, self.result.settings.share_gaussians
        return replace(
            stages,
            reconstruct=replace(stages.reconstruct, seed=0 if shared else run),
            describe=_seeded(stages.describe, run),
            distill=_seeded(stages.distill, run),
        )


def _written(workspace: Workspace) -> dict[Path, tuple[int, int]]:
    """When the Gaussians and masks of a scene were written, in ns, and their bytes; by file."""
    files = (workspace.splats, *workspace.descriptions.rglob("*.safetensors"))
    states = {path: path.stat() for path in files if path.is_file()}
    return {path: (state.st_mtime_ns, state.st_size) for path, state in states.items()}


def preset_of(result: MethodResult, shared: str) -> str:
    """Preset of a method's row: its own for methods such as `gags-paper`, else that of the shared scene."""
    return result.prompts if result.prompts in PRESETS else shared


def _seeded(settings: Any, seed: int) -> Any:
    """Settings, or changes to those of a preset by name, with another seed."""
    if settings is None or isinstance(settings, Mapping):
        return {**(settings or {}), "seed": seed}
    return replace(settings, seed=seed)
