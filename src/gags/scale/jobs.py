"""Jobs: pieces of the work on a scene, and what does them on whichever machine they land."""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from gags import pipeline
from gags.distill.presets import ChosenSettings
from gags.embed import load_encoder
from gags.embed.description import Descriptions
from gags.outputs import report
from gags.pipeline.describing import DescribePlan, Segment, describe_photos, segmenting
from gags.pipeline.settings import CaptureSettings, RunSettings, check_settings
from gags.progress import Reporter
from gags.scale.copies import OwnCopy
from gags.scale.events import Described, Event, LinesOnly, NeedsFiles, Teller, stream
from gags.scale.locks import mark, working
from gags.scene import Scene
from gags.segment import load_segmenter
from gags.store import stamp
from gags.workspace import Workspace

Stage = Literal["reconstruct", "describe", "distill", "things", "report"]


@dataclass(frozen=True)
class SceneWork:
    """What is to become of one capture; the same in every process.

    Attributes:
        name: Of the scene.
        capture: Photos and poses, photos alone, or a video; an absolute path, as all others here.
        out: Folder of the scene.
        settings: Settings of every stage.
        photos: How photos are read.
        splats: 3DGS `.ply` to adopt instead of training Gaussians.
        run: Mark of the driver in the scene's folder, see `gags.scale.locks`.
        listing: What `listing` says of the inputs on the driver's machine.
    """

    name: str
    capture: Path
    out: Path
    settings: RunSettings
    photos: CaptureSettings
    splats: Path | None = None
    run: str = ""
    listing: str = ""

    def inputs(self) -> list[Path]:
        """Files and folders that the work reads besides the scene's folder."""
        named = (self.capture, self.splats, self.photos.test_list, self.masks)
        return [path for path in named if path is not None]

    @property
    def masks(self) -> Path | None:
        """Folder of masks, or one mask, outside of the capture; None if there is none."""
        return Path(self.photos.masks) if Path(self.photos.masks).is_absolute() else None


@dataclass(frozen=True)
class Begun:
    """What the first job of a scene finds out.

    Attributes:
        segmenter: Model that cuts its photos into masks.
        encoder: Model that embeds masks and texts.
        embeddings: `name` and `dim` of the encoder once it is loaded.
        chosen: Preset and settings.
    """

    segmenter: str
    encoder: str
    embeddings: tuple[str, int]
    chosen: ChosenSettings


@dataclass(frozen=True, eq=False)
class Job:
    """A piece of the work on a scene that one worker does at a time.

    Attributes:
        scene: The scene.
        stage: The stage; `reconstruct` finds poses first if there are none.
        begun: What the first job found out; None for that one.
        plan: What to describe.
        photos: Names of the photos to describe.
        files: Contents of files by name for workers that do not share the disk, and what they were read from,
            see `gags.scale.copies`; None as long as none is known to need them.
    """

    scene: SceneWork
    stage: Stage
    begun: Begun | None = None
    plan: DescribePlan | None = None
    photos: tuple[str, ...] = ()
    files: dict[str, tuple[str, Any]] | None = None


def begin(scene: SceneWork, progress: Reporter) -> Begun:
    """Everything of a scene up to its Gaussians, and that both models can be loaded."""
    settings, splats = scene.settings, scene.splats
    check_settings(settings)
    capture = pipeline.read_capture(
        scene.capture,
        scene.photos,
        require_points=splats is None,
        find_poses_in=scene.out,
        poses=settings.poses,
        progress=progress,
    )
    workspace = Workspace.create(scene.out)
    segmenter, encoder = pipeline.choose_models(
        workspace, settings.segmenter, settings.encoder, progress=progress
    )
    chosen = pipeline.chosen_settings(
        workspace, settings, segmenter=segmenter, encoder=encoder, progress=progress
    )
    pipeline.reconstruct(capture, workspace, settings.reconstruct, splats=splats, progress=progress)
    embedder = load_encoder(encoder, progress)
    return Begun(segmenter, encoder, (embedder.name, embedder.dim), chosen)


def listing(paths: Sequence[Path]) -> str:
    """Hash of the names and sizes of files: equal where the same inputs lie on the disk."""
    return stamp([[path.name, str(size)] for root in paths for path, size in _files(root)])


def _files(root: Path) -> Iterator[tuple[Path, int]]:
    for path in files_of(root):
        try:
            yield path, path.stat().st_size
        except OSError:  # a link that leads nowhere, or no rights
            yield path, -1


def files_of(root: Path) -> Iterator[Path]:
    """All files of a folder, by name, through links but in no circle; or the file itself."""
    if not root.is_dir():
        yield root
        return
    seen: set[str] = set()
    for folder, folders, names in os.walk(root, followlinks=True):
        real = os.path.realpath(folder)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders.sort()
        yield from (Path(folder, name) for name in sorted(names))


def is_on_this_disk(scene: SceneWork) -> bool:
    """Whether this machine sees the scene's folder and the inputs as the driver does, and may write there."""
    workspace = Workspace(scene.out)
    if mark(workspace) != scene.run or not workspace.is_writable():
        return False
    return listing(scene.inputs()) == scene.listing


class JobRunner:
    """Does jobs, one after the other; models are loaded once.

    Args:
        fetch: Gives the contents of files that a job names in `files`. → uint8 [n] each
    """

    def __init__(self, fetch: Callable[[list[Any]], list[np.ndarray]]) -> None:
        self._fetch = fetch
        self._models: dict[tuple[str, str], Any] = {}
        self._segment: tuple[str, Segment] | None = None
        self._copy: OwnCopy | None = None
        self._shared: set[str] = set()  # runs and scenes whose inputs were looked up

    def run(self, job: Job) -> Iterator[list[Event]]:
        """Do a job; the last event says how it ended."""
        scene = job.scene
        if self._is_shared(scene):
            yield from stream(lambda teller: self._on_shared_disk(job, teller))
        elif job.files is None:
            yield [NeedsFiles()]
        else:
            copy = self._copy_of(scene)
            yield from stream(lambda teller: self._on_copy(job, copy, teller), copy.new_checkpoints)

    def close(self) -> None:
        """Remove files that only this runner knows."""
        if self._copy is not None:
            self._copy.remove()

    def _is_shared(self, scene: SceneWork) -> bool:
        key = f"{scene.run} {scene.out}"
        if key in self._shared:  # a listing can be long
            return mark(Workspace(scene.out)) == scene.run
        if not is_on_this_disk(scene):
            return False
        self._shared.add(key)
        return True

    def _on_shared_disk(self, job: Job, teller: Teller) -> Any:
        with working(Workspace(job.scene.out), job.scene.run, alone=job.stage != "describe"):
            return self._do(job, job.scene, teller, None)

    def _copy_of(self, scene: SceneWork) -> OwnCopy:
        if self._copy is not None and self._copy.of != (scene.run, scene.out):
            self.close()
            self._copy = None
        if self._copy is None:
            self._copy = OwnCopy((scene.run, scene.out))
        return self._copy

    def _on_copy(self, job: Job, copy: OwnCopy, teller: Teller) -> Any:
        scene = job.scene
        copy.fill(job.files or {}, self._fetch)
        copy.move_capture(scene.capture, scene.masks)
        here = replace(
            scene,
            capture=copy.path("capture", scene.capture),
            out=copy.scene,
            splats=scene.splats and copy.path("splats", scene.splats),
            photos=replace(
                scene.photos,
                test_list=scene.photos.test_list and copy.path("test_list", scene.photos.test_list),
                masks=str(copy.path("masks", scene.masks)) if scene.masks else scene.photos.masks,
            ),
        )
        moved = list(zip([here.out, *here.inputs()], [scene.out, *scene.inputs()], strict=True))
        copy.remember()
        result = self._do(job, here, teller, copy)
        for event in copy.changes(moved):
            teller.tell(event)
        return result

    def _do(self, job: Job, scene: SceneWork, teller: Teller, copy: OwnCopy | None) -> Any:
        if job.stage == "reconstruct":
            begun = begin(scene, teller)
            self._segment = None  # the Gaussians may be others now
            return begun
        if job.stage == "describe":
            return self._describe(job, scene, teller, copy)
        if job.stage == "distill":
            assert job.begun is not None
            chosen = job.begun.chosen
            pipeline.distill(scene.out, chosen.distill, preset=chosen.preset, progress=teller)
        elif job.stage == "things":
            pipeline.things(scene.out, progress=teller)
        else:
            report(Scene.load(scene.out, progress=teller), progress=teller)
        return None

    def _describe(self, job: Job, scene: SceneWork, teller: Teller, copy: OwnCopy | None) -> None:
        plan = job.plan
        assert plan is not None
        workspace = Workspace.open(scene.out)
        capture, _ = pipeline.reconstructed(workspace, job.photos)
        views = [capture[name] for name in job.photos]
        known = Descriptions(workspace, views).stamps()
        for view in views:
            if known[view.name] == plan.stamps:  # by a worker that was lost before it could tell
                teller.tell(Described(view.name, None))
        views = [view for view in views if known[view.name] != plan.stamps]
        progress = LinesOnly(teller)
        embedder = self._model("encoder", plan.encoder, progress)
        segment = None
        if any(view.name in plan.unsegmented for view in views):
            segment = self._segmenting(workspace, capture, plan, progress)
        for view, masks in describe_photos(workspace, views, plan, embedder, segment):
            if copy is not None:
                teller.tell(copy.handed_over(workspace.description(view.name)))
            teller.tell(Described(view.name, masks))

    def _segmenting(
        self, workspace: Workspace, capture: Any, plan: DescribePlan, progress: Reporter
    ) -> Segment:
        """Prompts and masks of one scene's photos; its Gaussians are loaded once."""
        key = stamp(str(workspace.root), plan.stamps)
        if self._segment is None or self._segment[0] != key:
            model = self._model("segmenter", plan.segmenter, progress)
            self._segment = None  # two scenes at once may be too many
            self._segment = key, segmenting(workspace, capture, plan.settings, model, progress=progress)
        return self._segment[1]

    def _model(self, kind: Literal["segmenter", "encoder"], name: str, progress: Reporter) -> Any:
        if (kind, name) not in self._models:
            load = load_segmenter if kind == "segmenter" else load_encoder
            self._models = {key: model for key, model in self._models.items() if key[0] != kind}
            self._models[kind, name] = load(name, progress)
        return self._models[kind, name]
