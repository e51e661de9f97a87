"""Means over objects and pairs of photos, and intervals of their differences."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

DRAWS = 10_000
INTERVAL = (2.5, 97.5)  # percentiles


@dataclass(frozen=True)
class Effect:
    """A difference of two means.

    Attributes:
        mean: The difference.
        low: Lower end of its 95 % interval.
        high: Upper end.
    """

    mean: float
    low: float
    high: float

    @property
    def shown(self) -> bool:
        """Whether the interval lies on one side of 0."""
        return self.low > 0 or self.high < 0


class Bootstrap:
    """Objects and photos drawn anew, with replacement: the same draws for everything that is compared.

    Args:
        objects: Number K of objects.
        near: Number U of photos of the one ring.
        far: Number V of photos of the other ring.
        draws: How often.
        seed: Of the draws.
    """

    def __init__(self, objects: int, near: int, far: int, *, draws: int = DRAWS, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)

        def weights(count: int) -> np.ndarray:
            """How often each of `count` was drawn. [draws, count]"""
            return rng.multinomial(count, np.full(count, 1 / count), size=draws).astype(float)

        self._objects = weights(objects)
        pairs = weights(near)[:, :, None] * weights(far)[:, None, :]
        self._pairs = pairs.reshape(draws, near * far)

    def means(self, values: np.ndarray) -> np.ndarray:
        """Mean over objects, each counting alike, of the mean over its pairs, in every draw.

        Args:
            values: NaN for what is not seen; so are objects that no drawn pair sees left out. [L, K, U, V]

        Returns:
            NaN for draws in which nothing is seen. [L, draws]
        """
        flat = values.reshape(*values.shape[:2], -1)
        seen = np.isfinite(flat).astype(float)
        counts = seen @ self._pairs.T  # [L, K, draws]
        sums = np.nan_to_num(flat) @ self._pairs.T
        each = np.divide(sums, counts, out=np.zeros_like(sums), where=counts > 0)
        objects = self._objects.T[None] * (counts > 0)
        total = objects.sum(axis=1)
        return np.divide(
            (objects * each).sum(axis=1), total, out=np.full(total.shape, np.nan), where=total > 0
        )

    def effects(self, one: np.ndarray, other: np.ndarray) -> list[Effect]:
        """Differences of the means of two arms, `one` less `other`. [L, K, U, V] each, to L effects"""
        differences = self.means(one) - self.means(other)
        lows, highs = np.nanpercentile(differences, INTERVAL, axis=1)
        point = plain_means(one) - plain_means(other)
        return [Effect(float(m), float(a), float(b)) for m, a, b in zip(point, lows, highs, strict=True)]


def plain_means(values: np.ndarray) -> np.ndarray:
    """Mean over objects of the mean over pairs, without what is not seen. [L, K, U, V] to [L]"""
    flat = values.reshape(*values.shape[:2], -1)
    seen = np.isfinite(flat)
    counts = seen.sum(axis=2)
    each = np.nan_to_num(flat).sum(axis=2) / np.maximum(counts, 1)
    return (each * (counts > 0)).sum(axis=1) / np.maximum((counts > 0).sum(axis=1), 1)


def written(effect: Effect, factor: float = 1.0) -> str:
    """An effect for a table: "+2.1 (0.3 to 4.0)", with "not shown" where the interval holds both signs."""
    text = f"{factor * effect.mean:+.1f} ({factor * effect.low:+.1f} to {factor * effect.high:+.1f})"
    return text if effect.shown else f"{text}, not shown"


def joined(effects: Sequence[Effect], factor: float = 1.0) -> str:
    """Effects as cells of a row."""
    return " | ".join(written(effect, factor) for effect in effects)
