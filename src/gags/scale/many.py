"""Many captures → as many scenes, one after the other or on a cluster."""

import os
import time
import traceback
import uuid
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from pathlib import Path

from gags import pipeline
from gags.capture.mask_files import AUTO, NONE
from gags.errors import GagsError
from gags.pipeline.settings import CaptureSettings, RunSettings, check_settings
from gags.progress import SILENT, Reporter
from gags.scale.cluster import (
    check_machines,
    check_of,
    choose_share,
    connected,
    shares_now,
    wait_for_room,
)
from gags.scale.crew import Crew, WorkerError
from gags.scale.driver import SceneDriver, has_report, without_traces
from gags.scale.events import SceneReporter
from gags.scale.jobs import SceneWork, listing
from gags.scale.locks import driving, working
from gags.scene import Scene
from gags.workspace import Workspace

MOST_SCENES = 256  # at once: each has a thread in the driver


@dataclass(frozen=True)
class SceneResult:
    """What became of one capture.

    Attributes:
        name: Of the scene.
        capture: Its photos.
        out: Folder of the scene.
        seconds: From its first job to its last.
        error: Why there is no finished scene; None if there is one.
        lost: How many workers were lost on the way, by stage.
        details: Traceback, if the reason is a fault of the program; else empty.
    """

    name: str
    capture: Path
    out: Path
    seconds: float
    error: str | None = None
    lost: dict[str, int] = field(default_factory=dict)
    details: str = ""


def run_many(
    captures: Sequence[Path | str],
    out: Path | str,
    settings: RunSettings = RunSettings(),
    *,
    photos: CaptureSettings = CaptureSettings(),
    ray: str | None = None,
    gpus_per_scene: float | None = None,
    cpus_per_scene: int | None = None,
    report: bool = True,
    progress: Reporter = SILENT,
) -> list[SceneResult]:
    """Captures → scenes that answer text; one that fails does not stop the others. Resumes an earlier run.

    Args:
        captures: Photos, each folder or video as `gags.run` takes it.
        out: Folder of the scenes; each gets a folder there with the name of its capture.
        settings: Settings of every stage, the same for all.
        photos: How photos are read, likewise.
        ray: Where the work is done: "local" (workers on this machine), "auto" or HOST:PORT (a Ray cluster
            that this machine belongs to); None does one scene after the other in this process.
        gpus_per_scene: GPUs a worker takes, of a Ray cluster; a fraction shares one. Default: 1 where there
            are any, else 0.
        cpus_per_scene: Cores a worker takes, and no more threads. Default: those of a machine, divided among
            the scenes.
        report: Whether the pages of the reports are written at the end.
        progress: Told about progress.

    Returns:
        What became of each capture, in their order.

    Raises:
        GagsError: If there are no captures, two would get the same folder, the extra `scale` is missing, or
            the cluster cannot be reached or cannot do the work. Finished pieces stay.
    """
    check_settings(settings)
    if ray is None and (gpus_per_scene is not None or cpus_per_scene is not None):
        raise GagsError("--gpus-per-scene and --cpus-per-scene divide a cluster; give --ray, too")
    scenes = _works(captures, Path(out), settings, photos)
    with progress.stage("Scenes", len(scenes), "scenes") as bar:
        results: dict[str, SceneResult] = {}

        def ended(result: SceneResult, _: Exception | None) -> None:
            results[result.name] = result
            if result.error is not None:
                progress.warn(f"{result.name} failed: {result.error}")
            bar.advance(note=f"{result.name} {'failed' if result.error else 'done'}")

        if ray is None:
            for scene in scenes:
                ended(*_alone(scene, report, SceneReporter(scene.name, progress)))
        else:
            share = (cpus_per_scene, gpus_per_scene)
            _on_cluster(scenes, ray, share, ended, report=report, named=True, progress=progress)
    return [results[scene.name] for scene in scenes]


def run_on_ray(
    capture: Path | str,
    out: Path | str,
    settings: RunSettings = RunSettings(),
    *,
    photos: CaptureSettings = CaptureSettings(),
    splats: Path | None = None,
    ray: str = "local",
    gpus_per_scene: float | None = None,
    cpus_per_scene: int | None = None,
    report: bool = True,
    progress: Reporter = SILENT,
) -> Scene:
    """`gags.run` with its work done on a Ray cluster: many machines describe the photos of one scene.

    Args:
        capture: Folder of photos, or a video.
        out: Folder of the scene.
        settings: Settings of every stage.
        photos: How photos are read.
        splats: 3DGS `.ply` to adopt instead of training Gaussians.
        ray: "local" (workers on this machine), "auto" or HOST:PORT, see `run_many`.
        gpus_per_scene: GPUs a worker takes, see `run_many`.
        cpus_per_scene: Cores a worker takes, see `run_many`.
        report: Whether the pages of the report are written at the end.
        progress: Told about progress.

    Returns:
        The scene, ready to be asked.

    Raises:
        GagsError: As `run`, and if the extra `scale` is missing or the cluster cannot be reached.
    """
    check_settings(settings)
    scene = _work(_absolute(capture), _absolute(out), settings, _absolute_list(photos, _absolute(capture)))
    scene = replace(scene, splats=splats and _absolute(splats))
    errors: list[Exception] = []

    def ended(_: SceneResult, error: Exception | None) -> None:
        if error is not None:
            errors.append(error)

    share = (cpus_per_scene, gpus_per_scene)
    _on_cluster([scene], ray, share, ended, report=report, named=False, progress=progress)
    if errors:
        raise errors[0]
    return Scene.load(out, progress=progress)


def _works(
    captures: Sequence[Path | str], out: Path, settings: RunSettings, photos: CaptureSettings
) -> list[SceneWork]:
    """One piece of work a capture, each with a folder of its own.

    Raises:
        GagsError: If there is none, or two would get the same folder.
    """
    if not captures:
        raise GagsError("there are no captures; name at least one folder of photos or video")
    scenes: dict[str, SceneWork] = {}
    for capture in captures:
        path = _absolute(capture)
        name = path.stem if path.is_file() else path.name
        if not name:
            raise GagsError(f"{capture} has no name that a folder of {out} could get; name a folder in it")
        same = scenes.get(name.casefold())  # on some disks, "Desk" and "desk" are one folder
        if same is not None:
            raise GagsError(
                f"{same.capture} and {path} would both become {out / name}; rename one of them, or run it "
                "with another --out"
            )
        scenes[name.casefold()] = _work(path, _absolute(out) / name, settings, _absolute_list(photos, path))
    return list(scenes.values())


def _work(capture: Path, out: Path, settings: RunSettings, photos: CaptureSettings) -> SceneWork:
    return SceneWork(out.name, capture, out, settings, photos, run=uuid.uuid4().hex)


def _absolute(path: Path | str) -> Path:
    return Path(os.path.abspath(Path(path).expanduser()))


def _absolute_list(photos: CaptureSettings, capture: Path) -> CaptureSettings:
    """The same, wherever a worker runs; masks that are not here are looked for in the capture, as always."""
    photos = replace(photos, test_list=photos.test_list and _absolute(photos.test_list))
    if photos.masks in (AUTO, NONE):
        return photos
    inside = not _absolute(photos.masks).exists() and (capture / photos.masks).exists()
    return photos if inside else replace(photos, masks=str(_absolute(photos.masks)))


def _alone(scene: SceneWork, report: bool, progress: Reporter) -> tuple[SceneResult, Exception | None]:
    """One scene in this process."""

    def work() -> None:
        workspace = Workspace.create(scene.out)
        with driving(workspace, scene.run, progress), working(workspace, scene.run, alone=True):
            pipeline.run(
                scene.capture,
                scene.out,
                scene.settings,
                photos=scene.photos,
                splats=scene.splats,
                report=report and not has_report(workspace),
                progress=progress,
            )

    return _tried(scene, work, {})


def _tried(
    scene: SceneWork, work: Callable[[], None], lost: dict[str, int]
) -> tuple[SceneResult, Exception | None]:
    """Whatever is wrong with a scene becomes its result."""
    started, failed = time.monotonic(), None
    try:
        with without_traces(Workspace(scene.out)):
            work()
    except Exception as error:
        failed = error
    seconds = time.monotonic() - started
    result = SceneResult(scene.name, scene.capture, scene.out, seconds, lost=lost)
    if failed is None:
        return result, None
    words = " ".join(str(failed).split())
    if isinstance(failed, GagsError | OSError):
        return replace(result, error=words), failed
    kind = "" if isinstance(failed, WorkerError) else f"{type(failed).__name__}: "
    details = "".join(traceback.format_exception(failed))
    return replace(result, error=f"unexpected {kind}{words}; please report it", details=details), failed


def _on_cluster(
    scenes: Sequence[SceneWork],
    address: str,
    share: tuple[int | None, float | None],
    ended: Callable[[SceneResult, Exception | None], None],
    *,
    report: bool,
    named: bool,
    progress: Reporter,
) -> None:
    """All scenes on a Ray cluster: as many at once as there are workers, and one that waits for the next.

    Args:
        scenes: The scenes.
        address: Of the cluster.
        share: Cores and GPUs of a worker, where the user says so.
        ended: Called with what became of each scene, when it ends.
        report: Whether reports are written.
        named: Whether the name of the scene stands before what is told of it.
        progress: Told about progress.
    """
    with connected(address):
        each = choose_share(len(scenes), *share)
        wait_for_room(each, address, progress)
        check_machines(each, scenes[0].settings, progress)
        check = check_of(scenes[0].settings, each)

        def do(rank: int, scene: SceneWork) -> tuple[SceneResult, Exception | None]:
            told = SceneReporter(scene.name, progress) if named else progress
            scene = replace(scene, listing=listing(scene.inputs()))
            driver = SceneDriver(scene, crew, rank=rank, workers=max(1, shares_now(each)), progress=told)

            def work() -> None:
                with driving(Workspace.create(scene.out), scene.run, told):
                    driver.run(report=report)

            return _tried(scene, work, driver.lost)

        with ThreadPoolExecutor(MOST_SCENES, "gags-scene") as threads, Crew(each, check) as crew:
            waiting = deque(enumerate(scenes))
            running: set[Future[tuple[SceneResult, Exception | None]]] = set()
            while waiting or running:
                while waiting and len(running) < min(MOST_SCENES, shares_now(each) + 1):
                    running.add(threads.submit(do, *waiting.popleft()))
                done, running = wait(running, timeout=1.0, return_when="FIRST_COMPLETED")
                for future in done:
                    ended(*future.result())
