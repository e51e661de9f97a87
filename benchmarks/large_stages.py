"""The stages that `benchmarks/large.py` measures.

Each takes a large scene and the case, and returns what does the stage, and what says something of its result.
"""

import shutil
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import torch

import gags.scene
from benchmarks.describe_memory import Discs, repeated
from benchmarks.large import TEXTS, VIEW, Case
from benchmarks.large_scene import DIFFERENT, Made, Thumbnails
from gags import outputs, pipeline
from gags.capture import Capture, load_capture, read_saved_capture
from gags.embed.description import Description
from gags.progress import Bar, Reporter
from gags.query.relevancy import Queries, counted_phrases
from gags.reconstruct.settings import ReconstructSettings
from gags.reconstruct.train import train_gaussians
from gags.scene import Scene
from gags.segment.settings import DescribeSettings
from gags.things.things import Things
from gags.workspace import Workspace

Stage = tuple[Callable[[], object], Callable[[], str]]
PROMPTS = DescribeSettings(prompts_per_patch=1)
STEPS = 100  # of distillation
ASKED = ("a", "b c")  # letters draw their directions


def prepare(made: Made, case: Case) -> None:
    """Make what a stage needs of the stages before it."""
    if case.stage not in ("describe", "distill", "things", "ask"):
        return
    _stand_ins()
    scene = made.scene(case.photos)
    if not (scene / "config.toml").exists():
        pipeline.reconstruct(_capture(made, case.photos), scene, splats=made.splats)
    if case.stage == "describe":
        return
    if Workspace.open(scene).record("describe") is None:
        if case.photos <= DIFFERENT:
            pipeline.describe(scene, PROMPTS)
        else:
            prepare(made, replace(case, photos=DIFFERENT))
            describe_alike(Workspace.open(made.scene(DIFFERENT)), Workspace.open(scene))
    if case.stage == "ask" and not (scene / "field.safetensors").exists():
        pipeline.distill(scene, {"steps": STEPS}, preset="lite")


def adopt(made: Made, case: Case) -> Stage:
    """Gaussians of another program, with the check that they fit the photos."""
    capture, scene = _capture(made, case.photos), made.folder / "adopted"
    shutil.rmtree(scene, ignore_errors=True)
    return lambda: pipeline.reconstruct(capture, scene, splats=made.splats), lambda: ""


def train(made: Made, case: Case) -> Stage:
    """A step on every photo at full size, with as many Gaussians from the start."""
    capture, steps = _capture(made, case.photos), case.photos
    settings = ReconstructSettings(
        steps=steps,
        max_gaussians=case.gaussians,
        resolutions=((0.0, 1),),
        fill_holes_at=0,
        densify_from=steps + 1,
        densify_every=steps + 1,
        prune_weight=0.0,
    )

    def work() -> float:
        steps_began = StageStarts()
        train_gaussians(capture, settings, progress=steps_began)
        return time.perf_counter() - steps_began.last

    return work, lambda: f"{steps} steps; s are theirs alone"


def describe(made: Made, case: Case) -> Stage:
    """Masks and embeddings by stand-ins, one prompt a patch."""
    scene = made.scene(case.photos)
    shutil.rmtree(scene / "features", ignore_errors=True)
    _stand_ins()

    def note() -> str:
        counts = Workspace.open(scene).read_metrics()["masks"]
        stored = sum(file.stat().st_size for file in (scene / "features").rglob("*.safetensors"))
        masks, size = sum(counts.values()) // case.photos, stored / 1e6 / case.photos
        return f"{masks} masks and {size:.1f} MB of features a photo"

    return lambda: pipeline.describe(scene, PROMPTS), note


def distill(made: Made, case: Case) -> Stage:
    """The language field by the preset `lite`, with a tenth of its steps."""
    scene = made.scene(case.photos)
    (scene / "field.safetensors").unlink(missing_ok=True)
    return lambda: pipeline.distill(scene, {"steps": STEPS}, preset="lite"), lambda: f"{STEPS} steps"


def things(made: Made, case: Case) -> Stage:
    """What the scene consists of."""
    scene, found = made.scene(case.photos), list[Things]()
    (scene / "things.safetensors").unlink(missing_ok=True)
    return lambda: found.append(pipeline.things(scene)), lambda: f"{len(found[0])} things"


def ask(made: Made, case: Case) -> Stage:
    """Two texts located and answered in the photos that show them best, the catalogue, and the report."""
    _stand_ins()

    def work() -> None:
        scene = Scene.load(made.scene(case.photos))
        scene.locate(ASKED)
        scene.query(ASKED)
        outputs.write_catalog(scene, ("a", "b", "c"))
        outputs.report(scene, ASKED)

    return work, lambda: ""


def open(made: Made, case: Case) -> Stage:
    """A finished scene from disk until it has answered its first text in a view."""
    known = Scene.load(made.finished)
    texts = _texts(known, 1)
    del known

    def work() -> float:
        started, spent = time.perf_counter(), time.process_time()
        scene = Scene.load(made.finished)
        seconds.append(time.perf_counter() - started)
        _answered(scene, texts[0])
        seconds.append(time.process_time() - spent)
        return time.perf_counter() - started

    seconds: list[float] = []
    return work, lambda: f"{seconds[0]:.2f} s of it to load"


def text(made: Made, case: Case) -> Stage:
    """A new text in a view that was asked before: from its vector to relevancy map, peak and mask."""
    scene = Scene.load(made.finished)
    texts = _texts(scene, TEXTS + 2)

    def work() -> float:
        for queries in texts:
            started, spent = time.perf_counter(), time.process_time()
            _answered(scene, queries)
            times.append(time.perf_counter() - started)
            spent_by_threads.append(time.process_time() - spent)
        return statistics.median(times[2:])

    def note() -> str:
        spent, best = statistics.median(spent_by_threads[2:]), min(times[2:])
        return f"a text {1000 * spent:.0f} ms of processor, {1000 * best:.0f} ms at best"

    times: list[float] = []
    spent_by_threads: list[float] = []
    return work, note


class StageStarts(Reporter):
    """Remembers when the last stage began."""

    last = 0.0

    @contextmanager
    def stage(self, name: str, total: int, unit: str = "steps") -> Iterator[Bar]:
        self.last = time.perf_counter()
        yield Bar(total)


def _capture(made: Made, photos: int) -> Capture:
    """So many photos, each as often as needed."""
    return repeated(load_capture(made.capture, test_every=0), photos)


def describe_alike(described: Workspace, scene: Workspace) -> None:
    """Give photos that are described elsewhere, under other names, the same masks, under their own."""
    record, made = described.record("describe"), scene.record("reconstruct")
    if record is None or made is None:
        raise SystemExit(f"{described.root} is not described")
    views = read_saved_capture(scene.capture).train
    for number, view in enumerate(views[:DIFFERENT]):
        known = Description.load(described.description(view.name))
        for alike in views[number::DIFFERENT]:
            known.save(scene.description(alike.name))
    scene.finish("describe", record.stamp, 0.0, record.settings | {"splats": made.stamp})


def _answered(scene: Scene, queries: Queries) -> None:
    scene._negatives = queries.negatives  # as after a first text
    scene.query(queries, scene.capture.views[0].camera.resized(*VIEW))


def _texts(scene: Scene, count: int) -> list[Queries]:
    """Texts that mean things of the scene, in the space of its encoder, which is not loaded."""
    rng = np.random.default_rng(0)
    vectors = scene.things().embeddings.astype(np.float32)
    noise = 1.5 * rng.standard_normal((75, vectors.shape[1])) / np.sqrt(vectors.shape[1])
    phrases = torch.from_numpy(vectors[rng.choice(len(vectors), 75)] + noise).float()
    phrases = torch.nn.functional.normalize(phrases, dim=1)
    found = []
    for thing in rng.choice(np.flatnonzero(scene.things().photos > 0), count, replace=False).tolist():
        vector = torch.nn.functional.normalize(torch.from_numpy(vectors[[thing]]), dim=1)
        counted = counted_phrases(vector, phrases, 0.6)
        found.append(Queries((f"thing {thing}",), vector, phrases, 20.0, counted))
    return found


def _stand_ins() -> None:
    """Put stand-ins where the pipeline and the scene take segmenter and encoder from."""
    pipeline.choose_models = lambda workspace, *names, progress: ("discs", "thumbnails")
    pipeline.load_segmenter = lambda name, progress: Discs()
    pipeline.load_encoder = lambda name, progress: Thumbnails()
    gags.scene.load_encoder = lambda name: Thumbnails()
