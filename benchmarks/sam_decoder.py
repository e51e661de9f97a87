"""Measure SAM's mask decoder: as exported, run by onnxruntime, and in the cheaper form of the package.

    python -m benchmarks.sam_decoder PHOTO [--prompts 64] [--repeats 5]

Run it in the repository's root: the export with all masks as outputs comes from the tests. One photo is
encoded once. Then each way decodes the same prompts, an even grid, to all three masks a prompt. The ways
alternate, so that all of them meet the same load of the machine. Time is processor time of all threads a
prompt, the median of the repeats. IoU and share of equal cells compare the masks with those of the export,
where it predicts an IoU above 0.7 and the stability is above 0.85.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from PIL import Image
from tests.helpers.exported import ExportedDecoder

from gags import models
from gags.segment.sam.decoder import MaskDecoder
from gags.segment.sam.export import load_session, read_weights
from gags.segment.sam.mobile import FRAME_SIDE, POSITION_SIDE, frame_size, to_frame
from gags.segment.suppress import measure

Decode = Callable[[], tuple[np.ndarray, np.ndarray]]


def ways(folder: Path, photo: np.ndarray, prompts: int) -> dict[str, Decode]:
    """Every way to decode the same prompts; each gives logits [B, 3, h, w] and predicted IoUs [B, 3]."""
    width, height = frame_size(photo.shape[1], photo.shape[0])
    (embedding,) = load_session(folder / "encoder.onnx").run(None, {"input": to_frame(photo)})
    embedding = np.asarray(embedding)
    side = int(np.ceil(prompts**0.5))
    x, y = np.meshgrid((np.arange(side) + 0.5) / side * width, (np.arange(side) + 0.5) / side * height)
    points = np.stack([x.ravel(), y.ravel()], 1)[:prompts].astype(np.float32)
    rows, columns = int(np.ceil(height / POSITION_SIDE)), int(np.ceil(width / POSITION_SIDE))
    exported, weights = ExportedDecoder(folder / "sam.onnx"), read_weights(folder / "sam.onnx")

    def as_exported(batch: int) -> Decode:
        def decode() -> tuple[np.ndarray, np.ndarray]:
            parts = [exported.run(embedding, points[k : k + batch]) for k in range(0, len(points), batch)]
            logits = np.concatenate([logits for logits, _ in parts])
            return logits[..., : 4 * rows, : 4 * columns], np.concatenate([ious for _, ious in parts])

        return decode

    decoder = MaskDecoder(weights)
    image = decoder.prepare(torch.from_numpy(embedding)[0])

    def decode() -> tuple[np.ndarray, np.ndarray]:
        logits, ious = decoder.decode(image, torch.from_numpy(points / FRAME_SIDE), (rows, columns), -1.0)
        return logits.reshape(len(points), 3, 4 * rows, 4 * columns), ious

    return {
        "export, onnxruntime, 1 prompt a call": as_exported(1),
        "export, onnxruntime, 4 prompts a call": as_exported(4),
        "export, onnxruntime, 16 prompts a call": as_exported(16),
        "MaskDecoder": decode,
    }


def agreement(found: np.ndarray, expected: np.ndarray, ious: np.ndarray) -> tuple[float, float]:
    """Mean IoU with the export's masks that count, and share of cells on the same side of the border."""
    stabilities = measure(expected.reshape(-1, *expected.shape[2:]), 1.0)[0].reshape(ious.shape)
    count = (ious > 0.7) & (stabilities > 0.85)
    mine, theirs = found[count] > 0, expected[count] > 0
    overlap = (mine & theirs).sum((1, 2)) / (mine | theirs).sum((1, 2))
    return float(overlap.mean()), float((mine == theirs).mean())


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("photo", type=Path)
    parser.add_argument("--prompts", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=5)
    given = parser.parse_args()
    photo = np.asarray(Image.open(given.photo).convert("RGB"))
    decoders = ways(models.ensure("mobile-sam"), photo, given.prompts)
    answers = {name: decode() for name, decode in decoders.items()}  # compiles the kernels
    seconds: dict[str, list[float]] = {name: [] for name in decoders}
    for _ in range(given.repeats):
        for name, decode in decoders.items():
            before = time.process_time()
            decode()
            seconds[name].append(time.process_time() - before)
    print(f"onnxruntime {onnxruntime.__version__}, PyTorch {torch.__version__}, {given.prompts} prompts\n")
    print("| way | ms of a core a prompt | IoU | equal cells |\n|---|---|---|---|")
    expected, ious = next(iter(answers.values()))
    for name, (logits, _) in answers.items():
        overlap, equal = agreement(logits, expected, ious)
        milliseconds = 1000 * np.median(seconds[name]) / given.prompts
        print(f"| {name} | {milliseconds:.1f} | {overlap:.4f} | {100 * equal:.2f} % |")


if __name__ == "__main__":
    main()
