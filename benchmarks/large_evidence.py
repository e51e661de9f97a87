"""Memory and time of what all photos together say, by the number of photos, without any photos.

    python -m benchmarks.large_evidence [--photos 100 300] [--gaussians 60000] [--what landmarks uplift …]

Made-up evidence: 45 things of two parts each, of which a photo sees three in ten, each in three masks and by
four Gaussians in five. Every count runs in a process of its own. "most" is the largest of what NumPy held
at a time beyond what was there (tracemalloc) and of what the process could not have dropped beyond what it
held (RssAnon, Linux); it counts what lies in no file. Threads as PyTorch and Numba choose them.
"""

import argparse
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable, Iterable

import numpy as np
import torch

from benchmarks.large import Watch, held, processor
from gags.distill.consensus import consensus, on_landmarks
from gags.distill.evidence import Evidence, Gathered, ViewEvidence, uplift
from gags.things.clusters import similar_masks

THINGS, SEEN, SHOWN = 45, 0.3, 0.8
WHAT = ("landmarks", "uplift", "consensus", "similar")
COLUMNS = ("photos", "masks", "entries MB", "what", "processor s", "most MB")


def made_up(photos: int, gaussians: int) -> Evidence:
    """Evidence of so many photos."""
    rng, gathered = np.random.default_rng(0), Gathered(gaussians)
    thing, side = np.sort(rng.integers(THINGS, size=gaussians)), rng.integers(2, size=gaussians)
    for _ in range(photos):
        seen = np.flatnonzero(rng.random(THINGS) < SEEN)
        place = np.full(THINGS, -1)
        place[seen] = np.arange(len(seen))
        rows = np.flatnonzero((place[thing] >= 0) & (rng.random(gaussians) < SHOWN)).astype(np.int32)
        whole, count = place[thing[rows]], 3 * len(seen)
        masks = np.stack([whole, len(seen) + 2 * whole + side[rows], np.full(len(rows), count)], axis=1)
        weights = np.repeat(rng.random(len(rows)).astype(np.float32) + 0.5, 3)
        gathered.add(ViewEvidence(np.repeat(rows, 3), masks.reshape(-1).astype(np.int32), weights, count))
    merged = gathered.merged()
    assert isinstance(merged, Evidence)
    return merged


def measured(work: Callable[[], object]) -> str:
    """Processor seconds and the most MB that some work takes."""
    tracemalloc.start()
    before, spent = held("RssAnon"), time.process_time()
    with Watch() as watch:
        work()
        spent = time.process_time() - spent
    most = max(tracemalloc.get_traced_memory()[1] / 1e6, watch.needed - before)
    tracemalloc.stop()
    return f"{spent:.2f} | {most:.0f}"


def rows_of(photos: int, gaussians: int, what: Iterable[str]) -> None:
    """Rows of one count, in this process."""
    small = made_up(3, 1000)
    vectors = torch.nn.functional.normalize(torch.randn(small.mask_count, 64), dim=1)
    for compiled in (on_landmarks(small, 100), small):
        consensus(compiled, vectors)
    similar_masks(small)
    evidence = made_up(photos, gaussians)
    vectors = torch.nn.functional.normalize(torch.randn(evidence.mask_count, 64), dim=1)
    works: dict[str, Callable[[], object]] = {
        "landmarks": lambda: on_landmarks(evidence),
        "uplift": lambda: uplift(evidence, vectors[:, :16], torch.ones(len(vectors))),
        "consensus": lambda: consensus(evidence, vectors),
        "similar": lambda: similar_masks(evidence),
    }
    size = 8 * len(evidence.columns) / 1e6
    for name in what:
        row = f"| {photos} | {evidence.mask_count:,} | {size:.0f} | {name} | {measured(works[name])} |"
        print(row, flush=True)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--photos", type=int, nargs="+", default=[100, 300])
    parser.add_argument("--gaussians", type=int, default=60_000)
    parser.add_argument("--what", nargs="+", choices=WHAT, default=WHAT)
    parser.add_argument("--rows", type=int, help=argparse.SUPPRESS)  # of one count, in this process
    given = parser.parse_args()
    if given.rows:
        rows_of(given.rows, given.gaussians, given.what)
        return
    print(processor(), f"\n\n| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}", flush=True)
    for photos in given.photos:
        command = [sys.executable, "-m", "benchmarks.large_evidence", "--rows", str(photos)]
        command += ["--gaussians", str(given.gaussians), "--what", *given.what]
        subprocess.run(command, check=True)


if __name__ == "__main__":
    main()
