"""The encoder `lite`: an ImageNet classifier and a sentence encoder, joined over the names of the classes.

There is no CLIP in it. An EfficientNet knows what the 1000 ImageNet classes look like, MiniLM knows what
their descriptions mean, and both sides of a comparison are carried over that bridge:

- a region becomes [x ; √.3·t ; √.1·c]: x its image features, t the meaning of the classes it is likeliest to
  be, c its colours;
- a text becomes [w ; √.3·e ; √.1·d]: w the classifier's weights of the classes it resembles, e its
  meaning, d the colours it asks for, 0 for none. Colour words do not count for w and e, lest a red mug
  resemble red wine.

It is an honest stopgap for machines that cannot reach a model hub: fair at everyday things that ImageNet has
a class for, weak beyond them. `benchmarks/lite.py` measures it and the choices made here.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from gags.embed.base import CropRule
from gags.embed.lite.anchors import class_texts
from gags.embed.lite.colors import TERMS, asked_colors, color_shares, color_vector, text_color_vectors
from gags.embed.lite.efficientnet import SIZE, WIDTH, EfficientNetLite2
from gags.embed.lite.minilm import MiniLM
from gags.embed.lite.typical import typical_crops
from gags.files import atomic_write
from gags.models import own as models
from gags.progress import SILENT, Reporter

IMAGE_DIM, TEXT_DIM = 384, 128
"""Principal directions kept of the image part and of the text part; scores rank as with all 1280 + 384."""

TEXT_WEIGHT = 0.3
"""Share of the text part of a vector, relative to the image part."""

COLOR_WEIGHT = 0.1
"""Share of the colour part of a vector, relative to the image part."""

COLOR_STEP = 8
"""Every how many rows and columns of a crop its colours are looked at."""

CLASSES_KEPT = 10
"""Classes of a region that its text part is made of."""

LOGIT_TEMPERATURE = 2.0
"""Divides the classifier's logits; above 1, second and third guesses count more."""

ANCHOR_TEMPERATURE = 0.1
"""Divides the cosine of a text to the class descriptions; small, so that a text takes few classes."""

_RECIPE = "1"  # part of the cache key: to be raised whenever what `_compute` returns changes

ROOM = (
    "wall, floor, ceiling, door, window, curtain, carpet, wooden table, desk, shelf, cabinet, chair, sofa, "
    "bed, picture frame, lamp, cable, power outlet, blanket, pillow, box, bag, book, paper, plant, shadow"
)
"""Surfaces and furniture that surround what people ask for."""

EVERYDAY = (
    "cornmeal, dress hat, jet plane, gun, webcam, garden clippers, bird, sculpture, pliers, hand towel, "
    "hairbrush, smoothie, horse, watermelon, apron, musical instrument, ironing board, bat, bulletin board, "
    "toy, tights, river boat, pinecone, headlight, laptop computer, tomato, cowbell, slipper, garbage, "
    "snowboard, wristlet, knitting needle, saucer, zucchini, recliner, crayon, drinking straw, power shovel, "
    "batter, battery, vinegar, starfish, notepad, softball, blackberry, clutch bag, motor vehicle, coat, "
    "sparkler"
)
"""Medoids of fifty clusters of everyday names (LVIS's): an even spread, chosen without any scene in mind.

A region is relevant if the query explains it about as well as the best of these that means something else.
"""


@dataclass(eq=False)
class Tables:
    """What `lite` computes once a machine.

    Attributes:
        typical: Mean image features of pictures of nothing in particular, for each crop. float32 [2, 1280]
        text_mean: Mean embedding of the class texts. float32 [384]
        anchors: Embeddings of the class texts less their mean, as unit vectors. float32 [1000, 384]
        image_basis: Principal directions of what tells the classes apart, in columns. float32 [1280, 384]
        text_basis: Principal directions of the class texts, in columns. float32 [384, 128]
        looks: What tells each class from the others, unit before it went into the basis. float32 [1000, 384]
        meanings: Embeddings of the class texts less their mean, in the basis. float32 [1000, 128]
    """

    typical: np.ndarray
    text_mean: np.ndarray
    anchors: np.ndarray
    image_basis: np.ndarray
    text_basis: np.ndarray
    looks: np.ndarray
    meanings: np.ndarray


class LiteEncoder:
    """Implements `gags.embed.base.Encoder`."""

    name = "lite"
    dim = IMAGE_DIM + TEXT_DIM + len(TERMS)
    image_size = SIZE
    crops = (
        CropRule(padding=0.03, keep_background=False, fill=127, square="box"),
        CropRule(padding=0.10, keep_background=True, fill=127, square="box"),
    )
    temperature = 30.0
    same_meaning = 0.6
    negatives: tuple[str, ...] = (*ROOM.split(", "), *EVERYDAY.split(", "))

    def __init__(self, progress: Reporter = SILENT) -> None:
        """Load both nets.

        Args:
            progress: Told when something costly is computed for the first time on this machine.

        Raises:
            ModelError: If the wheels of the extra `lite` are not installed.
        """
        files = models.files("lite")
        self._image_net = EfficientNetLite2(files["efficientnet-lite2-9656183e.pth"])
        self._text_net = MiniLM(files["model.safetensors"].parent)
        self._tables = load_tables(self._image_net, self._text_net, progress)

    def encode_images(self, crops: np.ndarray) -> np.ndarray:
        """Embed regions from their two crops, uint8 [B, 2, 260, 260, 3]. Returns float32 [B, 523]"""
        tables = self._tables
        features = self._image_net.features(crops.reshape(-1, SIZE, SIZE, 3))
        features = features.reshape(len(crops), len(self.crops), WIDTH) - tables.typical
        logits = features @ self._image_net.class_weights.T
        chances = _keep_top(softmax(logits / LOGIT_TEMPERATURE).mean(1))
        colors = np.array([color_vector(color_shares(_own_pixels(crop))) for crop in crops[:, 0]])
        return _join(
            unit(features).sum(1) @ tables.image_basis,
            chances @ tables.meanings,
            colors.reshape(-1, len(TERMS)),
        )

    def encode_texts(self, texts: Sequence[str]) -> np.ndarray:
        """Embed texts. Returns float32 [T, 523]"""
        tables = self._tables
        asked = [asked_colors(text) for text in texts]
        meanings = self._text_net.encode([rest for _, rest in asked]) - tables.text_mean
        resemblance = softmax(unit(meanings) @ tables.anchors.T / ANCHOR_TEMPERATURE)
        colors = text_color_vectors([terms for terms, _ in asked])
        return _join(resemblance @ tables.looks, meanings @ tables.text_basis, colors)


class ImageNet(Protocol):
    """Features of pictures and a linear classifier on top, see `EfficientNetLite2`."""

    class_weights: np.ndarray

    def features(self, pictures: np.ndarray) -> np.ndarray: ...


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
        return Tables(**load_file(cached))
    except (OSError, SafetensorError, TypeError):
        pass  # not there yet, or damaged
    progress.say("Preparing the encoder lite, once on this machine (about 10 s)")
    tables = _compute(image_net, text_net.encode(texts))
    with atomic_write(cached) as temporary:
        save_file({key: np.ascontiguousarray(table) for key, table in vars(tables).items()}, temporary)
    return tables


def _compute(image_net: ImageNet, class_texts: np.ndarray) -> Tables:
    crops = typical_crops(LiteEncoder.crops, SIZE)
    typical = image_net.features(crops.reshape(-1, SIZE, SIZE, 3)).reshape(*crops.shape[:2], WIDTH).mean(0)
    text_mean = class_texts.mean(0)
    weights = image_net.class_weights
    looks, meanings = unit(weights - weights.mean(0)), class_texts - text_mean
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
    sign of a direction, which is free, is settled by its largest entry.
    """
    doubles = vectors.astype(np.float64)
    _, directions = np.linalg.eigh(doubles.T @ doubles)
    basis = directions[:, ::-1][:, :count]
    largest = basis[np.abs(basis).argmax(0), np.arange(count)]
    return (basis * np.sign(largest)).astype(np.float32)


def unit(vectors: np.ndarray) -> np.ndarray:
    """Divide by the length along the last axis; zeros stay zero."""
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)


def softmax(logits: np.ndarray) -> np.ndarray:
    """Softmax over the last axis."""
    exponents = np.exp(logits - logits.max(-1, keepdims=True))
    return exponents / exponents.sum(-1, keepdims=True)


def _keep_top(chances: np.ndarray) -> np.ndarray:
    """Keep the likeliest classes of each row and let them sum to 1."""
    least = np.partition(chances, -CLASSES_KEPT, axis=-1)[:, -CLASSES_KEPT, None]
    kept = np.where(chances >= least, chances, 0)
    return kept / kept.sum(-1, keepdims=True)


def _own_pixels(crop: np.ndarray) -> np.ndarray:
    """Some pixels of a masked crop, without the fill around the mask unless all is fill. uint8 [P, 3]"""
    pixels = crop[::COLOR_STEP, ::COLOR_STEP].reshape(-1, 3)
    own = (pixels != LiteEncoder.crops[0].fill).any(axis=1)
    return pixels[own] if own.any() else pixels


def _join(image_part: np.ndarray, text_part: np.ndarray, color_part: np.ndarray) -> np.ndarray:
    parts = [unit(image_part), np.sqrt(TEXT_WEIGHT) * unit(text_part), np.sqrt(COLOR_WEIGHT) * color_part]
    return unit(np.concatenate(parts, axis=-1)).astype(np.float32)
