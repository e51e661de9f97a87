"""Which prompts of a photo are worth an answer: those that look unlike all that were answered already.

Of the three masks of each of hundreds of prompts, one in ten to fifteen outlives the suppression of repeated
ones. So prompts are answered in rounds, and one is left out once, on every level, an answered prompt that
looks nearly the same and lies near got a mask that holds it, or got none at all. How places look is what the
segmenter's image embedding says.
"""

import numpy as np

FIRST_SHARE = 0.12  # of the prompts answered before any is left out
PROMPTS_A_ROUND = 32  # eight threads of the mask decoder take four each; fewer leave threads idle
DISTANCE_WEIGHT = 1.0  # of the distance in the photo, as a share of its diagonal, beside 1 − cosine
NO_MASK_WEIGHT = 1.5  # a level without a mask says less of its neighbours than a mask that holds them


class Novelty:
    """How much the prompts of a photo differ from those that were answered.

    The difference of two prompts is 1 minus the cosine of what the image encoder says of their places, plus
    their distance as a share of the photo's diagonal. The novelty of a prompt on a level is its least
    difference from an answered prompt whose mask of that level holds it; or 1.5 times that from one without a
    mask there. Its novelty is the largest of the three levels.

    Args:
        features: What the image encoder says of the place of each prompt. float32 [P, C]
        points: Prompts (x, y) in px. float32 [P, 2]
        size: Width and height of the photo, px.
        levels: Number of levels.
    """

    def __init__(self, features: np.ndarray, points: np.ndarray, size: tuple[int, int], levels: int) -> None:
        lengths = np.linalg.norm(features, axis=1, keepdims=True)
        self._features = features / np.maximum(lengths, np.finfo(np.float32).tiny)
        self._places = points * (DISTANCE_WEIGHT / float(np.hypot(*size)))
        self._least = np.full((levels, len(points)), np.inf, np.float32)
        self._waiting = np.ones(len(points), bool)

    def first(self) -> np.ndarray:
        """Prompts to begin with, as unlike each other as possible (farthest point sampling). int64 [N]"""
        count = min(len(self._waiting), max(PROMPTS_A_ROUND, round(FIRST_SHARE * len(self._waiting))))
        rows = np.zeros(count, np.int64)
        if not count:
            return rows
        nearest = np.full(len(self._waiting), np.inf, np.float32)
        for n in range(1, count):
            nearest = np.minimum(nearest, self._difference(rows[n - 1 : n])[0])
            nearest[rows[:n]] = -1  # of prompts that look the same, too, each is taken once
            rows[n] = np.argmax(nearest)
        return rows

    def next(self, least: float) -> np.ndarray:
        """The prompts of the next round, most novel first. int64 [N], empty once none is novel enough.

        Args:
            least: Prompts whose novelty is not above this are left out.
        """
        novelty = np.where(self._waiting, self._least.max(0), -np.inf)
        rows = np.argsort(-novelty, kind="stable")[:PROMPTS_A_ROUND]
        return rows[novelty[rows] > least]

    def answered(self, rows: np.ndarray, holds: np.ndarray, there: np.ndarray) -> None:
        """Take note of answers.

        Args:
            rows: The prompts that were answered. int64 [N]
            holds: Whether the mask of each, on each level, holds each prompt. bool [L, N, P]
            there: Whether each has a mask on each level that passed the filters. bool [L, N]
        """
        self._waiting[rows] = False
        difference = self._difference(rows)
        for level in range(len(holds)):
            seen = np.where(holds[level], difference, np.inf)
            without = np.where(there[level][:, None], np.inf, NO_MASK_WEIGHT * difference)
            self._least[level] = np.minimum(self._least[level], np.minimum(seen, without).min(0))

    def _difference(self, rows: np.ndarray) -> np.ndarray:
        """Difference of some prompts from all. float32 [N, P]"""
        cosines = self._features[rows] @ self._features.T
        apart = self._places[rows][:, None] - self._places[None]
        return (1 - cosines + np.hypot(apart[..., 0], apart[..., 1])).astype(np.float32)
