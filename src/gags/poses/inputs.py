"""Photos that have no poses yet: those of a folder, or the sharpest frames of a video."""

import math
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
from PIL import ExifTags

from gags.capture.folders import is_photo_folder
from gags.capture.formats import find_format
from gags.capture.formats.base import LEAST_USABLE_SHARE
from gags.capture.load import of_a_scene
from gags.capture.mask_files import AUTO, NONE, MaskedPhoto, find_masks, looked_at, without_ignored
from gags.capture.masks import kept_of_alpha, kept_of_mask, same_shape
from gags.capture.names import check_names, without_suffix
from gags.capture.photos import (
    SUFFIXES,
    check_whole,
    exif_orientation,
    is_result,
    is_scene,
    listed,
    map_folders,
    opened,
    photo_size,
    photos_in,
    read_photo,
    unreadable_photos,
    why_unreadable,
)
from gags.errors import CaptureError
from gags.files import listed_lines, read_table, write_json
from gags.progress import SILENT, Reporter

LEAST_PHOTOS_TO_PLACE = 3  # two photos show no scale, and nothing to check a third against
VIDEO_SUFFIXES = (".mp4", ".mov", ".m4v", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".mts", ".3gp")
FULL_FRAME_DIAGONAL_MM = 43.27  # what "35 mm equivalent" focal lengths refer to
DEFAULT_FOCAL = 1.2  # of the longer side, about 45° across; where EXIF says nothing
DEFAULT_FISHEYE_FOCAL = 0.4  # of the longer side: 180° across the diagonal of a photo of 3:2
LEAST_INTERVAL_S = 0.2  # frames closer in time show the same
DEFAULT_RATE = 30.0  # frames a second, where the file does not say
SHARPNESS_SIDE = 640  # px; blur that matters shows at this size, noise of the sensor does not
JPEG_QUALITY = 95  # of frames, and of undistorted photos


@dataclass(frozen=True)
class BarePhoto:
    """A photo without a pose, as its file describes it.

    Attributes:
        name: File name relative to the folder, with forward slashes.
        path: The file.
        width: Width in pixels once upright.
        height: Height in pixels once upright.
        orientation: EXIF orientation, 1 if the pixels are upright as they are.
        focal: Focal length in pixels from EXIF, None if EXIF does not say.
        maker: Make and model of the camera, "" if EXIF does not say.
        pinhole: fx, fy, cx, cy in pixels where they are known; else they are found with the poses.
        mask: Picture that is black where the photo is to be ignored; None if there is none.
        alpha: Whether what is transparent in the photo itself is to be ignored.
        panorama: Name of the panorama that it was cut from, "" if it is a photo of its own.
        direction: Where it looks in that panorama, in degrees to the right and up.
        visit: Which of several captures it belongs to; each has cameras of its own.
    """

    name: str
    path: Path
    width: int
    height: int
    orientation: int = 1
    focal: float | None = None
    maker: str = ""
    pinhole: tuple[float, float, float, float] | None = None
    mask: Path | None = None
    alpha: bool = False
    panorama: str = ""
    direction: tuple[float, float] = (0.0, 0.0)
    visit: str = ""

    @property
    def key(self) -> str:
        """The name as COLMAP's lists of pairs can hold it, without blanks."""
        return quote(self.name)

    @property
    def camera_key(self) -> tuple[Any, ...]:
        """Photos with equal keys were taken by one camera at one zoom, as far as their files say."""
        focal = None if self.focal is None else round(self.focal, 1)
        return self.width, self.height, self.maker, focal, self.pinhole, self.visit

    def upright(self) -> np.ndarray:
        """The pixels, turned as EXIF says. uint8 RGB [height, width, 3]"""
        return read_photo(self.path, self.orientation)

    def kept(self) -> np.ndarray | None:
        """Which pixels of the upright photo count; None if all do. bool [height, width]"""
        kept = [
            kept_of_mask(self.mask, (self.width, self.height), self.orientation) if self.mask else None,
            kept_of_alpha(self.path, self.orientation) if self.alpha else None,
        ]
        given = [each for each in kept if each is not None]
        return np.logical_and.reduce(given) if given else None


def is_video(path: Path) -> bool:
    """Whether a path is a video, by its suffix."""
    return path.is_file() and path.suffix.lower() in VIDEO_SUFFIXES


def check_video(path: Path) -> None:
    """Make sure that a video has a frame that can be read.

    Raises:
        CaptureError: If it has none.
    """
    import cv2

    reader = cv2.VideoCapture(str(path))
    there, _ = reader.read()
    reader.release()
    if not there:
        raise CaptureError(
            f"no frame of {path} can be read: it is empty, damaged, or in a format that OpenCV does not "
            "know; convert it to an .mp4 (H.264), or give photos"
        )


def lacks_poses(path: Path) -> bool:
    """Whether a path is a video, or a folder that holds photos and no capture in a known format."""
    if is_video(path):
        return True
    no_capture = path.is_dir() and not is_scene(path) and find_format(path) is None
    return no_capture and bool(photos_in(path, deep=True))


def bare_photos(
    folder: Path,
    *,
    within: Path | None = None,
    ignore: Sequence[Path] = (),
    masks: str = AUTO,
    progress: Reporter = SILENT,
) -> list[BarePhoto]:
    """All photos of a folder and the folders below it, in the order of their names as people count: 9, 10.

    Smaller copies of photos (`images_4` beside `images`) are left out.

    Args:
        folder: Where to look.
        within: Folder in it to look in alone; masks may still lie beside that.
        ignore: Folders to leave out, such as those of an earlier result.
        masks: Which pixels are ignored; see `load_capture`.
        progress: Warned of photos that cannot be read, which are left out, and told of masks.

    Raises:
        CaptureError: If there are none or too few, most are damaged, two differ by their suffix alone, a name
            cannot be used, or a mask does not fit its photo.
    """
    if not folder.is_dir():
        raise CaptureError(
            f"{folder} is {'no folder of photos and no video' if folder.exists() else 'not there'}; "
            f"give a folder of photos ({', '.join(SUFFIXES)}) or a video ({', '.join(VIDEO_SUFFIXES)})"
        )
    if is_scene(folder):
        raise CaptureError(of_a_scene(folder))
    ours, there = [each.resolve() for each in ignore], photos_in(within or folder, deep=True)
    paths = _without_copies([path for path in there if not _is_in(path, ours)], progress)
    if there and not paths:
        raise CaptureError(f"the photos of {folder} lie where the result is written; choose another --out")
    _say_left_out(folder, paths, ours, progress)
    if len(paths) < LEAST_PHOTOS_TO_PLACE:
        raise CaptureError(_too_few(folder, len(paths)))
    common = Path(os.path.commonpath([path.parent for path in paths]))
    names = {path.relative_to(common).as_posix(): path for path in paths}
    check_names(names, folder)
    photos = _readable(folder, {name: names[name] for name in sorted(names, key=counting_order)}, progress)
    stems = Counter(without_suffix(photo.name) for photo in photos)
    same_stem = sorted(photo.name for photo in photos if stems[without_suffix(photo.name)] > 1)
    if same_stem:
        raise CaptureError(
            f"{folder}: photos share a name but for the suffix ({listed(same_stem)}); rename one of each"
        )
    return _masked(photos, folder, masks, ours, progress)


def _is_in(path: Path, folders: Sequence[Path]) -> bool:
    """Whether a file lies in one of these folders, which are resolved."""
    return bool(folders) and any(path.resolve().is_relative_to(folder) for folder in folders)


def _without_copies(paths: list[Path], progress: Reporter) -> list[Path]:
    """Photos without smaller copies of others, which would be placed as photos of their own."""
    called_alike: dict[tuple[str, ...], list[Path]] = {}
    for path in paths:
        place = next((each for each in path.parents if is_photo_folder(each.name)), None)
        if place is not None:
            below = path.relative_to(place).with_suffix("").as_posix().casefold()
            called_alike.setdefault((str(place.parent), below), []).append(path)
    copies = [path for alike in called_alike.values() for path in _copies(alike)]
    if copies:
        folders = sorted({str(path.parent) for path in copies})
        progress.say(f"{len(copies)} photos in {listed(folders)} are smaller copies of others; left out")
    return sorted({*paths} - {*copies})


def _copies(alike: list[Path]) -> list[Path]:
    """Those of photos that are called alike that are smaller than the largest, and of its shape."""
    if len(alike) < 2:
        return []
    try:
        sizes = {path: photo_size(path) for path in alike}
    except CaptureError:
        return []  # it is told of where photos are read
    largest = max(sizes.values())
    return [path for path, size in sizes.items() if size < largest and same_shape(size, largest)]


def _masked(
    photos: list[BarePhoto], folder: Path, masks: str, ours: Sequence[Path], progress: Reporter
) -> list[BarePhoto]:
    """The photos with their masks, without those of which masks ignore everything."""
    if masks == NONE:
        return photos
    found = find_masks({p.name: p.path for p in photos}, folder, masks, ignore=ours, progress=progress)
    asked = [
        MaskedPhoto(p.name, p.path, (p.width, p.height), p.orientation, mask=found.get(p.name), alpha=True)
        for p in photos
    ]
    left = {p.name: p for p in without_ignored(looked_at(asked), folder, LEAST_USABLE_SHARE, progress)}
    photos = [replace(p, mask=left[p.name].mask, alpha=left[p.name].alpha) for p in photos if p.name in left]
    if len(photos) < LEAST_PHOTOS_TO_PLACE:
        raise CaptureError(
            f"{folder}: masks leave only {len(photos)} photos, and poses need {LEAST_PHOTOS_TO_PLACE}; leave "
            "masks out (--masks none), or add photos"
        )
    return photos


def _readable(folder: Path, names: dict[str, Path], progress: Reporter) -> list[BarePhoto]:
    """Photos that are whole; the others are left out, if they are few.

    Raises:
        CaptureError: If too few are whole.
    """
    photos, damaged = [], dict[str, str]()
    for name, path in names.items():
        try:
            photo = bare_photo(path, name)
            check_whole(path)
            photos.append(photo)
        except CaptureError as error:
            damaged[name] = str(error)
    if not damaged:
        return photos
    problem = (
        f"{folder}: {len(damaged)} of {len(names)} photos cannot be read ({listed(list(damaged))}): "
        f"{next(iter(damaged.values()))}"
    )
    if len(photos) <= LEAST_USABLE_SHARE * len(names) or len(photos) < LEAST_PHOTOS_TO_PLACE:
        raise CaptureError(problem)
    progress.warn(f"{problem}; left out")
    return photos


def _say_left_out(folder: Path, paths: list[Path], ours: Sequence[Path], progress: Reporter) -> None:
    """Say which pictures of a folder are not taken for photos, and why."""
    others = [p for p in unreadable_photos(folder, deep=True) if not _is_in(p, ours)]
    if others and len(paths) >= LEAST_PHOTOS_TO_PLACE:
        progress.warn(f"{folder}: {why_unreadable(others)}; left out")
    maps = [path.relative_to(folder).as_posix() for path in map_folders(folder) if not _is_in(path, ours)]
    if maps and not any(path.is_relative_to(folder / each) for path in paths for each in maps):
        progress.say(f"{folder}: {listed(maps)} holds masks or other maps, no photos")


def counting_order(name: str) -> list[str | int]:
    """Sort key that takes digits as numbers: "2.jpg" before "10.jpg"; photos are taken in this order."""
    parts = re.split("([0-9]+)", name)
    return [int(part) if index % 2 else part for index, part in enumerate(parts)]


def bare_photo(path: Path, name: str) -> BarePhoto:
    """Size, orientation and camera of a photo, from its header.

    Raises:
        CaptureError: If it is no photo.
    """
    width, height = photo_size(path)
    try:
        with opened(path) as image:
            exif = image.getexif()
    except (OSError, ValueError, SyntaxError) as error:
        raise CaptureError(
            f"photo {path} cannot be read ({type(error).__name__}); replace or remove it"
        ) from error
    orientation = exif_orientation(exif)
    if orientation >= 5:
        width, height = height, width
    details = exif.get_ifd(ExifTags.IFD.Exif)
    equivalent = details.get(ExifTags.Base.FocalLengthIn35mmFilm)
    maker = " ".join(
        str(exif[tag]).strip("\0 ") for tag in (ExifTags.Base.Make, ExifTags.Base.Model) if tag in exif
    )
    focal = focal_pixels(equivalent, width, height)
    return BarePhoto(name, path, width, height, orientation=orientation, focal=focal, maker=maker)


def focal_pixels(equivalent_mm: object, width: int, height: int) -> float | None:
    """Focal length in pixels from EXIF's 35 mm equivalent; None if that is missing or nonsense."""
    try:
        millimetres = float(equivalent_mm)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return None
    if not 4 <= millimetres <= 2000:
        return None
    return millimetres / FULL_FRAME_DIAGONAL_MM * float(np.hypot(width, height))


def camera_groups(photos: list[BarePhoto]) -> list[list[BarePhoto]]:
    """Photos by the camera that took them, in the order of their first photos."""
    groups: dict[tuple[Any, ...], list[BarePhoto]] = {}
    for photo in photos:
        groups.setdefault(photo.camera_key, []).append(photo)
    return list(groups.values())


def _too_few(folder: Path, count: int) -> str:
    found = "no photos" if count == 0 else f"only {count} photo{'s' if count > 1 else ''}"
    others = sorted(path for path in folder.rglob("*") if path.is_file())
    videos = [path for path in others if path.suffix.lower() in VIDEO_SUFFIXES]
    raw = unreadable_photos(folder, deep=True)
    made = [path for path in sorted(folder.iterdir()) if path.is_dir() and is_result(path)]
    if made:
        remedy = f"what gags made of other photos does not count ({listed([each.name for each in made])})"
    elif videos:
        remedy = f"there is a video: give {videos[0]} itself"
    elif raw:
        remedy = why_unreadable(raw)
    else:
        remedy = (
            f"give a folder with {LEAST_PHOTOS_TO_PLACE} or more, better 30 or more ({', '.join(SUFFIXES)})"
        )
    return f"{folder} holds {found}, and poses need {LEAST_PHOTOS_TO_PLACE}; {remedy}"


def sharpness(image: np.ndarray) -> float:
    """How sharp a picture is: the variance of its Laplacian, at a small size.

    Only comparable between pictures of the same thing, as frames that follow each other are.

    Args:
        image: uint8 [H, W, 3] or [H, W]

    Returns:
        0 for a plain picture, larger is sharper.
    """
    import cv2

    grey = image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    shrink = SHARPNESS_SIDE / max(grey.shape)
    if shrink < 1:
        grey = cv2.resize(grey, None, fx=shrink, fy=shrink, interpolation=cv2.INTER_AREA)
    return float(cv2.Laplacian(grey, cv2.CV_32F).var())


def frame_interval(count: int, rate: float, most: int) -> int:
    """How many frames of a video one photo is chosen from.

    Args:
        count: Frames of the video, 0 if unknown.
        rate: Frames a second.
        most: Most photos wanted.

    Returns:
        At least as many frames as pass in `LEAST_INTERVAL_S`, and so many that no more than `most` photos
        come out.
    """
    return max(1, round(LEAST_INTERVAL_S * rate), math.ceil(count / most))


def sharpest_of_each(frames: Iterable[np.ndarray], interval: int) -> Iterator[tuple[int, np.ndarray]]:
    """The sharpest frame of every `interval` frames; only one frame is kept in memory.

    Args:
        frames: Frames of the video, in order. uint8 [H, W, 3] or [H, W] each
        interval: How many frames one is chosen from.

    Yields:
        Number of the frame in the video, from 0, and the frame as it was given.
    """
    best: tuple[float, int, np.ndarray] | None = None
    for number, frame in enumerate(frames):
        if number % interval == 0 and best is not None:
            yield best[1:]
            best = None
        score = sharpness(frame)
        if best is None or score > best[0]:
            best = score, number, frame
    if best is not None:
        yield best[1:]


def extract_frames(video: Path, folder: Path, most: int, progress: Reporter = SILENT) -> int:
    """Write the sharpest frames of a video as `frame_000123.jpg`, numbered as in the video.

    Frames that an earlier call wrote with the same settings stay as they are.

    Args:
        video: The file.
        folder: Where to write; made if it is not there.
        most: Most frames wanted.
        progress: Told about progress.

    Returns:
        How many there are.

    Raises:
        CaptureError: If no frame can be read.
    """
    import cv2

    done = folder / "done.json"
    state = video.stat()
    key = {"video": video.name, "bytes": state.st_size, "modified": state.st_mtime_ns, "most": most}
    known = read_table(done)
    if known.get("key") == key:
        return int(known["frames"])
    reader = cv2.VideoCapture(str(video))
    total = max(0, int(reader.get(cv2.CAP_PROP_FRAME_COUNT)))
    rate = reader.get(cv2.CAP_PROP_FPS)
    rate = rate if 0 < rate < 1000 else DEFAULT_RATE
    check_video(video)
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("frame_*.jpg"):
        old.unlink()
    written = 0
    with progress.stage("Choosing sharp frames", max(1, total), "frames") as bar:
        frames = _frames(reader, bar.advance)
        for number, frame in sharpest_of_each(frames, frame_interval(total, rate, most)):
            options = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]
            cv2.imwrite(str(folder / f"frame_{number:06d}.jpg"), frame[..., ::-1], options)
            written += 1
    reader.release()
    write_json(done, {"key": key, "frames": written})
    return written


def video_photos(
    video: Path, folder: Path, most: int, progress: Reporter = SILENT, *, masks: str = AUTO
) -> list[BarePhoto]:
    """The sharpest frames of a video as photos; see `extract_frames`.

    Raises:
        CaptureError: If no frame can be read, or too few are sharp.
    """
    count = extract_frames(video, folder, most, progress)
    if count < LEAST_PHOTOS_TO_PLACE:
        need = f"poses need {LEAST_PHOTOS_TO_PLACE}; film for longer"
        raise CaptureError(f"{video} gives only {count} sharp frames, and {need}")
    return bare_photos(folder, masks=masks, progress=progress)


def held_out(source: Path) -> list[str] | None:
    """Stems of the photos that a folder itself holds out (`test.txt`); None if it has no list of them.

    Raises:
        CaptureError: If the list cannot be read.
    """
    path = source / "test.txt"
    if not path.is_file():
        return None
    try:
        return [without_suffix(line) for line in listed_lines(path)]
    except (OSError, ValueError) as error:
        raise CaptureError(f"list of test views {path} cannot be read ({error})") from error


def _frames(reader: Any, advance: Callable[[], None]) -> Iterator[np.ndarray]:
    """Every frame of a video; `advance` is called at each. uint8 RGB [H, W, 3] each"""
    while True:
        there, frame = reader.read()
        if not there:
            return
        advance()
        yield frame[..., ::-1]
