"""The bundled capture, run through everything and scored against its exact truth."""

from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from gags.evaluate.answerer import FieldAnswerer
from gags.evaluate.labels import load_labels
from gags.evaluate.protocols import evaluate
from gags.evaluate.results import Evaluation
from gags.pipeline import run
from gags.progress import SILENT, Reporter
from gags.view.summary import write_scene_report


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


def run_demo(out: Path, *, report: Reporter = SILENT) -> DemoResult:
    """Run the bundled capture through every stage, score it and write its report.

    Args:
        out: Folder of the scene.
        report: Told about progress.
    """
    folder = demo_capture()
    scene = run(folder, out, report=report)
    labels = load_labels(folder / "labels")
    answerer = FieldAnswerer(scene.gaussians, scene.field)
    evaluation = evaluate(answerer, scene.capture, labels, scene.encoder, report=report)
    means = {name: means.mean_iou for name, means in evaluation.categories.items()}
    page = write_scene_report(scene, labels=labels, evaluation=evaluation, report=report)
    return DemoResult(evaluation, page, max(means, key=lambda name: means[name]))
