"""PlayCanvas's SOG (`.sog`, or a folder with `meta.json`): Gaussians as pixels of WebP pictures; read.

Pixel i of every picture, row by row, belongs to Gaussian i. The layout of version 2 is on
developer.playcanvas.com (The SOG Format); version 1 has ranges where 2 has lists of 256 values. Own code,
because gsply's reader needs imagecodecs (40 MB) for WebP, which Pillow reads.
"""

import io
import json
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from gags.errors import SplatsError
from gags.gaussians.foreign import damage_of, gathered, logits_of
from gags.gaussians.gaussians import Gaussians
from gags.progress import SILENT, Reporter

META = "meta.json"
_LABELS_A_ROW = 64  # of the palette of harmonics
_MOST_LABELS = 1 << 16
_COEFFICIENTS = {1: 3, 2: 8, 3: 15}  # a channel, by degree
_FIRST_TAG = 252  # alpha of a rotation: this, plus which of w, x, y, z is left out
# Files in use hold 5 to 20 bytes a Gaussian; below one byte, and above what is small anyway, none is honest.
_ALWAYS_FINE = 1 << 20
_MOST_META_BYTES = 1 << 24
_MOST_EXPANSION = 20  # of a WebP picture in an archive: it is compressed already

Content = Callable[[str], bytes]


def load_sog(path: Path, progress: Reporter = SILENT) -> Gaussians:
    """Read versions 1 and 2: an archive, a folder, or the `meta.json` of one; see `files.load_gaussians`.

    Raises:
        SplatsError: If a file is missing, damaged, or no SOG.
    """
    folder = path if path.is_dir() else path.parent if path.name.lower() == META else None
    try:
        with damage_of(path, "a SOG file"):
            if folder is not None:
                size = sum(file.stat().st_size for file in folder.iterdir() if file.is_file())
                return _read(lambda name: (folder / Path(name).name).read_bytes(), size, path, progress)
            with zipfile.ZipFile(path) as archive:
                size = path.stat().st_size
                return _read(lambda name: _unzipped(archive, name, size), size, path, progress)
    except FileNotFoundError as error:
        missing = Path(error.filename or path).name
        raise SplatsError(f"{path}: {missing} is not there; give a whole .sog, or its folder") from error
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError) as error:
        raise SplatsError(
            f"{path} is no .sog archive, or a damaged one ({error}); export it again"
        ) from error
    except OSError as error:
        raise SplatsError(f"{path} cannot be read ({error.strerror or error})") from error


def _unzipped(archive: zipfile.ZipFile, name: str, size: int) -> bytes:
    """A file of an archive, wherever in it, once its size is known to be honest."""
    found = [info for info in archive.infolist() if Path(info.filename).name == Path(name).name]
    if not found:
        raise FileNotFoundError(None, "not in the archive", name)
    if found[0].file_size > max(_MOST_META_BYTES, _MOST_EXPANSION * size):
        raise ValueError(f"{name} claims {found[0].file_size} bytes in an archive of {size}")
    return archive.read(found[0])


def _read(content: Content, size: int, path: Path, progress: Reporter) -> Gaussians:
    """The Gaussians of a set of files of `size` bytes together."""
    meta = json.loads(content(META))
    version = meta.get("version", 1)
    if version not in (1, 2):
        raise SplatsError(f"{path} is of SOG version {version}, and versions 1 and 2 are read")
    count = int(meta["count"] if "count" in meta else meta["means"]["shape"][0])
    if not 0 <= count <= max(_ALWAYS_FINE, size):
        raise SplatsError(f"{path} claims {count} Gaussians, too many for its {size} bytes; export it again")

    def pixels(part: str, file: int = 0) -> np.ndarray:
        return _pixels(content(meta[part]["files"][file]), count)

    sh0 = pixels("sh0")
    logits = _unranged(sh0[:, 3], _range(meta["sh0"], 3)) if version == 1 else logits_of(sh0[:, 3] / 255)
    return gathered(
        _means(pixels("means"), pixels("means", 1), meta["means"]),
        _quats(pixels("quats")),
        _values(pixels("scales")[:, :3], meta["scales"]),
        logits,
        np.concatenate([_values(sh0[:, :3], meta["sh0"])[:, None], _harmonics(meta, content, count)], axis=1),
        path=path,
        progress=progress,
    )


def _picture(data: bytes, most: int) -> np.ndarray:
    """RGBA of a picture of at most so many pixels. uint8 [H, W, 4]"""
    try:
        with Image.open(io.BytesIO(data)) as picture:
            if picture.width * picture.height > most:
                raise ValueError(
                    f"a picture has {picture.width} x {picture.height} pixels for {most} at most"
                )
            return np.asarray(picture.convert("RGBA"))
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"a picture cannot be read: {error}") from error


def _pixels(data: bytes, count: int) -> np.ndarray:
    """The first pixels of a picture, row by row. uint8 [count, 4]"""
    pixels = _picture(data, 2 * count + 4096).reshape(-1, 4)
    if len(pixels) < count:
        raise ValueError(f"a picture has {len(pixels)} pixels for {count} Gaussians")
    return pixels[:count]


def _range(part: dict[str, Any], channel: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Least and largest values of what bytes stand for."""
    low, high = (np.asarray(part[end], np.float64) for end in ("mins", "maxs"))
    return (low, high) if channel is None else (low[channel], high[channel])


def _unranged(numbers: np.ndarray, limits: tuple[np.ndarray, np.ndarray], most: int = 255) -> np.ndarray:
    low, high = limits
    return low + numbers / most * (high - low)


def _values(numbers: np.ndarray, part: dict[str, Any]) -> np.ndarray:
    """What bytes stand for: places in a list of 256 values (version 2), or in ranges (version 1)."""
    if "codebook" not in part:
        low, high = _range(part)
        return _unranged(numbers, (low.ravel()[:3], high.ravel()[:3]))  # of harmonics, one range for all
    values = list(part["codebook"])
    if values[0] is None:  # some writers left the first one out; the values are evenly spread there
        values[0] = values[1] + (values[1] - values[-1]) / 255
    return np.asarray(values, np.float64)[numbers]


def _means(low: np.ndarray, high: np.ndarray, part: dict[str, Any]) -> np.ndarray:
    """Centres from 16 bits an axis, whose scale is ±ln(1 + |x|). [N, 3]"""
    numbers = low[:, :3].astype(np.float64) + 256.0 * high[:, :3]
    logarithms = _unranged(numbers, _range(part), 65535)
    with np.errstate(over="ignore"):  # damaged ranges; dropped as not finite
        return np.sign(logarithms) * np.expm1(np.abs(logarithms))


def _quats(pixels: np.ndarray) -> np.ndarray:
    """Rotations wxyz from three components and the number of the largest, which follows from them. [N, 4]"""
    small = (pixels[:, :3].astype(np.float64) / 255 - 0.5) * np.sqrt(2)
    largest = np.sqrt((1 - (small**2).sum(axis=1)).clip(0))
    quats = np.full((len(pixels), 4), np.nan)  # a tag that is none: dropped as not finite
    for place in range(4):
        those = pixels[:, 3] == _FIRST_TAG + place
        quats[those] = np.insert(small[those], place, largest[those], axis=1)
    return quats


def _harmonics(meta: dict[str, Any], content: Content, count: int) -> np.ndarray:
    """Harmonics above degree 0, each Gaussian's a row of a palette. [N, K − 1, 3]"""
    part = meta.get("shN")
    if not part:
        return np.zeros((count, 0, 3))
    palette = _picture(content(part["files"][0]), _MOST_LABELS * max(_COEFFICIENTS.values()))
    width = palette.shape[1] // _LABELS_A_ROW
    width = _COEFFICIENTS[part["bands"]] if "bands" in part else width
    if width not in _COEFFICIENTS.values() or palette.shape[1] != _LABELS_A_ROW * width:
        raise ValueError(f"a palette of harmonics is {palette.shape[1]} pixels wide")
    labels = _pixels(content(part["files"][1]), count)
    rows = labels[:, 0].astype(np.int64) + 256 * labels[:, 1].astype(np.int64)
    return _values(palette[..., :3].reshape(-1, width, 3), part)[rows]
