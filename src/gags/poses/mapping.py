"""From keypoints to poses: compare pairs of photos, then place photo after photo (COLMAP's mapper)."""

import tempfile
from pathlib import Path
from typing import Any

from gags.errors import CaptureError
from gags.poses.database import descriptors_of, find_keypoints, open_database, quiet_colmap
from gags.poses.inputs import BarePhoto
from gags.poses.pairs import Pair, chosen_matching, photo_pairs
from gags.poses.settings import PoseSettings
from gags.progress import SILENT, Bar, Reporter

PAIRS_AT_ONCE = 200  # between two steps of the bar; the most that is lost when a run is stopped
LEAST_GROUP = 3  # photos that hang together are a model of their own from here on


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
    compare_pairs([photo.key for photo in photos], pairs, database, settings.seed, progress)


def compare_pairs(
    keys: list[str], pairs: list[Pair], database: Path, seed: int, progress: Reporter = SILENT
) -> None:
    """Match keypoints of pairs of photos and keep what fits one geometry; pairs that are done are skipped.

    Args:
        keys: Photos, as the database calls them.
        pairs: Which are compared, as rows of `keys`.
        database: COLMAP's, with the keypoints.
        seed: Of the robust estimation.
        progress: Told about progress.
    """
    import pycolmap

    waiting = _waiting(keys, pairs, database)
    matching = pycolmap.FeatureMatchingOptions()
    matching.use_gpu = False
    verification = pycolmap.TwoViewGeometryOptions()
    verification.ransac.random_seed = seed
    pairing = pycolmap.ImportedPairingOptions()
    with (
        progress.stage("Comparing photos", len(pairs), "pairs") as bar,
        tempfile.TemporaryDirectory() as folder,
        quiet_colmap(),
    ):
        bar.advance(len(pairs) - len(waiting))
        pairing.match_list_path = Path(folder) / "pairs.txt"
        for start in range(0, len(waiting), PAIRS_AT_ONCE):
            block = waiting[start : start + PAIRS_AT_ONCE]
            text = "".join(f"{keys[i]} {keys[j]}\n" for i, j in block)
            Path(pairing.match_list_path).write_text(text, encoding="utf-8")
            pycolmap.match_image_pairs(database, matching, pairing, verification, pycolmap.Device.cpu)
            bar.advance(len(block))


def _waiting(keys: list[str], pairs: list[Pair], database: Path) -> list[Pair]:
    import pycolmap

    with open_database(database) as file:
        known = {image.name: image.image_id for image in file.read_all_images()}
        done = set(file.read_two_view_geometry_num_inliers()[0])
    numbers = [known[key] for key in keys]
    return [(i, j) for i, j in pairs if pycolmap.image_pair_to_pair_id(numbers[i], numbers[j]) not in done]


def place_photos(database: Path, count: int, seed: int, progress: Reporter = SILENT) -> list[Any]:
    """Find poses and points of all photos that hang together.

    Args:
        database: COLMAP's, with verified matches.
        count: How many photos there are.
        seed: Of every random choice.
        progress: Told about progress.

    Returns:
        One `pycolmap.Reconstruction` for each group of photos that hang together, the largest first; none if
        nothing fits.
    """
    import pycolmap

    pycolmap.set_random_seed(seed)
    options = mapper_options(count, seed)
    with (
        progress.stage("Placing photos", count, "photos") as bar,
        tempfile.TemporaryDirectory() as folder,
        quiet_colmap(),
    ):
        counter = _Counter(bar)
        try:
            models = pycolmap.incremental_mapping(
                database, folder, folder, options, "", counter.first_two, counter.one
            )
        except (RuntimeError, ValueError) as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise CaptureError(
                f"poses cannot be found from {database} ({reason}); delete it and try again"
            ) from error
    return sorted(models.values(), key=lambda model: -model.num_reg_images())


def mapper_options(count: int, seed: int) -> Any:
    """COLMAP's defaults, with seeds, and models of three photos allowed where there are few photos at all."""
    import pycolmap

    options = pycolmap.IncrementalPipelineOptions()
    options.random_seed = options.mapper.random_seed = options.triangulation.random_seed = seed
    options.min_model_size = max(LEAST_GROUP, min(10, count // 4))
    options.extract_colors = False  # done on the undistorted photos
    return options


class _Counter:
    """Moves a bar at each photo that is placed, never beyond its end: COLMAP may begin several models."""

    def __init__(self, bar: Bar) -> None:
        self._bar = bar

    def first_two(self) -> None:
        self.one()
        self.one()

    def one(self) -> None:
        if self._bar.done < self._bar.total:
            self._bar.advance()
