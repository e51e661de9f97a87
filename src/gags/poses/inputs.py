"""Photos that have no poses yet: those of a folder, or the sharpest frames of a video."""

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from gags.capture.folders import is_photo_folder
from gags.capture.formats import find_format
from gags.capture.formats.base import LEAST_USABLE_SHARE
from gags.capture.load import of_a_scene
from gags.capture.mask_files import AUTO, NONE, MaskedPhoto, find_masks, looked_at, without_ignored
from gags.capture.masks import same_shape
from gags.capture.names import check_names, without_suffix
from gags.capture.photos import (
    SUFFIXES,
    check_whole,
    is_result,
    is_scene,
    listed,
    map_folders,
    photo_size,
    photos_in,
    unreadable_photos,
    why_unreadable,
)
from gags.errors import CaptureError
from gags.files import listed_lines
from gags.poses.bare import BarePhoto, bare_photo, counting_order
from gags.poses.video import VIDEO_SUFFIXES, extract_frames, is_video
from gags.progress import SILENT, Reporter

LEAST_PHOTOS_TO_PLACE = 3  # two photos show no scale, and nothing to check a third against


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
