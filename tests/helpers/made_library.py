"""Libraries of made-up scenes, whose things look like words of the toy encoder."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from gags.embed.encoder import CropRule
from gags.library.library import Library
from gags.library.nodes import Means, Nodes
from gags.library.rank import Phrases
from gags.things.things import Things
from tests.helpers.blobs import DIM, NEGATIVES, WORDS, ToyEncoder, word_vector
from tests.helpers.toy_capture import nearest_color


class PictureEncoder(ToyEncoder):
    """The toy encoder; a picture means the word of its commonest palette colour."""

    crops = (CropRule(fill=127),)

    def encode_images(self, crops: np.ndarray) -> np.ndarray:
        vectors = []
        for (crop,) in crops:
            counts = np.bincount(nearest_color(crop).ravel() + 1, minlength=len(WORDS) + 1)
            vectors.append(word_vector(WORDS[int(counts[1:].argmax())]))
        return np.stack(vectors).astype(np.float32)


def looks(word: str, noise: float = 0.0, seed: int = 0) -> np.ndarray:
    """An embedding near that of a word. float32 [DIM]"""
    vector = word_vector(word) + noise * np.random.default_rng(seed).normal(size=DIM) / np.sqrt(DIM)
    return (vector / np.linalg.norm(vector)).astype(np.float32)


def thing(
    number: int, vector: np.ndarray, *, chain: Sequence[int] = (), photos: int = 10, name: str = "ball"
) -> dict[str, Any]:
    """A row of a library."""
    against = Phrases.of(PictureEncoder()).against(vector[None])
    buffer = io.BytesIO()
    Image.new("RGB", (8, 6), (number % 255, 0, 0)).save(buffer, "JPEG")
    return {
        "thing": number,
        "chain": [number, *chain],
        "kind": "part" if chain else "thing",
        "names": [name, "toy"],
        "photos": photos,
        "seen_by": 20,
        "center": [float(number), 0.0, 0.0],
        "size": [2.0, 1.0, 1.0],
        "axes": np.eye(3).ravel().tolist(),
        "low": [number - 1.0, -0.5, -0.5],
        "high": [number + 1.0, 0.5, 0.5],
        "view": "a.jpg",
        "thumbnail": buffer.getvalue(),
        "vector": np.append(vector, against).astype(np.float16),
    }


def put(
    library: Library,
    scene: str,
    rows: Sequence[Mapping[str, Any]],
    *,
    encoder: str = "toy",
    run: str = "",
    path: Path | str = "/no/such/folder",
    nodes: Nodes | None = None,
) -> None:
    """Put a made-up scene into a library."""
    record = {
        "name": scene,
        "path": str(path),
        "encoder": encoder,
        "things": len(rows),
        "added": "2026-01-01T00:00:00+00:00",
        "run": run or f"run of {scene}",
        "looks": "",
        "stamp": "",
        "gags": "0",
    }
    library._tables.put(record, rows, nodes=nodes)


def tree(
    words: list[str],
    parents: list[int],
    *,
    photos: int | list[int] = 20,
    levels: float | list = 2.0,
    weights: float | list = 1.0,
    kept: list[int] | None = None,
    noise: float = 0.2,
) -> Nodes:
    """Nodes whose masks and Gaussians look like words."""
    count = len(words)
    numbers = np.arange(count)
    masks = np.stack([looks(word, noise, 2 * k) for k, word in enumerate(words)])
    gaussians = 0.95 * np.stack([looks(word, noise, 2 * k + 1) for k, word in enumerate(words)])
    phrases = np.stack([word_vector(word) for word in NEGATIVES])
    things = Things(
        np.arange(count + 1), numbers.astype(np.int32), np.array(parents, np.int32),
        np.broadcast_to(np.array(photos, np.int32), count).copy(), np.full(count, 40, np.int32),
        np.broadcast_to(np.array(levels, np.float32), count).copy(), masks.astype(np.float16),
    )  # fmt: skip
    against = (gaussians @ phrases.T).max(axis=1) + 0.01  # of single Gaussians it is larger than of the mean
    weights_of = np.broadcast_to(np.array(weights, np.float64), count).copy()
    means = Means(gaussians.astype(np.float16).astype(np.float32), against.astype(np.float32), weights_of)
    return Nodes.of_scene(things, list(range(count)) if kept is None else kept, means)
