"""What people take away from a finished scene: figures, pages, answers, lists and pictures as files."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor

from gags.capture import View
from gags.draw import scenes
from gags.draw.meshes import scene_meshes
from gags.draw.scenes import picture_of_entries
from gags.draw.views import checked_what
from gags.draw.views import write_views as draw_views
from gags.errors import QueryError, SplatsError
from gags.evaluate.labels import FrameLabels, LabelsBy, load_labels, with_photos
from gags.evaluate.metrics import Evaluation
from gags.evaluate.protocols import ALL, PROTOCOLS, protocols_called
from gags.evaluate.score import evaluate_scene
from gags.files import atomic_write, write_json
from gags.files.ranges import Range, check_value
from gags.gaussians import Gaussians
from gags.gaussians.files import load_gaussians, save_gaussians, writer_for
from gags.gaussians.foreign import in_standard_form
from gags.gaussians.mesh import Mesh, joined
from gags.gaussians.mesh_files import check_mesh_file, save_mesh
from gags.gaussians.spz import SpzVersion
from gags.progress import SILENT, Reporter
from gags.query.catalog import Entry
from gags.query.edit import extracted
from gags.query.ids import legend, thing_of_each
from gags.query.names import EVERYDAY, read_words
from gags.query.showing import Picture, Pointed
from gags.report.pages import write_scene_report
from gags.report.things import write_things_page
from gags.report.worst import write_evaluation_page
from gags.scene import Scene
from gags.workspace import Workspace

SIDES = Range(16, 8192)  # px, of pictures


def evaluate(
    scene: Scene | Path | str,
    labels: Sequence[FrameLabels] | Path | str,
    protocol: str = "lerf-ovs",
    *,
    labels_by: LabelsBy = "name",
    progress: Reporter = SILENT,
) -> dict[str, Evaluation]:
    """Score a scene's answers against labelled photos.

    All rows, and a page that shows the worst answers, go to the scene's `report/` as
    `evaluation_<protocol>.json` and `.html`; the means to `metrics.json`.

    Args:
        scene: The scene, or its folder.
        labels: Folder of `<photo>.json` files in the LERF-OVS format, or what `load_labels` made of it.
        protocol: Named rules of scoring (lerf-ovs, lerf-ovs-strict, held-out, select-3d, things), or all.
        labels_by: Whether label files find their photos by "name", or by "position": `frame_00007` labels
            the seventh of all photos by name, as in Mip-NeRF360-OVS.
        progress: Told about progress.

    Returns:
        Rows and means, by the name of the protocol; one unless all are asked for.

    Raises:
        LabelError: If labels cannot be read, match no photo, or the protocol is unknown.
    """
    frames = load_labels(Path(labels), progress) if isinstance(labels, str | Path) else labels
    loaded = _loaded(scene, progress)
    frames = with_photos(frames, loaded.capture, labels_by, progress)
    chosen = [rules.name for rules in protocols_called(protocol, frames, loaded.capture)]
    if protocol == ALL and len(chosen) < len(PROTOCOLS):
        progress.warn("protocol held-out is left out: no labelled photo was held out")
    scored = {}
    for name in chosen:
        scored[name], rows = evaluate_scene(loaded, frames, name, progress=progress)
        if rows is not None:
            write_evaluation_page(loaded, frames, scored[name], progress=progress)
    return scored


def report(
    scene: Scene | Path | str,
    texts: Sequence[str] = (),
    *,
    labels: Sequence[FrameLabels] = (),
    evaluation: Evaluation | None = None,
    progress: Reporter = SILENT,
) -> Path:
    """Write the pages of a scene's report: `index.html`, and `things.html` of what the scene consists of.

    Args:
        scene: The scene, or its folder.
        texts: What to ask it; by default the labelled categories, else what its own masks suggest.
        labels: Ground truth; with it, answers are shown in the labelled photos beside the truth.
        evaluation: Figures against the truth, to be shown as well.
        progress: Told about progress.

    Returns:
        Path of the first page, `report/index.html`.
    """
    loaded = _loaded(scene, progress)
    labels = with_photos(labels, loaded.capture, "name", progress)
    write_things_page(loaded, progress=progress)
    return write_scene_report(loaded, texts, labels=labels, evaluation=evaluation, progress=progress)


def write_answers(
    scene: Scene | Path | str,
    texts: str | Sequence[str] = (),
    views: Sequence[View | str] = (),
    *,
    image: Picture | None = None,
    like: Pointed | None = None,
    out: Path | str | None = None,
    progress: Reporter = SILENT,
) -> list[dict[str, Any]]:
    """Answer texts, a picture or a click of what is meant, in views; write mask, relevancy and overlay of
    each answer.

    Args:
        scene: The scene, or its folder.
        texts: What to look for.
        views: Views or their names. Default: the three where each text is found best.
        image: A picture of what to look for, see `gags.Scene.locate`; its answers bear the name of its file.
        like: A pixel of a photo that shows it, see `gags.Scene.locate`; its answers bear photo and pixel.
        out: Folder of the files. Default: answers/ in the scene's folder.
        progress: Told about progress.

    Returns:
        One row a text and view: text, view, peak (x, y), score, 3D box, paths of the files.

    Raises:
        GagsError: If a text is empty, a view is unknown, or the image is none.
    """
    if not texts and image is None and like is None:
        raise QueryError('nothing to look for; add a text, as in: gags query WS "red mug"')
    loaded = _loaded(scene, progress)
    chosen = [loaded.capture[view] if isinstance(view, str) else view for view in views] or None
    folder = loaded.workspace.answers if out is None else Path(out)
    queries = loaded.queries(texts, image=image, like=like)
    return scenes.write_answers(loaded, queries, chosen, folder, progress=progress)


def write_catalog(
    scene: Scene | Path | str,
    words: Sequence[str] | Path = EVERYDAY,
    *,
    out: Path | str | None = None,
    progress: Reporter = SILENT,
) -> tuple[list[Entry], Path]:
    """List what is in a scene, and write `catalog.json` and a labelled picture `catalog.png`.

    Args:
        scene: The scene, or its folder.
        words: Names to choose from; or a text file of them, one a line.
        out: Folder of the two files. Default: catalog/ in the scene's folder.
        progress: Told about progress.

    Returns:
        The things, and the folder.

    Raises:
        QueryError: If the words cannot be read or the folder cannot be written.
    """
    words = read_words(words) if isinstance(words, Path) else words
    loaded = _loaded(scene, progress)
    entries = loaded.catalog(words, progress=progress)
    folder = loaded.workspace.catalog if out is None else Path(out)
    picture = picture_of_entries(loaded, entries)
    try:
        write_json(folder / "catalog.json", {"things": [entry.to_json() for entry in entries]})
        with atomic_write(folder / "catalog.png") as path:
            path.write_bytes(cv2.imencode(".png", picture[..., ::-1])[1].tobytes())
    except OSError as error:
        raise QueryError(f"cannot write to {folder} ({error.strerror}); choose another --out") from error
    return entries, folder


def write_views(
    scene: Scene | Path | str,
    views: Sequence[View | str] = (),
    what: Sequence[str] = ("color",),
    *,
    texts: str | Sequence[str] = (),
    out: Path | str | None = None,
    size: tuple[int, int] | None = None,
    transparent: bool = False,
    progress: Reporter = SILENT,
) -> list[dict[str, Any]]:
    """Render views of a scene, and write pictures of what they show, with the numbers beside.

    `<view>/color.png`; `depth.png` with `depth.npy`, along the optical axis in units of the capture, float32
    [H, W]; `normals.png` with `normals.npy`, towards the camera in the frame of the capture, float32
    [H, W, 3]; and for each text `<text>_relevancy.png` with `.npy`, float32 [H, W]. Depth and normals are 0
    where no surface is.

    Args:
        scene: The scene, or its folder.
        views: Views or their names. Default: all of the capture.
        what: Any of color, depth, normals, relevancy.
        texts: What to look for, for relevancy.
        out: Folder of the files. Default: views/ in the scene's folder.
        size: Width and height, px, instead of the photo's; all that the photo shows is in it.
        transparent: Pictures of colours without a background.
        progress: Told about progress.

    Returns:
        One row a map: view, what, text, paths of picture and numbers.

    Raises:
        GagsError: If what is asked for or a view is unknown, or a text is missing.
    """
    texts = [texts] if isinstance(texts, str) else list(texts)
    what = checked_what(what, texts)
    if size is not None:
        width, height = size
        size = check_value("size", width, int, SIDES), check_value("size", height, int, SIDES)
    loaded = _loaded(scene, progress)
    chosen = [loaded.capture[view] if isinstance(view, str) else view for view in views]
    folder = loaded.workspace.root / "views" if out is None else Path(out)
    queries = loaded.queries(texts) if "relevancy" in what else None
    chosen = chosen or loaded.capture.views
    return draw_views(
        loaded, chosen, what, queries, folder, size=size, transparent=transparent, progress=progress
    )


def convert(
    source: Path | str,
    out: Path | str,
    *,
    spz_version: SpzVersion = 3,
    ids: bool = False,
    progress: Reporter = SILENT,
) -> Gaussians:
    """Write Gaussians of a file, or of a scene, in another format; what this cannot hold is said in a line.

    Args:
        source: A file that is read (see `gags.load_gaussians`), or the folder of a scene.
        out: File to write; its suffix chooses the format (see `gags.save_gaussians`).
        spz_version: Of a .spz: 3 or 4.
        ids: Of a scene, written as .ply: also write things; see `gags.save_scene`.
        progress: Told about progress.

    Returns:
        The Gaussians.

    Raises:
        SplatsError: If the file cannot be read or written, or is to be written over itself.
    """
    source, out = Path(source), Path(out)
    writer_for(out)
    is_scene = source.is_dir() and Workspace(source).config.is_file()
    if ids and not is_scene:
        raise SplatsError(f"{source} is no scene, and things are a scene's; leave --ids out")
    if ids:
        return save_scene(Scene.load(source, progress=progress), out, ids=True, progress=progress)
    file = Workspace(source).splats if is_scene else source
    if out.resolve() == file.resolve() or (out.exists() and file.exists() and out.samefile(file)):
        raise SplatsError(f"{out} is what is read, which is never changed; choose another name to write")
    gaussians = in_standard_form(load_gaussians(file, progress), file, progress)
    save_gaussians(gaussians, out, progress, spz_version=spz_version)
    return gaussians


def save_scene(
    scene: Scene | Path | str,
    out: Path | str,
    mask: Tensor | None = None,
    *,
    ids: bool = False,
    progress: Reporter = SILENT,
) -> Gaussians:
    """Write the Gaussians of a scene, all or masked ones; the scene stays as it is.

    Args:
        scene: The scene, or its folder.
        out: File to write them to; see `gags.save_gaussians`.
        mask: Which; None for all. bool [N]
        ids: Also write the smallest thing that each Gaussian belongs to, as a property `thing` of a .ply
            (−1 for none), and beside it `<name>.things.json`: of each of these things, and of those that
            they are parts of, its id, name, part_of (an id), and box.
        progress: Told about progress.

    Returns:
        What was written.

    Raises:
        SplatsError: If the file is the scene itself, cannot be written, or is of a format that is not
            written or holds no ids.
    """
    loaded, out = _loaded(scene, progress), Path(out)
    loaded.check_output(out, ids=ids)
    count = len(loaded.gaussians)
    mask = torch.ones(count, dtype=torch.bool) if mask is None else mask.cpu()
    some = extracted(loaded.gaussians, mask)
    if not ids:
        save_gaussians(some, out, progress)
        return some
    numbers = thing_of_each(loaded.things(progress), count)[mask.numpy()]
    save_gaussians(some, out, progress, things=numbers)
    _write_legend(loaded, numbers, out)
    return some


def _write_legend(scene: Scene, ids: np.ndarray, path: Path) -> None:
    """Write `<name>.things.json` beside a file, which says what the numbers of things in it mean."""
    words = scene.queries(EVERYDAY)
    things = legend(ids, scene.things(), scene.gaussians, scene.field, words)
    write_json(path.with_suffix(".things.json"), {"things": things})


THING_CELLS, SCENE_CELLS = 128, 256  # along the longest side, unless asked otherwise


def mesh(
    scene: Scene | Path | str,
    texts: str | Sequence[str] = (),
    out: Path | str | None = None,
    *,
    cells: int | None = None,
    progress: Reporter = SILENT,
) -> Mesh | None:
    """The surface of a scene, or of the things that texts name, closed so that they can be printed.

    Depth is rendered from the capture's cameras and fused (`gags.gaussians.mesh`). A thing is cut out
    first, each instance by itself; what no photo shows of it, its underside for one, is filled up to the
    hull of its Gaussians. The surface of a whole scene ends where it is not seen.

    Args:
        scene: The scene, or its folder.
        texts: What to make meshes of. Default: everything.
        out: File to write: .glb, .ply or .obj. Beside the first two, `<name>.things.json` says what the
            numbers of things mean, as `gags.save_scene` has it.
        cells: Cells along the longest side of the thing (default 128) or of the scene (256); more show more.
        progress: Told about progress.

    Returns:
        The mesh in the frame and units of the capture, with each vertex's thing; None if nothing in the scene
        matches.

    Raises:
        GagsError: If a text is empty, the extra `mesh` is missing, no surface is found, or the file cannot be
            written.
    """
    if out is not None:
        check_mesh_file(Path(out))
    if cells is not None and not 8 <= cells <= 4096:
        raise QueryError(f"--cells {cells} is out of range; choose 8 to 4096")
    texts = [texts] if isinstance(texts, str) else list(texts)
    loaded = _loaded(scene, progress)
    made = scene_meshes(loaded, texts, cells or (THING_CELLS if texts else SCENE_CELLS), progress)
    if not made:
        return None
    whole = joined(made)
    if out is not None:
        save_mesh(whole, out, progress)
        if whole.things is not None and Path(out).suffix.lower() != ".obj":
            _write_legend(loaded, whole.things, Path(out))
    return whole


def _loaded(scene: Scene | Path | str, progress: Reporter) -> Scene:
    return scene if isinstance(scene, Scene) else Scene.load(scene, progress=progress)
