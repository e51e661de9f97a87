"""Files of poses in or around a folder of photos, of formats that are read and of others."""

import fnmatch
import os
from pathlib import Path

from gags.capture.formats import formats_in

# How programs call what holds their poses: COLMAP, nerfstudio and instant-ngp, LLFF, VisualSFM, Bundler,
# OpenSfM, OpenMVG, Metashape. Matched without regard to case.
_POSE_FILES = (
    "cameras.bin", "cameras.txt", "transforms*.json", "poses_bounds.npy", "*.nvm", "bundle.out",
    "bundle.rd.out", "reconstruction.json", "sfm_data.json", "cameras.xml", "*.r3d",
)  # fmt: skip
_MOST_DEPTH = 4  # folders below that of the photos that are looked into
_PARENTS = 2  # `capture/images` and `capture/images/left` may be given instead of `capture`


def poses_nearby(folder: Path, *, ignore: Path | None = None) -> list[Path]:
    """Files that seem to hold poses of the photos in a folder; captures that the folder belongs to first.

    Args:
        folder: Of the photos.
        ignore: Folder to leave out, such as that of a result.
    """
    folder = Path(os.path.abspath(folder))
    found = []
    for parent in [folder, *list(folder.parents)[:_PARENTS]]:
        # Photos somewhere else in a home folder do not belong to a capture that lies there.
        below = folder.relative_to(parent).parts
        if not below or below[0].startswith(("images", "input", "rgb", "keyframes", "train")):
            found += [place for each in formats_in(parent) if (place := each.find(parent)) is not None]
    ours = None if ignore is None else Path(os.path.abspath(ignore))
    for here, names, files in os.walk(folder):
        names[:] = [name for name in names if not name.startswith(".")]
        depth = len(Path(here).relative_to(folder).parts)
        if depth >= _MOST_DEPTH or (ours is not None and Path(here).is_relative_to(ours)):
            names[:] = []
        if ours is None or not Path(here).is_relative_to(ours):
            found += [Path(here) / file for file in sorted(files) if _is_pose_file(file)]
    inside = [path for path in dict.fromkeys(found) if ours is None or not path.is_relative_to(ours)]
    return [path for path in inside if path.parent not in inside]  # a model is named once, by its folder


def _is_pose_file(name: str) -> bool:
    return any(fnmatch.fnmatch(name.lower(), pattern) for pattern in _POSE_FILES)
