"""A capture on disk of the balls in `blobs`, with a segmenter and an encoder that know only colours."""

import json
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch

from gags.capture.camera import Camera
from gags.embed.encoder import CropRule
from gags.gaussians import render
from gags.segment.segmenter import PromptedMasks
from tests.helpers.blobs import DIM, WORDS, ToyEncoder, make_scene, word_vector

PALETTE = np.array([[150, 140, 130], [210, 40, 40], [40, 190, 60], [50, 70, 220], [230, 210, 40]])
WIDTH, HEIGHT = 256, 192


def write_capture(folder: Path, views: int = 12) -> Path:
    """Photos of 256x192, poses as `transforms.json`, points as PLY, and exact labels of every sixth photo."""
    scene = make_scene(views)
    g = scene.gaussians
    colors = torch.from_numpy(PALETTE[scene.owner] / 255).float()
    colors = (colors + 0.03 * torch.randn(colors.shape, generator=torch.Generator().manual_seed(0))).clamp(
        0, 1
    )
    frames = []
    (folder / "images").mkdir(parents=True)
    (folder / "labels").mkdir()
    for row, small in enumerate(scene.cameras):
        camera = small.resized(WIDTH, HEIGHT)
        drawn = render(g, camera, colors)
        name = f"view_{row:02d}.png"
        picture = (drawn.colors.clamp(0, 1) * 255).round().byte().numpy()
        cv2.imwrite(str(folder / "images" / name), picture[..., ::-1])
        frames.append(_frame(f"images/{name}", camera))
        if row % 6 == 0:
            ids = cv2.resize(
                scene.ids[row].astype(np.int16), (WIDTH, HEIGHT), interpolation=cv2.INTER_NEAREST
            )
            (folder / "labels" / f"view_{row:02d}.json").write_text(json.dumps(_labels(name, ids)))
    K = scene.cameras[0].resized(WIDTH, HEIGHT).K
    intrinsics = {"fl_x": K[0, 0], "fl_y": K[1, 1], "cx": K[0, 2], "cy": K[1, 2], "w": WIDTH, "h": HEIGHT}
    transforms = intrinsics | {"ply_file_path": "points.ply", "frames": frames}
    (folder / "transforms.json").write_text(json.dumps(transforms))
    _write_points(folder / "points.ply", g.means.numpy(), (colors.numpy() * 255).astype(np.uint8))
    return folder


def write_objects(folder: Path) -> None:
    """Write objects.json of a capture whose instance maps hold the row of the word of a pixel, from 1."""
    entry = {"part_of": None, "queries": []}
    objects = {
        str(row): entry | {"name": word, "ids": [row], "kind": "object" if row > 1 else "stuff"}
        for row, word in enumerate(WORDS, 1)
    }
    (folder / "objects.json").write_text(json.dumps(objects))


def _frame(path: str, camera: Camera) -> dict:
    pose = np.linalg.inv(camera.viewmat) @ np.diag([1.0, -1, -1, 1])  # OpenCV → OpenGL axes
    return {"file_path": path, "transform_matrix": pose.tolist()}


def _labels(name: str, ids: np.ndarray) -> dict:
    objects = []
    for number, word in enumerate(WORDS):
        contours, _ = cv2.findContours(
            (ids == number).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE
        )
        for contour in contours:
            x, y, w, h = cv2.boundingRect(contour)
            if len(contour) >= 3:
                polygon = contour[:, 0].tolist()
                objects.append({"category": word, "segmentation": polygon, "bbox": [x, y, x + w, y + h]})
    return {"info": {"name": name, "width": WIDTH, "height": HEIGHT}, "objects": objects}


def _write_points(path: Path, means: np.ndarray, colors: np.ndarray) -> None:
    names = ["float x", "float y", "float z", "uchar red", "uchar green", "uchar blue"]
    header = ["ply", "format ascii 1.0", f"element vertex {len(means)}"]
    header += [f"property {name}" for name in names] + ["end_header"]
    rows = [f"{x} {y} {z} {r} {g} {b}" for (x, y, z), (r, g, b) in zip(means, colors, strict=True)]
    path.write_text("\n".join(header + rows) + "\n")


class ColorSegmenter:
    """Masks are connected pixels of the palette colour under the prompt; the sub-part is their left half."""

    name = "color"

    def __init__(self, fail_after: int | None = None) -> None:
        self.encoded = 0
        self.fail_after = fail_after

    def encode(self, image: np.ndarray) -> np.ndarray:
        if self.encoded == self.fail_after:
            raise KeyboardInterrupt
        self.encoded += 1
        return nearest_color(image)

    def predict(self, encoded: np.ndarray, points: np.ndarray, *, min_iou: float = 0.0) -> PromptedMasks:
        height, width = encoded.shape
        logits = []
        for x, y in points.astype(int):
            same = (encoded == encoded[y, x]).astype(np.uint8)
            piece = cv2.connectedComponents(same)[1]
            mask = piece == piece[y, x]
            middle = np.median(np.nonzero(mask)[1])
            logits += [mask & (np.arange(width) < middle), mask, mask]
        stack = np.where(np.array(logits), 8.0, -8.0).astype(np.float32)
        count = len(points)
        return PromptedMasks(
            stack,
            np.full(3 * count, 0.95, np.float32),
            np.tile(np.arange(3, dtype=np.int8), count),
            np.repeat(np.arange(count, dtype=np.int32), 3),
            (float(width), float(height)),
        )


class ColorEncoder(ToyEncoder):
    """A crop means the word of its commonest palette colour."""

    name = "color"
    crops = (CropRule(fill=127),)

    def encode_images(self, crops: np.ndarray) -> np.ndarray:
        vectors = []
        for (crop,) in crops:
            inside = crop[(crop != 127).any(-1)]
            counts = np.bincount(nearest_color(inside[None])[0] + 1, minlength=len(WORDS) + 1)
            best = int(counts.argmax()) - 1
            vectors.append(_vector(WORDS[best] if best >= 0 else "nothing"))
        return np.stack(vectors).astype(np.float32)

    def encode_texts(self, texts: Sequence[str]) -> np.ndarray:
        return np.stack([_vector(text) for text in texts]).astype(np.float32)


def _vector(text: str) -> np.ndarray:
    """The known words are at right angles to each other and to everything else."""
    vector = word_vector(text)
    vector[: len(WORDS)] = 0
    if text in WORDS:
        vector = np.eye(DIM)[WORDS.index(text)]
    return vector / np.linalg.norm(vector)


def nearest_color(image: np.ndarray) -> np.ndarray:
    """Row of the palette nearest to each pixel, -1 for the black background. [..., 3] → [...]"""
    palette = np.concatenate([[[0, 0, 0]], PALETTE]).astype(np.float32)
    distance = ((image[..., None, :].astype(np.float32) - palette) ** 2).sum(-1)
    return distance.argmin(-1) - 1
