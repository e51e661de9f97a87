"""A tiny scene with exact truth: coloured balls on a floor, seen from a ring of cameras."""

from dataclasses import dataclass

import numpy as np
import torch

from gags.capture.camera import Camera
from gags.embed.description import Description
from gags.gaussians import Gaussians, render
from gags.segment.masks import Masks

WORDS = ("floor", "red ball", "green ball", "blue ball", "yellow ball")
DIM = 64
NEGATIVES = ("object", "things")


class ToyEncoder:
    """Texts are fixed random directions; there are no images to encode."""

    name = "toy"
    dim = DIM
    image_size = 8
    crops = ()
    temperature = 10.0
    negatives = NEGATIVES
    same_meaning = 2.0

    def encode_images(self, crops: np.ndarray) -> np.ndarray:
        raise NotImplementedError

    def encode_texts(self, texts) -> np.ndarray:
        rows = [word_vector(text) for text in texts]
        return np.stack(rows).astype(np.float32)


def word_vector(text: str) -> np.ndarray:
    """A random unit vector that only depends on the text."""
    vector = np.random.default_rng(list(text.encode())).normal(size=DIM)
    return vector / np.linalg.norm(vector)


@dataclass(eq=False)
class Scene:
    """Gaussians with the object each belongs to, and views with exact ids."""

    gaussians: Gaussians
    owner: np.ndarray
    cameras: list[Camera]
    ids: list[np.ndarray]

    def items(self, noise: float = 0.3, seed: int = 0) -> list[tuple[Camera, Description]]:
        """Masks and noisy embeddings: whole = object, part = object, sub-part = its left and right half.

        The sub-part embeddings are random in every view, as those of fragments of things are.
        """
        rng = np.random.default_rng(seed)
        return [(c, _description(ids, rng, noise)) for c, ids in zip(self.cameras, self.ids, strict=True)]


def make_scene(views: int = 8, seed: int = 0) -> Scene:
    """Four balls of 80 Gaussians each on a floor of 300."""
    rng = np.random.default_rng(seed)
    centres = np.array([[0, 0, 0], [1.0, 1.0, 0.4], [-1.0, 1.0, 0.4], [-1.0, -1.0, 0.4], [1.0, -1.0, 0.4]])
    grid = np.linspace(-2.2, 2.2, 18)
    floor = np.stack([*np.meshgrid(grid, grid), np.zeros((18, 18))], axis=-1).reshape(-1, 3)
    directions = rng.normal(size=(4, 80, 3))
    balls = centres[1:, None] + 0.4 * directions / np.linalg.norm(directions, axis=-1, keepdims=True)
    owner = np.concatenate([np.zeros(len(floor), int), np.repeat([1, 2, 3, 4], 80)])
    means = torch.from_numpy(np.concatenate([floor, balls.reshape(-1, 3)])).float()
    n = len(means)
    scales = torch.where(torch.from_numpy(owner == 0)[:, None], torch.tensor([0.13, 0.13, 0.01]), 0.09)
    gaussians = Gaussians(
        means,
        torch.tensor([[1.0, 0, 0, 0]]).repeat(n, 1),
        scales.log(),
        torch.full((n,), 3.0),
        torch.zeros(n, 1, 3),
    )
    cameras = [_camera(2 * np.pi * k / views) for k in range(views)]
    return Scene(gaussians, owner, cameras, [_ids(gaussians, owner, camera) for camera in cameras])


def _camera(angle: float) -> Camera:
    position = np.array([4.0 * np.cos(angle), 4.0 * np.sin(angle), 3.0])
    forward = -position / np.linalg.norm(position)
    right = np.cross(forward, [0, 0, 1.0])
    right /= np.linalg.norm(right)
    viewmat = np.eye(4)
    viewmat[:3, :3] = np.stack([right, np.cross(forward, right), forward])
    viewmat[:3, 3] = -viewmat[:3, :3] @ position
    K = np.array([[60.0, 0, 32], [0, 60.0, 24], [0, 0, 1]])
    return Camera(viewmat, K, 64, 48)


def _ids(gaussians: Gaussians, owner: np.ndarray, camera: Camera) -> np.ndarray:
    """Object that makes up most of each pixel, -1 where little is drawn. [H, W]"""
    one_hot = torch.nn.functional.one_hot(torch.from_numpy(owner), 5).float()
    shares = render(gaussians, camera, one_hot).colors.numpy()
    return np.where(shares.sum(-1) > 0.5, shares.argmax(-1), -1)


def _description(ids: np.ndarray, rng: np.random.Generator, noise: float) -> Description:
    labels = np.full((3, *ids.shape), -1, np.int16)
    levels, vectors = [], []

    def add(level: int, where: np.ndarray, vector: np.ndarray) -> None:
        if where.sum() < 4:
            return
        labels[level][where] = len(levels)
        levels.append(level)
        vector = vector + noise * rng.normal(size=DIM) / np.sqrt(DIM)
        vectors.append(vector / np.linalg.norm(vector))

    columns = np.arange(ids.shape[1])[None, :].repeat(len(ids), 0)
    for number, word in enumerate(WORDS):
        where = ids == number
        if not where.any():
            continue
        middle = np.median(columns[where])
        for half in (columns < middle, columns >= middle):
            fragment = rng.normal(size=DIM)
            add(0, where & half, fragment / np.linalg.norm(fragment))
        add(1, where, word_vector(word))
        add(2, where, word_vector(word))
    count = len(levels)
    masks = Masks(
        labels, np.array(levels, np.int8), np.zeros((count, 4), np.int32), np.ones(count, np.float32)
    )
    return Description(masks, np.array(vectors, np.float16), "toy")
