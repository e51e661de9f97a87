"""Measure ways of asking a finished scene: every pixel of its rendered features, or every Gaussian.

    python benchmarks/query.py SCENE LABELS [SCENE LABELS …]

Both ways ask the same field by the protocol `lerf-ovs`; figures in %, then the median time from one text,
already encoded, to its peak and mask in one view, once warm. Nothing is written.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from gags.capture import Camera
from gags.compare.measure import query_ms
from gags.distill.field import LanguageField
from gags.embed.encoder import Encoder
from gags.evaluate.answerer import Answerer, FieldAnswerer
from gags.evaluate.labels import load_labels
from gags.evaluate.protocols import PROTOCOLS
from gags.evaluate.score import evaluate
from gags.gaussians import Gaussians
from gags.query.answers import render_features
from gags.query.maps import ValueMaps
from gags.query.relevancy import Queries
from gags.scene import Scene


@dataclass(frozen=True, eq=False)
class PixelAnswerer:
    """The paper's way: features are rendered into the view, and every pixel is decoded."""

    gaussians: Gaussians
    field: LanguageField

    def prepare(self, texts: Sequence[str], encoder: Encoder) -> Queries:
        """Texts embedded with the encoder that made the field."""
        return Queries.encode(texts, encoder, self.field)

    def relevancy(self, camera: Camera, queries: Queries) -> ValueMaps:
        """Relevancy (GAGS Eq. 8) of the features rendered into the view."""
        rendered = render_features(self.gaussians, self.field, camera)
        covered = rendered.covered
        maps = torch.zeros(*covered.shape, len(queries.texts), device=covered.device)
        maps[covered] = queries.relevancy(rendered.features[covered], self.field)
        return ValueMaps(maps.permute(2, 0, 1).contiguous(), covered)


def row(answerer: Answerer, scene: Scene, labels: Path) -> str:
    """Figures of one way of asking, as a line of a Markdown table."""
    frames = load_labels(labels)
    means = evaluate(answerer, scene.capture, frames, scene.encoder).overall
    texts = [label.category for label in frames[0].labels]
    camera = scene.capture[scene.capture.views[0].name].camera
    milliseconds = query_ms(answerer, camera, texts, scene.encoder, PROTOCOLS["lerf-ovs"])
    figures = (means.mean_accuracy, means.mean_iou, means.mean_average_precision, means.mean_best_iou)
    return " | ".join([*(f"{100 * figure:.1f}" for figure in figures), f"{milliseconds:.0f}"])


def main() -> None:
    """Print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("paths", nargs="+", type=Path, help="folders of scenes, each with its labels")
    paths = parser.parse_args().paths
    print("| scene | asked | mAcc | mIoU | mAP | best IoU | ms |\n|---|---|---|---|---|---|---|")
    for root, labels in zip(paths[::2], paths[1::2], strict=True):
        scene = Scene.load(root)
        for name, way in {"every pixel": PixelAnswerer, "every Gaussian": FieldAnswerer}.items():
            print(f"| {root.name} | {name} | {row(way(scene.gaussians, scene.field), scene, labels)} |")


if __name__ == "__main__":
    main()
