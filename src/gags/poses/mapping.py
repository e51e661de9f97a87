"""From matches to poses: all photos that are connected, placed one after the other or all at once."""

import shutil
import tempfile
from pathlib import Path
from typing import Any

from gags.capture.projections import EQUIRECTANGULAR
from gags.errors import CaptureError
from gags.poses.database import open_database, quiet_colmap
from gags.poses.rigs import hold_rigs
from gags.poses.settings import Mapper, PoseSettings
from gags.progress import SILENT, Bar, Reporter
from gags.threads import wished_threads

LEAST_GROUP = 3  # so many photos that are connected by matches become a model of their own
GLOBAL_SINCE = "4.0"  # version of pycolmap that has the global mapper; before, it was a program of its own


def chosen_mapper(settings: PoseSettings) -> Mapper:
    """What `auto` means: incremental, whatever the number of photos (`benchmarks/poses.py` says why)."""
    return "incremental" if settings.mapper == "auto" else settings.mapper


def check_mapper(settings: PoseSettings) -> None:
    """Make sure that the mapper that is asked for is there, before keypoints are found.

    Raises:
        CaptureError: If this version of pycolmap has no global mapper, or it is asked for panoramas.
    """
    from gags.poses.colmap import pycolmap

    if chosen_mapper(settings) == "global" and not hasattr(pycolmap, "global_mapping"):
        raise CaptureError(
            f"--mapper global needs pycolmap {GLOBAL_SINCE} or later, and {pycolmap.__version__} is here: "
            f"pip install 'pycolmap>={GLOBAL_SINCE}', or choose --mapper incremental"
        )
    if chosen_mapper(settings) == "global" and settings.camera == EQUIRECTANGULAR:
        raise CaptureError(
            "--mapper global does not keep the views of a panorama together; choose --mapper incremental"
        )


def place_photos(
    database: Path, count: int, settings: PoseSettings = PoseSettings(), progress: Reporter = SILENT
) -> list[Any]:
    """Find poses and points of all photos that are connected by matches.

    Args:
        database: COLMAP's, with verified matches; it is not changed.
        count: How many photos there are.
        settings: Which mapper, and the seed of every random choice.
        progress: Told about progress.

    Returns:
        One `pycolmap.Reconstruction` for each group of photos that are connected by matches, the largest
        first; none if nothing fits.

    Raises:
        CaptureError: If the database cannot be used, or the mapper is not there.
    """
    from gags.poses.colmap import pycolmap

    check_mapper(settings)
    pycolmap.set_random_seed(settings.seed)
    with (
        progress.stage("Placing photos", count, "photos") as bar,
        tempfile.TemporaryDirectory() as folder,
        quiet_colmap(),
    ):
        try:
            if chosen_mapper(settings) == "global":
                models = _placed_at_once(database, Path(folder), settings.seed)
                placed = max((model.num_reg_images() for model in models.values()), default=0)
                bar.advance(placed)
            else:
                options = mapper_options(count, settings.seed)
                with open_database(database) as file:
                    hold_rigs(options, file)
                models = placed_one_by_one(database, folder, options, bar)
        except (RuntimeError, ValueError) as error:
            raise _unfit(database, error) from error
    return sorted(models.values(), key=lambda model: -model.num_reg_images())


def placed_one_by_one(
    database: Path, folder: Path | str, options: Any, bar: Bar, start: Path | str = ""
) -> dict[int, Any]:
    """COLMAP's incremental mapper: two photos first, then one after the other, or on from a model.

    Args:
        database: COLMAP's, with verified matches.
        folder: Where COLMAP may write.
        options: `pycolmap.IncrementalPipelineOptions`.
        bar: Moved at each photo.
        start: Folder of the model to go on from; "" for none.

    Raises:
        RuntimeError: If COLMAP cannot work with the database.
    """
    from gags.poses.colmap import pycolmap

    counter = _Counter(bar)
    return pycolmap.incremental_mapping(
        database, folder, folder, options, start, counter.first_two, counter.one
    )


def _placed_at_once(database: Path, folder: Path, seed: int) -> dict[int, Any]:
    """COLMAP's global mapper: all rotations first, then all places (Pan et al. 2024).

    It starts from focal lengths that are right, so these are calibrated from pairs of photos before, in a
    copy, since that changes the database.
    """
    from gags.poses.colmap import pycolmap

    copy = folder / "database.db"
    shutil.copyfile(database, copy)
    calibration = pycolmap.ViewGraphCalibrationOptions()
    calibration.random_seed = seed
    pycolmap.calibrate_view_graph(copy, calibration)
    options = pycolmap.GlobalPipelineOptions()
    mapper = options.mapper
    options.random_seed = mapper.random_seed = mapper.rotation_averaging.random_seed = seed
    mapper.global_positioning.random_seed = mapper.retriangulation.random_seed = seed
    options.num_threads = mapper.num_threads = wished_threads()
    options.min_model_size = LEAST_GROUP
    return pycolmap.global_mapping(copy, folder, folder, options)


def mapper_options(count: int, seed: int) -> Any:
    """COLMAP's defaults, with seeds, and models of three photos allowed where there are few photos at all.

    Threads are as many as this process may use; COLMAP would take all cores.
    """
    from gags.poses.colmap import pycolmap

    options = pycolmap.IncrementalPipelineOptions()
    options.random_seed = options.mapper.random_seed = options.triangulation.random_seed = seed
    options.num_threads = options.mapper.num_threads = wished_threads()
    options.min_model_size = max(LEAST_GROUP, min(10, count // 4))
    options.extract_colors = False  # done on the undistorted photos
    return options


def _unfit(database: Path, error: Exception) -> CaptureError:
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    return CaptureError(f"poses cannot be found from {database} ({reason}); delete it and try again")


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
