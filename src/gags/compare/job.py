"""One method with one seed: learn language, ask it, keep both; what is on file and fits is not done again."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gags.compare.measure import peak_memory_mb, query_ms, query_seconds, query_stopwatch
from gags.compare.methods.learner import Inputs, Method, bytes_per_gaussian, checkpoint_beside, learnt_figures
from gags.compare.results import SeedResult
from gags.compare.scenes import Described
from gags.embed import load_encoder
from gags.evaluate.labels import LabelsBy, load_labels, match_frames, with_photos
from gags.evaluate.protocols import named_protocol
from gags.evaluate.score import evaluate
from gags.files import read_table, remove_temporaries, write_json
from gags.gaussians.own import load_splats_of
from gags.models.device import scene_device
from gags.progress import Reporter, StageClock
from gags.store import file_stamp, raised, stamp

RESULT_FORMAT = 1  # raised when a learner or a measurement changes, so that older results count as stale


@dataclass(frozen=True)
class Job:
    """What to do, and where it is kept.

    Attributes:
        method: The method.
        seed: Its seed.
        scene: Folder of the scene with the masks to learn from.
        labels: Folder of ground truth.
        labels_stamp: Hash of the labels, from `labels_stamp`.
        protocol: Rules of scoring.
        folder: Where `language.safetensors`, `language.json` and `scores.json` go.
        labels_by: How label files find their photos.
    """

    method: Method
    seed: int
    scene: Path
    labels: Path
    labels_stamp: str
    protocol: str
    folder: Path
    labels_by: LabelsBy = "name"

    @property
    def language(self) -> Path:
        """What was learnt."""
        return self.folder / "language.safetensors"

    def language_stamp(self, scene: Described) -> str:
        """Hash of all that what is learnt depends on."""
        learner, masks = self.method.learner, scene.masks.stamp
        rules = raised("lessons", getattr(learner, "lessons", 1))
        return stamp("language", RESULT_FORMAT, masks, type(learner).__name__, learner, self.seed, *rules)

    def scores_stamp(self, scene: Described) -> str:
        """Hash of all that the scores depend on."""
        rules = [self.protocol, self.labels_stamp]
        rules += [self.labels_by] if self.labels_by != "name" else []
        rules += raised("answers", getattr(self.method.learner, "answers", 1))
        return stamp("scores", RESULT_FORMAT, self.language_stamp(scene), *rules)

    def finished(self, scene: Described) -> SeedResult | None:
        """The result of an earlier run, if nothing it depends on has changed."""
        learnt, scores = self._records()
        fits = scores.get("stamp") == self.scores_stamp(scene)
        fits &= learnt.get("stamp") == self.language_stamp(scene)
        return _result(self.seed, learnt, scores) if fits else None

    def _records(self) -> tuple[dict[str, Any], dict[str, Any]]:
        return read_table(self.folder / "language.json"), read_table(self.folder / "scores.json")


def labels_stamp(labels: Path) -> str:
    """Hash of all labels of a folder, their exact masks included."""
    truth = sorted(path for path in labels.rglob("*") if path.suffix in (".json", ".png"))
    return stamp([[str(path.relative_to(labels)), file_stamp(path)] for path in truth])


def run_job(job: Job, progress: Callable[[], Reporter] = Reporter) -> None:
    """Learn and score what is missing or stale.

    Args:
        job: What to do.
        progress: Makes what is told about progress; called in the process that does the job.
    """
    clock = StageClock(progress())
    scene = Described.open(job.scene)
    learnt, _ = job._records()
    if learnt.get("stamp") != job.language_stamp(scene) or not job.language.exists():
        _learn(job, scene, clock)
    _score(job, scene, clock)


def _inputs(scene: Described, progress: Reporter) -> Inputs:
    return Inputs(
        load_splats_of(scene.workspace).to(scene_device(progress)),
        scene.descriptions(),
        load_encoder(scene.encoder),
        scene.capture.train,
        scene.segmenter,
    )


def _learn(job: Job, scene: Described, clock: StageClock) -> None:
    inputs, wanted = _inputs(scene, clock), job.language_stamp(scene)
    begun, checkpoint = job.folder / "learning.json", checkpoint_beside(job.language)
    if read_table(begun).get("stamp") != wanted:
        checkpoint.unlink(missing_ok=True)  # of other masks or settings, or of an earlier version
    write_json(begun, {"stamp": wanted})
    remove_temporaries(job.folder)
    began = time.perf_counter()
    job.method.learner.learn(inputs, job.seed, job.language, clock)
    record = {
        "stamp": wanted,
        "seconds": round(time.perf_counter() - began + clock.earlier, 2),
        "stages": {name: round(seconds, 2) for name, seconds in clock.seconds.items()},
        "bytes_per_gaussian": bytes_per_gaussian(job.language, len(inputs.gaussians)),
        "peak_memory_mb": peak_memory_mb(),
        "figures": learnt_figures(job.language),
    }
    write_json(job.folder / "language.json", record)
    for rest in (checkpoint, begun):
        rest.unlink(missing_ok=True)


def _score(job: Job, scene: Described, clock: StageClock) -> None:
    inputs = _inputs(scene, clock)
    answerer, encoder = job.method.learner.load(job.language, inputs), inputs.encoder
    labels = with_photos(load_labels(job.labels), scene.capture, job.labels_by)
    with query_stopwatch() as watch:
        result = evaluate(answerer, scene.capture, labels, encoder, job.protocol, progress=clock)
    frame, view = next(pair for pair in match_frames(labels, scene.capture) if pair[0].labels)
    texts = [label.category for label in frame.labels]
    record = {
        "stamp": job.scores_stamp(scene),
        "query_ms": query_ms(answerer, view.camera, texts, encoder, named_protocol(job.protocol)),
        "query_seconds": query_seconds(watch),
        "evaluation": result.to_json(),
        "peak_memory_mb": peak_memory_mb(),
    }
    write_json(job.folder / "scores.json", record)


def _result(seed: int, learnt: dict[str, Any], scores: dict[str, Any]) -> SeedResult | None:
    """The two records as one result; None if one is damaged."""
    try:
        return SeedResult(
            seed=seed,
            evaluation=scores["evaluation"],
            language_seconds=learnt["seconds"],
            stages=learnt["stages"],
            query_ms=scores["query_ms"],
            bytes_per_gaussian=learnt["bytes_per_gaussian"],
            peak_memory_mb=_largest(learnt["peak_memory_mb"], scores["peak_memory_mb"]),
            query_seconds=scores.get("query_seconds", {}),  # not in those of earlier versions
            figures=learnt.get("figures", {}),
        )
    except (KeyError, TypeError):
        return None


def _largest(*values: float | None) -> float | None:
    return max((value for value in values if value is not None), default=None)
