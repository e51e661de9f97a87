"""Figures of a service in the text format that Prometheus reads."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

BATCHES = (1, 2, 4, 8, 16, 32, 64)
SECONDS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)


class Metrics:
    """Counts of one service.

    Args:
        waiting: Says how many questions wait.
        loaded: Says how many scenes are in memory.
    """

    def __init__(self, waiting: Callable[[], int], loaded: Callable[[], int]) -> None:
        self._registry = registry = CollectorRegistry()
        self.requests = Counter(
            "gags_requests", "Requests by route and status.", ("route", "status"), registry=registry
        )
        self.seconds = Histogram(
            "gags_request_seconds", "Time to an answer.", ("route",), registry=registry, buckets=SECONDS
        )
        self.batches = Histogram(
            "gags_batch_questions", "Questions answered together.", registry=registry, buckets=BATCHES
        )
        Gauge("gags_waiting", "Questions that wait.", registry=registry).set_function(waiting)
        Gauge("gags_scenes_loaded", "Scenes in memory.", registry=registry).set_function(loaded)

    def text(self) -> bytes:
        """All of them."""
        return generate_latest(self._registry)
