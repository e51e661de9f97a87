"""The bundled capture, run through everything and scored against its exact truth."""

from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from gags.evaluate.answerer import FieldAnswerer
from gags.evaluate.labels import load_labels
from gags.evaluate.metrics import Evaluation
from gags.evaluate.score import evaluate
from gags.models.choose import SMALL_ENCODER, SMALL_SEGMENTER
from gags.outputs import report
from gags.pipeline import RunSettings, run
from gags.progress import SILENT, Reporter


@dataclass(frozen=True)
class DemoResult:
    """What the demo ends with.

    Attributes:
        evaluation: Answers against truth.
        page: The report.
        example: A text worth asking.
    """

    evaluation: Evaluation
    page: Path
    example: str


def demo_capture() -> Path:
    """Folder of the bundled capture."""
    return Path(str(files("gags") / "data" / "demo"))


def demo(
    out: Path | str,
    *,
    segmenter: str = SMALL_SEGMENTER,
    encoder: str = SMALL_ENCODER,
    progress: Reporter = SILENT,
) -> DemoResult:
    """Run the bundled capture through every stage, score it and write its report.

    Args:
        out: Folder of the scene.
        segmenter: Model that cuts photos into masks; a small one unless told otherwise, so that a first look
            waits for no large download and shows the same everywhere.
        encoder: Model that embeds masks and texts; likewise.
        progress: Told about progress.
    """
    folder = demo_capture()
    progress.say(f"Demo: segmenter {segmenter}, encoder {encoder} (--segmenter and --encoder choose others)")
    settings = RunSettings(segmenter=segmenter, encoder=encoder)
    scene = run(folder, out, settings, report=False, progress=progress)
    labels = load_labels(folder / "labels")
    answerer = FieldAnswerer.of(scene)
    evaluation = evaluate(answerer, scene.capture, labels, scene.encoder, progress=progress)
    means = {name: means.mean_iou for name, means in evaluation.categories.items()}
    page = report(scene, labels=labels, evaluation=evaluation, progress=progress)
    return DemoResult(evaluation, page, max(means, key=lambda name: means[name]))
