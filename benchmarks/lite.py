"""Measure an encoder on single photos: names of exact regions, and the protocol lerf-ovs over real masks.

    python benchmarks/lite.py PHOTOS LABELS [--encoder lite] [--prompts 24]

Two questions, both without any 3D, so that nothing but the encoder (and the segmenter) is judged:

1. Exact regions. Each labelled mask is embedded. Is its own name the best, or among the best three, of all
   names of the folder? Is it, of all labelled regions of its photo, the one its name finds?
2. Whole photos. MobileSAM's masks on three levels (an even grid of prompts) are embedded, every pixel gets
   the mean of its levels, and each name is asked by the protocol lerf-ovs: peak in the label's box (acc), IoU
   of the mask at 0.7 of the range (IoU), IoU at the best threshold there is (best). For several negatives and
   temperatures; pixels without a mask take the lowest relevancy of the photo.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from gags import models
from gags.embed import Encoder, load_encoder
from gags.embed.crops import embed_masks
from gags.evaluate.labels import FrameLabels, load_labels
from gags.evaluate.metrics import iou, peak_in_boxes, rank
from gags.query import lerf_ovs
from gags.segment.masks import Masks
from gags.segment.photo import segment_photo
from gags.segment.sam.mobile import MobileSam
from gags.segment.settings import DescribeSettings

LERF_PHRASES = ("object", "things", "stuff", "texture")


@dataclass(eq=False)
class Photo:
    """A labelled photo: its labels, exact masks, and the masks that cover each pixel.

    Attributes:
        frame: The labels.
        names: Name of each labelled region.
        truth: Mask of each labelled region. bool [H, W] each
        exact: Embedding of each labelled region. [L, D]
        embeddings: Embedding of each of the segmenter's masks. [M, D]
        groups: Pixels that the same masks cover, by number. [H, W]
        rows: Row of the mask of each group on each level, -1 for none. [G, 3]
    """

    frame: FrameLabels
    names: list[str]
    truth: list[np.ndarray]
    exact: np.ndarray
    embeddings: np.ndarray
    groups: np.ndarray
    rows: np.ndarray

    def fields(self) -> np.ndarray:
        """Mean embedding over the levels of each group of pixels, L2-normalised. [G, D]"""
        total = np.zeros((len(self.rows), self.embeddings.shape[1]), np.float32)
        for level in self.rows.T:
            total[level >= 0] += self.embeddings[level[level >= 0]]
        return total / np.maximum(np.linalg.norm(total, axis=1, keepdims=True), 1e-9)


def read_photo(path: Path, frame: FrameLabels, encoder: Encoder, sam: MobileSam, prompts: int) -> Photo:
    image = np.asarray(Image.open(path).convert("RGB"))
    height, width = image.shape[:2]
    found = {label.category: frame.mask(label, width, height) for label in frame.labels}
    found = {name: mask for name, mask in found.items() if mask.sum() >= 50}
    exact = [embed_masks(image, as_masks(mask), encoder) for mask in found.values()]
    columns, rows = (
        (np.arange(prompts) + 0.5) / prompts * width,
        (np.arange(prompts) + 0.5) / prompts * height,
    )
    points = np.stack(np.meshgrid(columns, rows), axis=-1).reshape(-1, 2).astype(np.float32)
    masks = segment_photo(image, points, sam, DescribeSettings())
    embeddings = embed_masks(image, masks, encoder)
    triples, groups = np.unique(masks.labels.reshape(3, -1), axis=1, return_inverse=True)
    return Photo(
        frame=frame,
        names=list(found),
        truth=list(found.values()),
        exact=np.concatenate(exact),
        embeddings=embeddings,
        groups=groups.reshape(height, width),
        rows=triples.T,
    )


def as_masks(mask: np.ndarray) -> Masks:
    """One exact mask as the only mask of its photo."""
    rows, columns = np.nonzero(mask)
    box = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
    labels = np.full((3, *mask.shape), -1, np.int16)
    labels[2][mask] = 0
    return Masks(
        labels=labels,
        levels=np.array([2], np.int8),
        boxes=np.array([box], np.int32),
        scores=np.ones(1, np.float32),
    )


def naming(photos: Sequence[Photo], encoder: Encoder) -> np.ndarray:
    """Share of regions named right, named right within three, and found by their name. [3]"""
    names = sorted({name for photo in photos for name in photo.names})
    texts = encoder.encode_texts(names)
    hits = []
    for photo in photos:
        scores = photo.exact @ texts.T
        places = (-scores).argsort(1).argsort(1)
        for row, name in enumerate(photo.names):
            own = names.index(name)
            hits.append([places[row, own] == 0, places[row, own] < 3, scores[:, own].argmax() == row])
    return np.mean(hits, axis=0)


def asking(
    photos: Sequence[Photo],
    encoder: Encoder,
    negatives: Sequence[str],
    temperature: float,
    same_meaning: float,
) -> np.ndarray:
    """Mean of acc, IoU and best IoU over (photo, name); phrases like the name are left out. [3]"""
    against = encoder.encode_texts(negatives)
    figures = []
    for photo in photos:
        fields, height_width = photo.fields(), photo.groups.shape
        explained = fields @ against.T
        for name, truth, query in zip(
            photo.names, photo.truth, encoder.encode_texts(photo.names), strict=True
        ):
            counted = against @ query < same_meaning
            largest = explained[:, counted].max(1)
            answer = 1 / (1 + np.exp(-temperature * (fields @ query - largest)))
            unseen = (photo.rows < 0).all(1)
            answer[unseen] = answer[~unseen].min()
            relevancy = answer.astype(np.float32)[photo.groups]
            label = next(label for label in photo.frame.labels if label.category == name)
            boxes = photo.frame.boxes(label, height_width[1], height_width[0])
            hit = peak_in_boxes(lerf_ovs.peak(relevancy), boxes.tolist())
            figures.append([hit, iou(lerf_ovs.mask(relevancy), truth), rank(relevancy, truth).best_iou])
    return np.mean(figures, axis=0)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("photos", type=Path, help="folder of photos")
    parser.add_argument("labels", type=Path, help="folder of LERF-OVS labels of some of them")
    parser.add_argument("--encoder", default="lite")
    parser.add_argument("--prompts", type=int, default=24, help="prompts along each side of a photo")
    arguments = parser.parse_args()
    encoder, sam = load_encoder(arguments.encoder), MobileSam(models.ensure("mobile-sam"))
    photos = []
    for frame in load_labels(arguments.labels):
        (path,) = arguments.photos.glob(f"{frame.frame}.*")
        photos.append(read_photo(path, frame, encoder, sam, arguments.prompts))
    print("| exact regions | top-1 | top-3 | found by name |\n|---|---|---|---|")
    print(f"| {sum(len(p.names) for p in photos)} | {row(naming(photos, encoder))} |\n")
    print("| negatives | temperature | acc | IoU | best IoU |\n|---|---|---|---|---|")
    own = f"own {len(encoder.negatives)}"
    for title, negatives, same in (
        ("LERF's 4", LERF_PHRASES, np.inf),
        (own, encoder.negatives, np.inf),
        (f"{own}, none that means the same", encoder.negatives, encoder.same_meaning),
    ):
        for temperature in (10.0, 20.0, 40.0):
            figures = asking(photos, encoder, negatives, temperature, same)
            print(f"| {title} | {temperature:.0f} | {row(figures)} |", flush=True)


def row(shares: np.ndarray) -> str:
    return " | ".join(f"{100 * share:.1f}" for share in shares)


if __name__ == "__main__":
    main()
