"""What a scene can be asked: the everyday words that its masks answer best."""

from collections.abc import Iterable, Sequence

import numpy as np
import torch

from gags.embed.description import Description
from gags.embed.encoder import Encoder
from gags.query.relevancy import contrary_phrases, relevancy_from_cosines
from gags.query.words import EVERYDAY

BEST_MASKS = 3  # a word counts as much as the mean of its best masks, so that one odd mask suggests nothing
MIN_PIXELS = 0.002  # masks below this share of a photo are too small to name


def suggest_texts(
    features: Iterable[Description], encoder: Encoder, *, count: int = 6, words: Sequence[str] = EVERYDAY
) -> list[str]:
    """The words that name the most certain things in some photos, best first.

    Args:
        features: Masks and embeddings of photos, made with `encoder`.
        encoder: The encoder.
        count: How many words.
        words: Words to choose from.

    Returns:
        At most `count` words; each is the best word for at least `BEST_MASKS` masks.
    """
    vectors = torch.from_numpy(encoder.encode_texts(words))
    negatives = torch.from_numpy(encoder.encode_texts(list(encoder.negatives)))
    contrary = contrary_phrases(vectors, negatives, encoder.same_meaning)
    scores: dict[str, list[float]] = {}
    for photo in features:
        large = _areas(photo) >= MIN_PIXELS * photo.masks.labels[0].size
        if not large.any():
            continue
        embeddings = torch.from_numpy(photo.embeddings[large].astype(np.float32))
        relevancy = relevancy_from_cosines(
            embeddings @ vectors.T,
            embeddings @ negatives.T,
            temperature=encoder.temperature,
            contrary=contrary,
        )
        for best, score in zip(relevancy.argmax(1).tolist(), relevancy.amax(1).tolist(), strict=True):
            scores.setdefault(words[int(best)], []).append(score)
    means = {
        word: float(np.mean(sorted(found)[-BEST_MASKS:]))
        for word, found in scores.items()
        if len(found) >= BEST_MASKS
    }
    return sorted(means, key=lambda word: -means[word])[:count]


def _areas(photo: Description) -> np.ndarray:
    """Pixels of every mask. int64 [M]"""
    labels = photo.masks.labels
    return np.bincount(labels[labels >= 0].astype(np.int64), minlength=len(photo.masks))
