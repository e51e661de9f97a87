"""Which folder the photos of a capture are read from: `images`, or one of its smaller copies.

Captures are often handed on with their photos at several sizes: `images`, `images_2`, `images_4` and
`images_8` hold the same photos at full size, a half, a quarter and an eighth, beside cameras of full size
(mip-NeRF 360, `ns-process-data`, 3DGS's `convert.py`). In a copy, a photo may have another suffix: a.png for
a.JPG.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath

from gags.capture.names import is_inside, resolve, say_others, with_slashes
from gags.capture.photos import photos_in
from gags.errors import CaptureError
from gags.files import is_file
from gags.progress import SILENT, Reporter

FULL_SIZE = "images"
_COPY = re.compile("images_([0-9]+)")


def photo_folder(root: Path, images: str | None, progress: Reporter = SILENT) -> Path | None:
    """The folder of a capture's photos.

    Args:
        root: Folder of the capture.
        images: Name of the folder that is wanted. Default: `images`; where that is missing, the largest of
            the copies, which is the one with the smallest number.
        progress: Told if a copy is taken that was not asked for.

    Returns:
        The folder; None if none was asked for and there is none.

    Raises:
        CaptureError: If the folder that is asked for is not there.
    """
    copies = _copies(root)
    if images is not None:
        if (root / images).is_dir():
            return root / images
        there = [name for name in (FULL_SIZE, *copies) if (root / name).is_dir()]
        remedy = f"choose one of {', '.join(there)}" if there else "it has no folder of photos at all"
        raise CaptureError(f"{root} has no folder {images} (--images); {remedy}")
    if (root / FULL_SIZE).is_dir():
        return root / FULL_SIZE
    if not copies:
        return None
    largest = "" if len(copies) == 1 else f", the largest of {', '.join(copies)}"
    progress.say(f"{root} has no folder {FULL_SIZE}/; reading the photos of {copies[0]}/{largest}")
    return root / copies[0]


def _copies(root: Path) -> list[str]:
    """Names of the folders that hold smaller copies, the largest copies first."""
    found = {path.name: _COPY.fullmatch(path.name) for path in root.glob("images_*") if path.is_dir()}
    return sorted((name for name, match in found.items() if match), key=lambda name: int(name[7:]))


def is_photo_folder(name: str) -> bool:
    """Whether a folder is called as those of full-size photos or of copies are."""
    return name == FULL_SIZE or _COPY.fullmatch(name) is not None


def is_copy(folder: Path | None) -> bool:
    """Whether a folder is called as those of smaller copies are."""
    return folder is not None and _COPY.fullmatch(folder.name) is not None


def files_of(names: Sequence[str], folder: Path, progress: Reporter = SILENT) -> dict[str, tuple[str, Path]]:
    """The files of photos in a folder, by the names that the poses have for them.

    A photo that is not there under its name may be there under another one: `gags.capture.names.resolve`.

    Args:
        names: Of the photos, as the poses call them.
        folder: Where they are looked for.
        progress: Told which photos have other names.

    Returns:
        For each name what the photo is called from now on and its file, which may be missing. It keeps its
        name, unless that names a place outside of the folder.
    """
    there = {name: folder / name for name in names if is_inside(name)}
    missing = [name for name in names if name not in there or not is_file(there[name])]
    if not missing:
        return {name: (name, path) for name, path in there.items()}
    known = {path.relative_to(folder).as_posix(): path for path in photos_in(folder, deep=True)}
    found = resolve(names, known)
    other = say_others(found)
    if other is not None and not is_copy(folder):  # in copies, suffixes often differ
        progress.say(f"{folder}: {other}")
    files = {}
    for name in names:
        file = found.get(name)
        own_name = name if is_inside(name) else file or PurePosixPath(with_slashes(name)).name
        files[name] = own_name, known[file] if file is not None else folder / with_slashes(name)
    return files


def photos_by_name(
    files: Mapping[str, tuple[str, Path]], photos: Iterable[Path], folder: Path
) -> dict[str, Path]:
    """Photos of a folder by name: as the capture calls those that it has posed, else as their files."""
    names = {path: name for name, path in files.values()}
    return {names.get(path, path.relative_to(folder).as_posix()): path for path in photos}


def refuse_choice(images: str | None, root: Path, title: str) -> None:
    """Raise the error of a format whose photos lie in one folder only, if another one was asked for.

    Raises:
        CaptureError: If `images` is not None.
    """
    if images is not None:
        raise CaptureError(
            f"{root} is {title}, whose photos lie in one place: --images {images} chooses between folders of "
            "COLMAP and nerfstudio captures; leave it out"
        )
