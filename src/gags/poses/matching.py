"""From keypoints to matches: which photos are compared with which."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from gags.capture.lens import turned_to
from gags.poses.bare import BarePhoto
from gags.poses.database import descriptors_of, find_keypoints, open_database, quiet_colmap
from gags.poses.learnt import matching_options
from gags.poses.settings import Matching, PoseSettings
from gags.progress import SILENT, Reporter

Pair = tuple[int, int]
CLUSTERS = 32  # of descriptors, in a signature
CLUSTER_SAMPLE = 20_000  # descriptors that the clusters are learnt from
CLUSTER_ROUNDS = 12  # of k-means


def chosen_matching(settings: PoseSettings, count: int, *, video: bool) -> Matching:
    """What `auto` means for `count` photos."""
    if settings.matching != "auto":
        return settings.matching
    if video:
        return "sequential"
    return "exhaustive" if count <= settings.exhaustive_up_to else "nearest"


def exhaustive_pairs(count: int) -> set[Pair]:
    """Every pair (i, j) of `count` photos, i < j."""
    return {(i, j) for i in range(count) for j in range(i + 1, count)}


def sequential_pairs(count: int, overlap: int) -> set[Pair]:
    """Each photo with the `overlap` that follow it, and with those 2, 4, 8 … 2^overlap further on."""
    steps = {*range(1, overlap + 1), *(2**power for power in range(overlap + 1))} if overlap else set()
    return {(i, i + step) for i in range(count) for step in steps if i + step < count}


def nearest_pairs(signatures: np.ndarray, neighbours: int) -> set[Pair]:
    """Each photo with those whose signatures are nearest.

    Args:
        signatures: One a photo, L2-normalised. [N, D]
        neighbours: How many each is paired with.
    """
    count = len(signatures)
    likeness = signatures @ signatures.T
    np.fill_diagonal(likeness, -np.inf)
    order = np.argsort(-likeness, axis=1, kind="stable")[:, : min(neighbours, max(count - 1, 0))]
    return {(min(i, int(j)), max(i, int(j))) for i in range(count) for j in order[i]}


def signatures(descriptors: Sequence[np.ndarray], *, seed: int = 0) -> np.ndarray:
    """What photos look like, in one vector each, without a vocabulary made elsewhere (VLAD).

    Clusters of descriptors are learnt from the photos themselves. A signature sums, cluster by cluster, how a
    photo's descriptors differ from the centre of their cluster (Jégou et al. 2010), each sum normalised
    (Arandjelović and Zisserman 2013).

    Args:
        descriptors: Of every photo, any type. [n_i, D] each
        seed: Of the sample and of the first centres.

    Returns:
        L2-normalised, 0 for photos without descriptors. float32 [N, CLUSTERS · D], less wide where there are
        fewer descriptors than clusters.
    """
    centres = _cluster_centres(descriptors, np.random.default_rng(seed))
    rows = []
    for each in descriptors:
        each = each.astype(np.float32)
        vector = np.zeros_like(centres)
        if len(each):
            nearest = _nearest(each, centres)
            np.add.at(vector, nearest, each - centres[nearest])
            vector /= np.maximum(np.linalg.norm(vector, axis=1, keepdims=True), 1e-6)
            vector /= max(float(np.linalg.norm(vector)), 1e-6)
        rows.append(vector.reshape(-1))
    return np.stack(rows)


def _cluster_centres(descriptors: Sequence[np.ndarray], rng: np.random.Generator) -> np.ndarray:
    """k-means of a sample. float32 [≤ CLUSTERS, D]"""
    import cv2

    each = max(1, CLUSTER_SAMPLE // max(1, len(descriptors)))
    sample = np.concatenate([d[rng.permutation(len(d))[:each]] for d in descriptors]).astype(np.float32)
    if len(sample) <= CLUSTERS:
        return sample if len(sample) else np.zeros((1, sample.shape[1]), np.float32)
    # First centres from `rng`, not OpenCV's own: those would need its global seed to be set.
    labels = _nearest(sample, sample[rng.permutation(len(sample))[:CLUSTERS]])[:, None].astype(np.int32)
    rounds = (cv2.TERM_CRITERIA_MAX_ITER, CLUSTER_ROUNDS, 0.0)
    return cv2.kmeans(sample, CLUSTERS, labels, rounds, 1, cv2.KMEANS_USE_INITIAL_LABELS)[2]


def _nearest(vectors: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """Row of the nearest centre. int [n]"""
    import cv2

    return cv2.batchDistance(vectors, centres, cv2.CV_32F, K=1)[1][:, 0]


def photo_pairs(
    matching: Matching, descriptors: Sequence[np.ndarray], settings: PoseSettings, *, known: int | None = None
) -> list[Pair]:
    """The pairs of photos to compare, sorted.

    Args:
        matching: Not "auto".
        descriptors: Of every photo, in the order of names; not used where all pairs are taken. [n_i, D] each
        settings: How many neighbours.
        known: Number of photos, if `descriptors` is left empty.
    """
    count = len(descriptors) if known is None else known
    if matching == "exhaustive":
        return sorted(exhaustive_pairs(count))
    alike = settings.neighbours if matching == "nearest" else settings.neighbours // 5
    pairs = sequential_pairs(count, settings.overlap)
    if alike:
        pairs |= nearest_pairs(signatures(descriptors, seed=settings.seed), alike)
    return sorted(pairs)


def view_pairs(photos: list[BarePhoto], matching: Matching, pairs: list[Pair], overlap: int) -> list[Pair]:
    """The pairs of views of different panoramas, sorted.

    Neighbours in the order of names are panoramas, not views: the views of one look away from each other,
    those of the next look about the same way.

    Args:
        photos: All views.
        matching: Not "auto".
        pairs: Those that `photo_pairs` chose.
        overlap: With which following panoramas each is compared, unless all pairs are taken.
    """
    chosen = {(i, j) for i, j in pairs if photos[i].panorama != photos[j].panorama}
    rows: dict[str, list[int]] = {}
    for row, photo in enumerate(photos):
        rows.setdefault(photo.panorama, []).append(row)
    groups = list(rows.values())
    for first, second in sequential_pairs(len(groups), overlap) if matching != "exhaustive" else ():
        for i in groups[first]:
            ahead = turned_to(photos[i].direction)[:, 2]
            near = (j for j in groups[second] if ahead @ turned_to(photos[j].direction)[:, 2] > LEAST_ALIKE)
            chosen |= {(i, j) for j in near}
    return sorted(chosen)


# Cosine of the angle between views of panoramas that follow each other, to be compared: up to 46°.
LEAST_ALIKE = 0.69
PAIRS_A_BATCH = 200  # between two steps of the bar; the most that is lost when a run is stopped


def match_photos(
    photos: list[BarePhoto],
    database: Path,
    settings: PoseSettings,
    progress: Reporter = SILENT,
    *,
    in_order: bool = False,
) -> None:
    """Find keypoints of all photos, and verified matches of the pairs that settings choose.

    Args:
        photos: All photos.
        database: COLMAP's; what it holds already is not done again.
        settings: What is looked for, and in which pairs.
        progress: Told about progress.
        in_order: Whether photos that follow each other show nearly the same, as frames of a video do.
    """
    find_keypoints(photos, database, settings, progress)
    matching = chosen_matching(settings, len(photos), video=in_order)
    descriptors = [] if matching == "exhaustive" else descriptors_of(database, photos)
    pairs = photo_pairs(matching, descriptors, settings, known=len(photos))
    if any(photo.panorama for photo in photos):
        pairs = view_pairs(photos, matching, pairs, settings.overlap)
    compare_pairs([photo.key for photo in photos], pairs, database, settings, progress)


def compare_pairs(
    keys: list[str], pairs: list[Pair], database: Path, settings: PoseSettings, progress: Reporter = SILENT
) -> None:
    """Match keypoints of pairs of photos and keep what fits one geometry; pairs that are done are skipped.

    Args:
        keys: Photos, as the database calls them.
        pairs: Which are compared, as rows of `keys`.
        database: COLMAP's, with the keypoints.
        settings: How keypoints are matched, and the seed of the robust estimation.
        progress: Told about progress.
    """
    from gags.poses.colmap import pycolmap

    waiting = _waiting(keys, pairs, database)
    matching = matching_options(settings)
    verification = pycolmap.TwoViewGeometryOptions()
    verification.ransac.random_seed = settings.seed
    pairing = pycolmap.ImportedPairingOptions()
    with (
        progress.stage("Comparing photos", len(pairs), "pairs") as bar,
        tempfile.TemporaryDirectory() as folder,
        quiet_colmap(),
    ):
        bar.advance(len(pairs) - len(waiting))
        pairing.match_list_path = Path(folder) / "pairs.txt"
        for start in range(0, len(waiting), PAIRS_A_BATCH):
            block = waiting[start : start + PAIRS_A_BATCH]
            text = "".join(f"{keys[i]} {keys[j]}\n" for i, j in block)
            Path(pairing.match_list_path).write_text(text, encoding="utf-8")
            pycolmap.match_image_pairs(database, matching, pairing, verification, pycolmap.Device.cpu)
            bar.advance(len(block))


def _waiting(keys: list[str], pairs: list[Pair], database: Path) -> list[Pair]:
    from gags.poses.colmap import pycolmap

    with open_database(database) as file:
        known = {image.name: image.image_id for image in file.read_all_images()}
        done = set(file.read_two_view_geometry_num_inliers()[0])
    numbers = [known[key] for key in keys]
    return [(i, j) for i, j in pairs if pycolmap.image_pair_to_pair_id(numbers[i], numbers[j]) not in done]
