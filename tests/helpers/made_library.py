"""Libraries of made-up scenes, whose things look like words of the toy encoder."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from gags.embed.encoder import CropRule
from gags.library.library import Library
from gags.library.rank import Phrases
from tests.helpers.blobs import DIM, WORDS, ToyEncoder, word_vector
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
    library._tables.put(record, rows)
