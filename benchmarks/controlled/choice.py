"""Which three regions a prompt brings up: SAM's habit of answering by size and by what looks like a thing."""

from dataclasses import dataclass

import numpy as np

from benchmarks.controlled.names import generator
from benchmarks.controlled.nest import KINDS, STEPS, Nest

LEVEL_COUNT = 3


@dataclass(frozen=True)
class Habits:
    """How a region scores at each level; fitted to what MobileSAM answered (see the README).

    The score of a region is −½ ((ln area − centre) / width)² for its area in px, plus how much it looks like
    a thing. The three regions of a prompt lie in each other, the best such triple of the chain is taken.
    """

    centres: tuple[float, float, float] = (7.1, 7.3, 9.5)
    """Logarithm of the area, px, that each level prefers."""
    widths: tuple[float, float, float] = (1.45, 1.35, 1.5)
    """How many factors of e off that area a region scores ½ less."""
    looks: tuple[float, ...] = (-1.2, -1.0, 0.75, 4.0, 0.65, -0.6)
    """How much patches, parts, objects, stuff, groups and scenes look like a thing."""
    spread: float = 1.8
    """Standard deviation of the looks of single regions, the same for all prompts in a view."""
    persistence: float = 0.85
    """Share of it, in variance, that is the same in all views: some regions stand out."""
    prompt_spread: float = 0.15
    """Scale of what differs from prompt to prompt (Gumbel)."""
    repeat: float = 1.4
    """What it costs to bring up one region at two levels."""


def triples() -> np.ndarray:
    """Steps of a chain that three levels can take, none above the next. int64 [T, 3]"""
    steps = np.stack(np.meshgrid(*[np.arange(STEPS)] * LEVEL_COUNT, indexing="ij"), axis=-1).reshape(
        -1, LEVEL_COUNT
    )
    return steps[(np.diff(steps, axis=1) >= 0).all(axis=1)]


def scores(nest: Nest, habits: Habits, seed: int, rng: np.random.Generator) -> np.ndarray:
    """Score of every region of a view at every level.

    Args:
        nest: The regions.
        habits: How they score.
        seed: Of looks that all views have in common.
        rng: Draws looks of this view.

    Returns:
        float64 [N, 3]
    """
    areas = np.log(np.maximum(nest.areas, 1.0))[:, None]
    fits = -0.5 * np.square((areas - np.array(habits.centres)) / np.array(habits.widths))
    always = np.array([generator("look", seed, key).standard_normal() for key in nest.keys])
    here = rng.standard_normal(len(always))
    own = np.sqrt(habits.persistence) * always + np.sqrt(1 - habits.persistence) * here
    return fits + (np.array(habits.looks)[np.array(nest.kinds, int)] + habits.spread * own)[:, None]


def choose(
    scored: np.ndarray, chains: np.ndarray, habits: Habits, noise: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The region that each level of each prompt brings up.

    Args:
        scored: From `scores`. [N, 3]
        chains: Chain of each prompt, -1 behind the last region. int [B, STEPS]
        habits: The same as for `scores`.
        noise: Standard Gumbel noise. [B, STEPS, 3]

    Returns:
        Regions, -1 for a prompt without a chain. int64 [B, 3]
        How doubtful each choice is: how near the best triple with another region at this level comes, from
        0 to 1 for one as good. float64 [B, 3]
    """
    values = np.where(chains[..., None] >= 0, scored[chains], -np.inf) + habits.prompt_spread * noise
    steps = triples()
    totals = sum(values[:, steps[:, level], level] for level in range(LEVEL_COUNT))
    totals = totals - habits.repeat * (np.diff(steps, axis=1) == 0).sum(axis=1)
    best = steps[totals.argmax(axis=1)]
    regions = np.take_along_axis(chains, best, axis=1).astype(np.int64)
    top = totals.max(axis=1, keepdims=True)
    doubts = []
    for level in range(LEVEL_COUNT):
        others = np.where(steps[:, level] == best[:, level, None], -np.inf, totals).max(axis=1)
        doubts.append(np.exp(others - np.where(np.isfinite(top[:, 0]), top[:, 0], 0)))
    doubt = np.where(np.isfinite(top), np.stack(doubts, axis=1), 1.0)
    return np.where(np.isfinite(top), regions, -1), doubt


assert len(Habits().looks) == len(KINDS)
