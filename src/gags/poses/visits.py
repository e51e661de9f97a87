"""What is merged: several captures of one place, with poses or without, as they lie on disk."""

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from gags.capture import Capture, load_capture, read_saved_capture
from gags.capture.load import capture_folder
from gags.capture.mask_files import AUTO
from gags.capture.masks import mask_digest
from gags.capture.photos import is_scene, photo_sample
from gags.capture.projections import EQUIRECTANGULAR
from gags.capture.split import TEST_EVERY
from gags.errors import CaptureError
from gags.poses.bare import BarePhoto
from gags.poses.inputs import bare_photos, held_out, lacks_poses
from gags.poses.panoramas import check_ordinary
from gags.poses.settings import PoseSettings, kept_settings
from gags.poses.video import check_video, is_video
from gags.progress import SILENT, Reporter


@dataclass(frozen=True, eq=False)
class Visit:
    """One of the captures that are merged.

    Attributes:
        name: Of the folder that its photos get in the result.
        source: Where it lies.
        capture: Its photos with their poses; None if it has no poses.
        photos: Its photos, if it has no poses; empty for a video whose frames are not chosen yet.
    """

    name: str
    source: Path
    capture: Capture | None = None
    photos: tuple[BarePhoto, ...] = ()

    def files(self) -> list[Path]:
        """Its photos on disk, those that are read."""
        views = [] if self.capture is None else self.capture.views
        return [photo.path for photo in (*views, *self.photos)]

    def names(self) -> list[str]:
        """Its photos as the result calls them; none of a video whose frames are not chosen yet."""
        views = [] if self.capture is None else [f"{self.name}/{view.name}" for view in self.capture.views]
        return [*views, *(photo.name for photo in self.photos)]

    def photo_folder(self) -> Path:
        """Where the photos of a capture with poses lie."""
        return self.source if self.capture is None else self.capture.views[0].path.parent


def read_visits(
    sources: Sequence[Path | str],
    settings: PoseSettings = PoseSettings(),
    *,
    ignore: Sequence[Path] = (),
    masks: str = AUTO,
    progress: Reporter = SILENT,
) -> list[Visit]:
    """Read what is to be merged; nothing is written.

    Args:
        sources: As in `merge_captures`.
        settings: How wide lenses and panoramas are read.
        ignore: Folders to leave out, such as those of an earlier result.
        masks: Which pixels are ignored; those of a scene stay as they are.
        progress: Told what is left out.

    Raises:
        CaptureError: If there are fewer than two, one is named twice, or one cannot be read; or panoramas
            without poses are among them.
    """
    if settings.camera == EQUIRECTANGULAR:
        raise CaptureError(
            "panoramas cannot be merged with other captures; give those of all visits in one folder"
        )
    paths = [capture_folder(source) for source in sources]
    places = [os.path.realpath(path) for path in paths]
    if len(paths) < 2:
        raise CaptureError("one capture alone cannot be merged; name two or more")
    if len(set(places)) < len(places):
        twice = next(path for path, place in zip(paths, places, strict=True) if places.count(place) > 1)
        raise CaptureError(f"{twice} is named twice; name each capture once")
    visits = []
    for name, path in zip(visit_names(paths), paths, strict=True):
        if is_video(path):
            check_video(path)
            visits.append(Visit(name, path))
        elif is_scene(path) or (path / "capture.json").is_file():
            visits.append(Visit(name, path, capture=read_saved_capture(path)))
        elif lacks_poses(path):
            photos = bare_photos(path, ignore=ignore, masks=masks, progress=progress)
            check_ordinary(photos, path, settings, progress)
            visits.append(Visit(name, path, photos=tuple(renamed(photos, name))))
        else:
            capture = load_capture(
                path,
                masks=masks,
                camera=settings.camera,
                undistort=settings.undistort,
                panorama=settings.panorama,
                require_points=False,
                progress=progress,
            )
            visits.append(Visit(name, path, capture=capture))
    return visits


def visit_names(paths: Sequence[Path]) -> list[str]:
    """A name of a folder for each of several captures: its own, with a number where two have the same."""
    names: list[str] = []
    for path in paths:
        own = Path(os.path.abspath(path))
        name = (own.stem if own.is_file() else own.name) or "capture"
        taken = {other.casefold() for other in names}  # on some disks, "Desk" and "desk" are one folder
        number = 2
        unique = name
        while unique.casefold() in taken:
            unique, number = f"{name}_{number}", number + 1
        names.append(unique)
    return names


def renamed(photos: Sequence[BarePhoto], name: str) -> list[BarePhoto]:
    """Photos of a visit, as the result calls them."""
    return [replace(photo, name=f"{name}/{photo.name}", visit=name) for photo in photos]


def held_out_of(visit: Visit) -> list[str]:
    """Stems of the photos that a capture holds out, as the result calls them."""
    if visit.capture is not None:
        return [f"{visit.name}/{view.stem}" for view in visit.capture.test]
    stems = held_out(visit.source) if visit.source.is_dir() else None
    if stems is not None:
        return [f"{visit.name}/{stem}" for stem in stems]
    names = sorted(photo.name for photo in visit.photos)
    return [name.rsplit(".", 1)[0] for name in names[::TEST_EVERY]]


def key_of(visits: Sequence[Visit], settings: PoseSettings) -> str:
    """Hash of everything the result depends on."""
    digest = hashlib.sha256(json.dumps(kept_settings(settings), sort_keys=True, default=str).encode())
    for visit in visits:
        digest.update(f"{visit.name}\0".encode())
        if visit.capture is not None:
            digest.update(visit.capture.fingerprint().encode())
        for photo in visit.photos:
            digest.update(f"{photo.name}\0".encode())
            digest.update(photo_sample(photo.path))
            digest.update(b"alpha" * photo.alpha + (mask_digest(photo.mask) if photo.mask else b""))
        digest.update(json.dumps(held_out_of(visit)).encode())
    return digest.hexdigest()[:16]
