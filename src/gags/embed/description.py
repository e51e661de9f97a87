"""The result of `describe` for one photo: masks on three levels and one embedding a mask."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import numpy as np

from gags.capture import Camera, View
from gags.errors import DamagedError, WorkspaceError
from gags.files.contents import DESCRIPTION
from gags.progress import SILENT, Reporter
from gags.segment.masks import Masks
from gags.segment.packed import PackedMasks
from gags.store import damaged, load_checksum, load_metadata, load_tensors, save_tensors, stamp
from gags.workspace import Workspace

_REMEDY = "run `gags describe` again"
FILE_FORMAT = "gags-features-1"  # files of 0.1.0 do not say it


@dataclass(eq=False)
class Description:
    """Masks of one photo with their embeddings, as kept in `features/<photo>.safetensors`.

    Attributes:
        masks: The masks.
        embeddings: One L2-normalised embedding a mask. float16 [M, D]
        encoder: Name of the encoder that made the embeddings.
        stamps: Hashes of settings and inputs that the masks and embeddings were made with, by stage name.
        prompts: Points x, y in px that the segmenter was given. float32 [P, 2]
    """

    masks: Masks
    embeddings: np.ndarray
    encoder: str
    stamps: dict[str, str] = field(default_factory=dict)
    prompts: np.ndarray = field(default_factory=lambda: np.zeros((0, 2), np.float32))

    _STAMP: ClassVar[str] = "stamp."

    def save(self, path: Path) -> None:
        """Write to a safetensors file, atomically."""
        tensors = {
            "labels": self.masks.labels.astype(np.int16),
            "levels": self.masks.levels.astype(np.int8),
            "boxes": self.masks.boxes.astype(np.int32),
            "scores": self.masks.scores.astype(np.float32),
            "embeddings": self.embeddings.astype(np.float16),
            "prompts": self.prompts.astype(np.float32),
        }
        if self.masks.whole is not None:
            tensors["whole_words"] = self.masks.whole.words
            tensors["whole_boxes"] = self.masks.whole.boxes
        if self.masks.kept is not None:
            tensors["kept"] = np.packbits(self.masks.kept, axis=1)
        metadata = {"format": FILE_FORMAT, "photo": _photo(path), "encoder": self.encoder} | {
            self._STAMP + k: v for k, v in self.stamps.items()
        }
        save_tensors(path, tensors, metadata)

    @classmethod
    def load(cls, path: Path) -> "Description":
        """Read what `save` wrote.

        Raises:
            DamagedError: If the file is missing or damaged, or is that of another photo.
            NewerError: If a newer version of gags wrote it.
        """
        stored = load_tensors(path, remedy=_REMEDY, kind="numpy", format=FILE_FORMAT, contents=DESCRIPTION)
        tensors = stored.tensors
        if stored.metadata.get("photo", _photo(path)) != _photo(path):
            raise damaged(path, f"it is of the photo {stored.metadata['photo']}", _REMEDY)
        try:
            masks = Masks(**{name: tensors[name] for name in ("labels", "levels", "boxes", "scores")})
            if "whole_words" in tensors:
                masks.whole = PackedMasks(tensors["whole_words"], tensors["whole_boxes"])
                if len(masks.whole) != len(masks):
                    raise ValueError(f"{len(masks.whole)} whole masks for {len(masks)} masks")
            if "kept" in tensors:
                masks.kept = _kept(tensors["kept"], masks.labels)
            embeddings, prompts = tensors["embeddings"], tensors["prompts"]
        except (KeyError, ValueError) as error:
            raise damaged(path, error, _REMEDY) from error
        metadata = stored.metadata
        return cls(masks, embeddings, metadata.get("encoder", ""), cls._stamps(metadata), prompts)

    @classmethod
    def stamps_of(cls, path: Path) -> dict[str, str]:
        """The stamps alone, without reading masks and embeddings; empty if there is no such file.

        Raises:
            DamagedError: If the file is damaged.
            NewerError: If a newer version of gags wrote it.
        """
        return cls._stamps(load_metadata(path, remedy=_REMEDY, format=FILE_FORMAT))

    @classmethod
    def _stamps(cls, metadata: dict[str, str]) -> dict[str, str]:
        return {k.removeprefix(cls._STAMP): v for k, v in metadata.items() if k.startswith(cls._STAMP)}


class Descriptions(Sequence[tuple[Camera, Description]]):
    """Cameras and descriptions of photos, read from disk when asked for: memory does not grow with them.

    Args:
        where: The scene, or what names the file of a photo's description.
        views: The photos.
    """

    def __init__(self, where: Workspace | Callable[[str], Path], views: Sequence[View]) -> None:
        self._find = where.description if isinstance(where, Workspace) else where
        self._views = views

    def __len__(self) -> int:
        return len(self._views)

    def __getitem__(self, index: int) -> tuple[Camera, Description]:  # type: ignore[override]
        view = self._views[index]
        return view.camera, Description.load(self.path(view))

    def path(self, view: View) -> Path:
        """File of a photo's description, there or not."""
        return self._find(view.name)

    def stamps(self) -> dict[str, dict[str, str]]:
        """Stamps of every photo's description by its name; empty if there are none or they are damaged."""
        return {view.name: self._stamps(view) for view in self._views}

    def whole(self, stage: str, wanted: str, progress: Reporter = SILENT) -> dict[str, dict[str, str]]:
        """Stamps as `stamps` gives them, of files that were read whole: those of damaged ones are empty.

        Args:
            stage: Only files that bear this stamp …
            wanted: … are read: others are made again whatever is in them.
            progress: Is warned of damaged files.
        """

        def checked(view: View) -> dict[str, str]:
            try:
                found = Description.stamps_of(self.path(view))
                if found.get(stage) == wanted:
                    Description.load(self.path(view))
            except DamagedError as error:
                progress.warn(str(error))
                return {}
            return found

        with ThreadPoolExecutor() as pool:
            return {
                v.name: found for v, found in zip(self._views, pool.map(checked, self._views), strict=True)
            }

    def check(self, made_with: str) -> None:
        """Make sure that all files are those that the stage `describe` wrote last.

        Args:
            made_with: Stamp of its record.

        Raises:
            DamagedError: If one was made with other settings, or for another scene.
        """
        for name, stamps in self.stamps().items():
            if stamps.get("embeddings") != made_with:
                path = self._find(name)
                what = (
                    "it was made with other settings or for another scene" if stamps else "it cannot be read"
                )
                raise damaged(path, what, _REMEDY)

    def content(self) -> str:
        """Hash of what all files hold, from their checksums; empty if one has none, as those of 0.1.0."""
        checksums = {view.name: load_checksum(self.path(view), remedy=_REMEDY) for view in self._views}
        return stamp("features", checksums) if all(checksums.values()) else ""

    def _stamps(self, view: View) -> dict[str, str]:
        try:
            return Description.stamps_of(self.path(view))
        except WorkspaceError:
            return {}


def _kept(packed: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Which pixels count, from eight a byte. bool [H, W]

    Raises:
        ValueError: If they are not those of the label maps, or one that does not count belongs to a mask.
    """
    height, width = labels.shape[1:]
    if packed.shape != (height, -(-width // 8)):
        raise ValueError(f"kept has the shape {packed.shape} for label maps of {height}×{width}")
    kept = np.unpackbits(packed, axis=1, count=width).astype(bool)
    if (labels[:, ~kept] >= 0).any():
        raise ValueError("masks hold pixels that are to be ignored")
    return kept


def _photo(path: Path) -> str:
    """Name of the photo that a file describes, as its metadata can hold it."""
    return path.name.removesuffix(".safetensors").encode("utf-8", "replace").decode()
