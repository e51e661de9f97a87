"""One scene from photos to its report, with the work done by a crew."""

import shutil
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from gags import pipeline
from gags.errors import WorkspaceError
from gags.pipeline.describing import DescribePlan, SpentTime, finish_describe, keep_preset, plan_describe
from gags.progress import Bar, Reporter, StageClock
from gags.scale.copies import SCENE, inside, read_array, write_array
from gags.scale.crew import Crew, Task, WorkerLostError
from gags.scale.events import Described, Event, FileGone, FileMade, Replay
from gags.scale.jobs import Begun, Job, SceneWork, Stage, files_of
from gags.scale.locks import look_again
from gags.workspace import Workspace

MOST_PHOTOS = 8  # of a job: what is lost with a worker is small, and its two halves overlap
ROUNDS = 3  # jobs of each worker at the photos of a scene, at least: the last ones end at about one time


class SceneDriver:
    """Takes one scene through its stages; other threads do other scenes.

    Args:
        scene: What is asked for.
        crew: Does the work.
        rank: Scenes of a lower rank come first.
        workers: How many workers there may be.
        progress: Told about progress.

    Attributes:
        lost: How many workers were lost, by stage.
    """

    def __init__(self, scene: SceneWork, crew: Crew, *, rank: int, workers: int, progress: Reporter) -> None:
        self._scene, self._crew, self._rank, self._workers = scene, crew, rank, workers
        self._progress = progress
        self._workspace = Workspace(scene.out)
        self._sent: dict[str, tuple[str, Any]] = {}
        self._lock = threading.Lock()  # photos are described by several workers at once
        self.lost: dict[str, int] = {}

    def run(self, *, report: bool) -> None:
        """All stages.

        Args:
            report: Whether the pages of the report are written if anything is newer than they are.

        Raises:
            GagsError: If an input is unfit, a model is missing, or workers are lost again and again.
        """
        begun = self._do(Job(self._scene, "reconstruct"))
        self._describe(begun)
        self._do(Job(self._scene, "distill", begun))
        self._do(Job(self._scene, "things", begun))
        if report and not has_report(self._workspace):
            self._do(Job(self._scene, "report", begun))

    def _do(self, job: Job) -> Any:
        """Have one job done."""
        replay = Replay(self._progress)
        try:
            result = self._submit(job, replay.show, replay.stop).result()
        except Exception as error:
            replay.stop(error)
            raise
        look_again(self._workspace)
        return result

    def _describe(self, begun: Begun) -> None:
        """All photos, a few at a time."""
        workspace = self._workspace
        capture, splats = pipeline.reconstructed(workspace)
        plan = plan_describe(
            workspace,
            capture,
            begun.chosen,
            splats=splats,
            segmenter=begun.segmenter,
            encoder=begun.encoder,
            embeddings=begun.embeddings,
            progress=self._progress,
        )
        total, spent = len(capture.train), SpentTime(workspace, plan)
        if plan.is_done(workspace):
            spent.forget()
            self._progress.say(f"Masks and embeddings: done already for {total} photos")
            keep_preset(workspace, "describe", plan.settings, plan.chosen.preset, self._progress)
            return
        clock = StageClock(self._progress)
        with clock.stage("Segmenting and embedding", total, "photos") as bar:
            spent.begin(bar, total - len(plan.waiting))
            size = max(1, min(MOST_PHOTOS, len(plan.waiting) // (ROUNDS * self._workers)))
            parts = [plan.waiting[start : start + size] for start in range(0, len(plan.waiting), size)]
            _all_done([self._describe_some(begun, plan, part, bar, spent) for part in parts])
        look_again(workspace)
        finish_describe(workspace, capture, plan, clock.elapsed)
        spent.forget()

    def _describe_some(
        self, begun: Begun, plan: DescribePlan, photos: tuple[str, ...], bar: Bar, spent: SpentTime
    ) -> "Future[Any]":
        replay, left = Replay(self._progress), set(photos)
        short = replace(plan, waiting=photos, unsegmented=plan.unsegmented & left)

        def hear(event: Event) -> None:
            if not isinstance(event, Described):
                replay.show(event)
            elif event.photo in left:
                left.discard(event.photo)
                note = "" if event.masks is None else f"{event.masks} masks in {event.photo}"
                with self._lock:
                    spent.save()
                    bar.advance(note=note)

        return self._submit(Job(self._scene, "describe", begun, short, photos), hear, replay.stop, left)

    def _submit(
        self,
        job: Job,
        hear: Callable[[Event], None],
        stop: Callable[[Exception], None],
        left: set[str] | None = None,
    ) -> "Future[Any]":
        """Send a job to the crew.

        Args:
            job: The job.
            hear: Takes events that are not about files.
            stop: Called when a worker is lost.
            left: Photos that are still to be described, if that is the job.
        """

        def write(event: Event) -> None:
            if isinstance(event, FileMade):
                write_array(inside(self._workspace.root, event.name), event.content)
            elif isinstance(event, FileGone):
                inside(self._workspace.root, event.name).unlink(missing_ok=True)
            else:
                hear(event)

        def lost(error: WorkerLostError) -> None:
            stop(error)
            if left is not None:
                task.job = replace(job, photos=tuple(sorted(left)))
            with self._lock:
                self.lost[job.stage] = self.lost.get(job.stage, 0) + 1
            self._progress.warn(f"a worker was lost at {job.stage} ({error}); another one goes on")

        task = Task(job, write, lambda: self._files(job.stage, task.job), self._rank, lost)
        return self._crew.submit(task)

    def _files(self, stage: Stage, job: Job) -> dict[str, tuple[str, Any]]:
        """Contents of the files that a job needs, by name, and the version of each."""
        named = {f"{SCENE}/{path.relative_to(self._workspace.root).as_posix()}": path
                 for path in _needed(self._workspace, stage, job)}  # fmt: skip
        inputs = {"capture": self._scene.capture, "splats": self._scene.splats, "masks": self._scene.masks}
        for kind, root in (inputs | {"test_list": self._scene.photos.test_list}).items():
            for path in files_of(root) if root is not None else ():
                named[f"{kind}/{path.relative_to(root.parent).as_posix()}"] = path  # type: ignore[union-attr]
        with self._lock:
            self._sent = {name: self._version(name, path) for name, path in named.items()}
            return dict(self._sent)

    def _version(self, name: str, path: Path) -> tuple[str, Any]:
        """Version of a file, and its content in the cluster's memory; it is put there once."""
        try:
            status = path.stat()
            version = f"{status.st_size} {status.st_mtime_ns}"
            known = self._sent.get(name)
            return known if known is not None and known[0] == version else (version, self._put(path))
        except OSError as error:
            raise WorkspaceError(f"{path} cannot be read ({error.strerror})") from error

    def _put(self, path: Path) -> Any:
        return self._crew.put(read_array(path))


def has_report(workspace: Workspace) -> bool:
    """Whether the report was written after the last stage."""
    try:
        written = (workspace.report / "index.html").stat().st_mtime_ns
        return written >= workspace.config.stat().st_mtime_ns
    except OSError:
        return False


def _needed(workspace: Workspace, stage: Stage, job: Job) -> list[Path]:
    """Files of a scene's folder that a stage reads."""
    root = workspace.root
    if stage == "describe":
        kept = [workspace.description(photo) for photo in job.photos]
        own = [workspace.config, workspace.capture, workspace.splats, *kept]
        return [*(path for path in own if path.is_file()), *_below(workspace.poses)]
    made = {workspace.answers, workspace.catalog, workspace.report, workspace.viewer}
    others = made | {workspace.run, workspace.descriptions}
    paths = [path for path in root.iterdir() if path.is_file() and not path.name.startswith(".")]
    for folder in root.iterdir():
        if folder.is_dir() and folder not in others:
            paths += _below(folder)
    paths += [path for path in _below(workspace.report) if path.suffix == ".json"]
    return paths if stage == "reconstruct" else paths + _below(workspace.descriptions)


def _below(folder: Path) -> list[Path]:
    return list(files_of(folder)) if folder.is_dir() else []


def _all_done(futures: "list[Future[Any]]") -> None:
    """Wait for jobs; if one fails, those that have not begun are left out."""
    waiting = set(futures)
    failed: BaseException | None = None
    while waiting:
        done, waiting = wait(waiting, return_when="FIRST_EXCEPTION")
        for future in done:
            error = None if future.cancelled() else future.exception()
            failed = failed or error
        for future in waiting if failed else ():
            future.cancel()
    if failed is not None:
        raise failed


@contextmanager
def without_traces(workspace: Workspace) -> Iterator[None]:
    """Leave no folder behind for a scene that failed before anything of it was made."""
    new = not workspace.root.exists()
    missing = [folder for folder in workspace.root.absolute().parents if not folder.exists()]
    try:
        yield
    except BaseException:
        made = {path.name for path in workspace.root.iterdir()} if workspace.root.is_dir() else set()
        if new and made <= {workspace.config.name, workspace.run.name}:
            shutil.rmtree(workspace.root, ignore_errors=True)
            with suppress(OSError):  # another scene may be in one of them by now
                for folder in missing:
                    folder.rmdir()
        raise
