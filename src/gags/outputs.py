"""What people take away from a finished scene: figures, pages, answers and lists as files, the viewer."""

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2

from gags.capture import View
from gags.draw import scenes
from gags.draw.scenes import picture_of_entries
from gags.errors import GagsError, QueryError
from gags.evaluate.labels import FrameLabels, LabelsBy, load_labels, with_photos
from gags.evaluate.metrics import Evaluation
from gags.evaluate.protocols import ALL, PROTOCOLS, protocols_called
from gags.evaluate.score import evaluate_scene
from gags.files import atomic_write, write_json
from gags.files.ranges import Range, check_value
from gags.progress import SILENT, Reporter
from gags.query.catalog import Entry
from gags.query.names import EVERYDAY, read_words
from gags.report.pages import write_scene_report
from gags.report.things import write_things_page
from gags.report.worst import write_evaluation_page
from gags.scene import Scene

PORTS = Range(1, 65_535)


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
        protocol: Named rules of scoring (lerf-ovs, lerf-ovs-strict, held-out, select-3d), or all.
        labels_by: Whether label files find their photos by "name", or by "position": `frame_00007` labels
            the seventh of all photos by name, as in Mip-NeRF360-OVS.
        progress: Told about progress.

    Returns:
        Rows and means, by the name of the protocol; one unless all are asked for.

    Raises:
        LabelError: If labels cannot be read, match no photo, or the protocol is unknown.
    """
    frames = load_labels(Path(labels)) if isinstance(labels, str | Path) else labels
    loaded = _loaded(scene)
    frames = with_photos(frames, loaded.capture, labels_by)
    chosen = [rules.name for rules in protocols_called(protocol, frames, loaded.capture)]
    if protocol == ALL and len(chosen) < len(PROTOCOLS):
        progress.warn("protocol held-out is left out: no labelled photo was held out")
    scored = {}
    for name in chosen:
        scored[name] = evaluate_scene(loaded, frames, name, progress=progress).evaluation
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
    loaded = _loaded(scene)
    write_things_page(loaded, progress=progress)
    return write_scene_report(loaded, texts, labels=labels, evaluation=evaluation, progress=progress)


def write_answers(
    scene: Scene | Path | str,
    texts: str | Sequence[str],
    views: Sequence[View | str] = (),
    *,
    out: Path | str | None = None,
    progress: Reporter = SILENT,
) -> list[dict[str, Any]]:
    """Answer texts in views, and write mask, relevancy and a picture of each answer.

    Args:
        scene: The scene, or its folder.
        texts: What to look for.
        views: Views or their names. Default: the three where each text is found best.
        out: Folder of the files. Default: answers/ in the scene's folder.
        progress: Told about progress.

    Returns:
        One row a text and view: text, view, peak (x, y), score, 3D box, paths of the files.

    Raises:
        GagsError: If a text is empty or a view is unknown.
    """
    if not texts:
        raise QueryError('nothing to look for; add a text, as in: gags query WS "red mug"')
    loaded = _loaded(scene)
    chosen = [loaded.capture[view] if isinstance(view, str) else view for view in views] or None
    folder = loaded.workspace.answers if out is None else Path(out)
    return scenes.write_answers(loaded, loaded.queries(texts), chosen, folder, progress=progress)


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
    loaded = _loaded(scene)
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


def view(
    scene: Scene | Path | str,
    *,
    port: int = 8080,
    host: str = "127.0.0.1",
    words: Sequence[str] | Path = EVERYDAY,
) -> None:
    """Show a scene in the browser until Ctrl-C; the address is printed.

    Args:
        scene: The scene, or its folder; stays as it is.
        port: Port to listen on; the next free one is taken if it is not.
        host: Address to listen on. With another one than the default, other machines reach the scene.
        words: Names for what is clicked on; or a text file of them, one a line.

    Raises:
        GagsError: If the extra `view` is not installed, or the address cannot be listened on.
        SettingsError: If there is no such port.
    """
    check_value("port", port, int, PORTS)
    if importlib.util.find_spec("viser") is None:
        raise GagsError("the viewer needs the extra `view`; pip install 'gags[view]'")
    words = read_words(words) if isinstance(words, Path) else words
    loaded = _loaded(scene)
    from gags.viewer.server import Viewer

    with Viewer(loaded, words=words, host=host, port=port) as viewer:
        print(f"{loaded.workspace.root}: {viewer.url} (Ctrl-C ends)", flush=True)
        try:
            viewer.wait()
        except KeyboardInterrupt:
            print("\nclosed")


def _loaded(scene: Scene | Path | str) -> Scene:
    return scene if isinstance(scene, Scene) else Scene.load(scene)
