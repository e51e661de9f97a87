"""Which mask belongs to which photo, and what all masks of a capture leave of it.

Masks lie where the programs that make and take them put them: in a folder `masks` beside the folder of photos
or in it (`masks_4` beside `images_4`), called as the photo is but for the suffix (nerfstudio, Brush) or with
`.png` behind its whole name (COLMAP, OpenSplat); or where `mask_path` of transforms.json says.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

import numpy as np

from gags.capture.folders import is_copy
from gags.capture.masks import kept_of_alpha, kept_of_mask
from gags.capture.names import resolve, with_slashes
from gags.capture.photos import PICTURE_SUFFIXES, has_alpha, listed, map_folders, photos_in
from gags.errors import CaptureError
from gags.files import is_file
from gags.progress import SILENT, Reporter

AUTO = "auto"  # masks where they usually lie
NONE = "none"  # no masks: all pixels count
_FOLDER = re.compile(r"masks?(_\d+)?")


@dataclass(frozen=True)
class MaskedPhoto:
    """A photo, and what may say which of its pixels are to be ignored.

    Attributes:
        name: Of the photo.
        path: Its file.
        size: Its width and height once it is turned.
        orientation: EXIF's, by which it is turned.
        mask: Its mask, if there is one.
        alpha: Whether what is transparent in it is ignored.
        share: Of its pixels that count, once that was looked at.
    """

    name: str
    path: Path
    size: tuple[int, int]
    orientation: int = 1
    mask: Path | None = None
    alpha: bool = False
    share: float = 1.0


def find_masks(
    photos: Mapping[str, Path],
    root: Path,
    masks: str = AUTO,
    *,
    given: Mapping[str, Path] | None = None,
    ignore: Sequence[Path] = (),
    progress: Reporter = SILENT,
) -> dict[str, Path]:
    """The masks of photos.

    Args:
        photos: All photos by name, whether they have poses or not.
        root: Folder of the capture; masks are looked for inside.
        masks: "auto"; "none"; a folder of masks, or one mask of all photos. If it is not there, it is looked
            for in `root`.
        given: Masks that the capture's own files name, by name of the photo.
        ignore: Folders to leave out, such as those of a result, resolved.
        progress: Warned of masks that are not there, and told of folders whose masks belong to no photo.

    Returns:
        Masks by name of the photo; photos without one are left out.

    Raises:
        CaptureError: If a folder or mask that was asked for is not there, or belongs to no photo.
    """
    if masks == NONE:
        return {}
    if masks != AUTO:
        return _asked(photos, root, masks)
    found = {name: path for name, path in (given or {}).items() if is_file(path)}
    missing = sorted(set(given or {}) - found.keys())
    folders = [
        (folder, prefix)
        for folder, prefix in mask_folders(photos, root)
        if not any(folder.resolve().is_relative_to(each) for each in ignore)
    ]
    there = 0
    for folder, prefix in folders:
        files = {f"{prefix}{name}": path for name, path in _files(folder).items()}
        there += len(files)
        waiting = {name: path for name, path in photos.items() if name not in found}
        found |= _matched(waiting, files)
    missing = [name for name in missing if name not in found]
    if missing and given:
        progress.warn(
            f"{root}: {len(missing)} masks that its files name are not there (first {given[missing[0]]}); "
            "nothing is ignored in their photos"
        )
    if there and not found:
        names = listed([str(folder) for folder, _ in folders])
        progress.say(
            f"{names}: none of the {there} masks is called as a photo, with .png instead of its suffix or "
            "behind it; nothing is ignored"
        )
    return found


def mask_folders(photos: Mapping[str, Path], root: Path) -> list[tuple[Path, str]]:
    """Folders of masks near photos, nearest first, and what stands before the names of their masks."""
    found: dict[Path, str] = {}
    for base in dict.fromkeys(_base(name, path) for name, path in photos.items()):
        beside = [base.parent] if base != root and base.is_relative_to(root) else []
        for parent in (*beside, root, base):
            for folder in _named_masks(parent, base):
                found.setdefault(folder, "")
        for folder in map_folders(base):
            if _FOLDER.fullmatch(folder.name.lower()):
                place = folder.parent.relative_to(base).as_posix()
                found.setdefault(folder, "" if place == "." else f"{place}/")
    return list(found.items())


def _base(name: str, path: Path) -> Path:
    """The folder that a photo's name counts from."""
    depth = len(PurePosixPath(name).parts)
    above = path.parents[min(depth, len(path.parents)) - 1]
    folders = PurePosixPath(name).parent.as_posix().casefold()
    return above if path.parent.relative_to(above).as_posix().casefold() == folders else path.parent


def _named_masks(parent: Path, photos: Path) -> list[Path]:
    """Folders of masks in a folder: beside `images_4`, `masks_4` comes first, else those of full size."""
    try:
        inside = sorted(path for path in parent.iterdir() if _FOLDER.fullmatch(path.name.lower()))
    except OSError:
        return []
    wanted = photos.name.rpartition("_")[2] if is_copy(photos) else ""

    def rank(folder: Path) -> tuple[bool, bool]:
        number = folder.name.rpartition("_")[2] if "_" in folder.name else ""
        return number != wanted, number != ""

    return sorted((path for path in inside if path.is_dir()), key=rank)


def _asked(photos: Mapping[str, Path], root: Path, masks: str) -> dict[str, Path]:
    """Masks of the folder, or the one mask, that was asked for."""
    if not masks.strip():
        raise CaptureError(f"--masks names nothing; give a folder, a mask of all photos, {AUTO} or {NONE}")
    place = Path(masks).expanduser()
    place = place if place.exists() or not (root / place).exists() else root / place
    if place.is_file():
        return dict.fromkeys(photos, place)
    if not place.is_dir():
        raise CaptureError(
            f"--masks {masks}: {place} is not there; give a folder of masks, a mask of all photos, {AUTO} or "
            f"{NONE}"
        )
    files = _files(place)
    found = _matched(photos, files)
    if photos and not found:
        first = min(photos)
        raise CaptureError(
            f"--masks {masks}: none of the {len(files)} pictures in it is called as a photo; call the mask "
            f"of {first} {PurePosixPath(first).with_suffix('.png')} or {first}.png"
        )
    return found


def _files(folder: Path) -> dict[str, Path]:
    """Masks by the names that their photos may have: of a.jpg.png, that is a.jpg."""
    files = {}
    for path in photos_in(folder, deep=True):
        name = path.relative_to(folder).as_posix()
        inner = name[: -len(path.suffix)]
        whole = PurePosixPath(inner).suffix.lower() in PICTURE_SUFFIXES
        files.setdefault(inner if whole else name, path)
    return files


def _matched(photos: Mapping[str, Path], files: Mapping[str, Path]) -> dict[str, Path]:
    """Masks of photos, none of which lies in the folder of other photos."""
    found = resolve(list(photos), files)
    return {
        name: files[mask]
        for name, mask in found.items()
        if "/" not in mask or _folder(mask) == _folder(with_slashes(name))
    }


def _folder(name: str) -> str:
    return name.rpartition("/")[0].casefold()


def looked_at(photos: Sequence[MaskedPhoto]) -> list[MaskedPhoto]:
    """The same photos with the share of their pixels that counts; without masks that ignore nothing.

    Args:
        photos: With what may say what to ignore.

    Raises:
        CaptureError: If a mask cannot be read, or has another shape than its photo.
    """
    with ThreadPoolExecutor() as pool:
        return list(pool.map(_looked_at, photos))


def _looked_at(photo: MaskedPhoto) -> MaskedPhoto:
    kept = None if photo.mask is None else kept_of_mask(photo.mask, photo.size, photo.orientation)
    opaque = None
    if photo.alpha and has_alpha(photo.path):
        opaque = kept_of_alpha(photo.path, photo.orientation)
    parts = [part for part in (kept, opaque) if part is not None]
    share = float(np.logical_and.reduce(parts).mean()) if parts else 1.0
    return replace(
        photo,
        mask=photo.mask if kept is not None and not kept.all() else None,
        alpha=opaque is not None and not bool(opaque.all()),
        share=share,
    )


def without_ignored(
    photos: Iterable[MaskedPhoto], where: Path, least_share: float, progress: Reporter = SILENT
) -> list[MaskedPhoto]:
    """Photos of which something counts; says how much is ignored.

    Args:
        photos: From `looked_at`.
        where: Folder of the capture, for messages.
        least_share: At least this share of the photos, and more, must be left.
        progress: Told what is ignored, and warned of photos that are left out.

    Raises:
        CaptureError: If masks ignore too many photos altogether.
    """
    photos = list(photos)
    left = [photo for photo in photos if photo.share > 0]
    gone = sorted(photo.name for photo in photos if photo.share == 0)
    all_gone = f"{where}: masks ignore all pixels of {len(gone)} of {len(photos)} photos ({listed(gone)})"
    if gone and len(left) <= least_share * len(photos):
        raise CaptureError(
            f"{all_gone}; what is black in a mask is ignored: turn black and white round, or leave masks out "
            "(--masks none)"
        )
    if gone:
        progress.warn(f"{all_gone}; left out")
    masked = [photo for photo in left if photo.share < 1]
    if masked:
        share = 1 - sum(photo.share for photo in masked) / len(masked)
        kinds = [
            "masks" if any(photo.mask for photo in masked) else "",
            "alpha channels" if any(photo.alpha for photo in masked) else "",
        ]
        progress.say(
            f"Masks: {len(masked)} of {len(left)} photos have pixels to ignore, {100 * share:.0f} % of each "
            f"on average (by {' and '.join(filter(None, kinds))}; --masks {NONE} lets all count)"
        )
    return left
