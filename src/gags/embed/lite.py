"""The encoder `lite`: an ImageNet classifier and a sentence encoder, joined over the names of the classes.

There is no CLIP in it. An EfficientNet knows what the 1000 ImageNet classes look like, MiniLM knows what
their descriptions mean, and both sides of a comparison are carried over that bridge:

- a region becomes [f ; √.5·t]: f its image features, t the text embedding that its likeliest classes suggest;
- a text becomes [w ; √.5·e]: w the classifier's weights of the classes it resembles, e its text embedding.

It is an honest stopgap for machines that cannot reach a model hub: good at everyday things that ImageNet has
a class for, weak beyond them.
"""

from collections.abc import Sequence
from functools import cached_property

import numpy as np

from gags import models
from gags.embed.anchors import class_embeddings
from gags.embed.base import CropRule
from gags.embed.efficientnet import SIZE, EfficientNetLite2
from gags.embed.minilm import MiniLM
from gags.progress import SILENT, Reporter

TEXT_WEIGHT = 0.5
"""Share of the text half of a vector, relative to the image half."""

CLASSES_KEPT = 10
"""Classes of a region that its text half is made of."""

LOGIT_TEMPERATURE = 2.0
"""Divides the classifier's logits; above 1, second and third guesses count more."""

ANCHOR_TEMPERATURE = 0.1
"""Divides the cosine of a text to the class descriptions; small, so that a text takes few classes."""


class LiteEncoder:
    """Implements `gags.embed.base.Encoder`."""

    name = "lite"
    dim = 1280 + 384
    image_size = SIZE
    crops = (
        CropRule(padding=0.03, keep_background=False, fill=127, square="box"),
        CropRule(padding=0.10, keep_background=True, fill=127, square="box"),
    )
    temperature = 10.0
    negatives: tuple[str, ...] = ("object", "things", "stuff", "texture")

    def __init__(self, report: Reporter = SILENT) -> None:
        """Load both nets.

        Args:
            report: Told when something costly is computed for the first time on this machine.

        Raises:
            ModelError: If the wheels of the extra `lite` are not installed.
        """
        files = models.files("lite")
        self._image_net = EfficientNetLite2(files["efficientnet-lite2-9656183e.pth"])
        self._text_net = MiniLM(files["model.safetensors"].parent)
        self._class_texts = class_embeddings(self._text_net, report)

    def encode_images(self, crops: np.ndarray) -> np.ndarray:
        """Embed regions from their two crops, uint8 [B, 2, 260, 260, 3]. Returns float32 [B, D]"""
        count, views = crops.shape[:2]
        features = self._image_net.features(crops.reshape(-1, *crops.shape[2:]))
        chances = softmax(self._image_net.logits(features) / LOGIT_TEMPERATURE)
        features = unit(features).reshape(count, views, features.shape[1]).sum(1)
        chances = chances.reshape(count, views, chances.shape[1]).mean(1)
        suggested = _keep_top(chances) @ self._class_texts
        return _join(features, suggested - self._text_mean)

    def encode_texts(self, texts: Sequence[str]) -> np.ndarray:
        """Embed texts. Returns float32 [T, D]"""
        embeddings = self._text_net.encode(texts)
        resemblance = unit(embeddings - self._text_mean) @ unit(self._class_texts - self._text_mean).T
        return _join(softmax(resemblance / ANCHOR_TEMPERATURE) @ self._class_directions, embeddings)

    @cached_property
    def _text_mean(self) -> np.ndarray:
        return self._class_texts.mean(0)

    @cached_property
    def _class_directions(self) -> np.ndarray:
        """What tells each class from the others, as unit vectors of the image net. float32 [1000, 1280]"""
        return unit(self._image_net.class_weights - self._image_net.class_weights.mean(0))


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


def _join(image_half: np.ndarray, text_half: np.ndarray) -> np.ndarray:
    halves = np.concatenate([unit(image_half), np.sqrt(TEXT_WEIGHT) * unit(text_half)], axis=-1)
    return unit(halves).astype(np.float32)
