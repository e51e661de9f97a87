"""What a comparison leaves behind: figures of every seed, and their medians."""

import statistics
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class SeedResult:
    """One method with one seed.

    Attributes:
        seed: Of sampling, training and the autoencoder; masks are the same for all seeds.
        evaluation: `Evaluation.to_json()`: every row, and the means.
        language_seconds: Time to learn language, from masks to what is kept.
        stages: Seconds of the stages within.
        query_ms: Median time of one text in one view.
        bytes_per_gaussian: Size of what is kept for a Gaussian.
        peak_memory_mb: The most memory that learning or asking took, 10⁶ bytes; None if unknown.
    """

    seed: int
    evaluation: dict[str, Any]
    language_seconds: float
    stages: dict[str, float]
    query_ms: float
    bytes_per_gaussian: float
    peak_memory_mb: float | None

    @property
    def mean_accuracy(self) -> float:
        """mAcc over all labelled pairs, in [0, 1]."""
        return self.evaluation["overall"]["mean_accuracy"]

    @property
    def mean_iou(self) -> float:
        """mIoU over all labelled pairs, in [0, 1]."""
        return self.evaluation["overall"]["mean_iou"]

    def to_json(self) -> dict[str, Any]:
        """As in `compare.json`."""
        plain = asdict(self)
        evaluation = plain.pop("evaluation")
        return {"seed": self.seed, "mAcc": self.mean_accuracy, "mIoU": self.mean_iou} | plain | evaluation


@dataclass(frozen=True)
class MethodResult:
    """One method with all seeds.

    Attributes:
        method: Its name.
        title: What it is.
        prompts: How the photos were prompted.
        scene: Prompts, masks and seconds of the scene it learnt from; see `Described.figures`.
        seeds: One result a seed.
    """

    method: str
    title: str
    prompts: str
    scene: dict[str, Any]
    seeds: tuple[SeedResult, ...]

    def median(self, figure: Callable[[SeedResult], float]) -> float:
        """Median of a figure over the seeds."""
        return statistics.median(map(figure, self.seeds))

    @property
    def seconds(self) -> dict[str, float]:
        """Seconds of each stage: Gaussians and masks (shared with other methods), and language (median)."""
        return self.scene["seconds"] | {"language": self.median(lambda seed: seed.language_seconds)}

    @property
    def peak_memory_mb(self) -> float | None:
        """Median over the seeds of which it is known, 10⁶ bytes."""
        known = [seed.peak_memory_mb for seed in self.seeds if seed.peak_memory_mb is not None]
        return statistics.median(known) if known else None

    def to_json(self) -> dict[str, Any]:
        """As in `compare.json`: medians over the seeds, then every seed with all rows."""
        return {
            "method": self.method,
            "title": self.title,
            "prompts": self.prompts,
            "mAcc": self.median(lambda seed: seed.mean_accuracy),
            "mIoU": self.median(lambda seed: seed.mean_iou),
            "seconds": self.seconds,
            "query_ms": self.median(lambda seed: seed.query_ms),
            "bytes_per_gaussian": self.median(lambda seed: seed.bytes_per_gaussian),
            "peak_memory_mb": self.peak_memory_mb,
            "scene": {key: self.scene[key] for key in ("prompts", "masks")},
            "seeds": [seed.to_json() for seed in self.seeds],
        }
