"""The list of a scene's things, which takes long to make and is kept in the scene's folder.

`WS/viewer/` holds two files: names, boxes and whose Gaussians are whose; and small pictures. Each says what
it was made of. One that was made of something else, or is damaged, is made again; where the folder cannot be
written, nothing is kept. Names that the scene was taught are not in them: they are added each time.
"""

import base64
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from gags._version import __version__
from gags.errors import DamagedError, GagsError, ModelError
from gags.files.contents import Contents, Expected, checksum
from gags.progress import SILENT, Reporter
from gags.query.frame import poses_stamp
from gags.query.names import EVERYDAY
from gags.query.taught import Taught, plain_name
from gags.scene import Scene
from gags.store import load_metadata, load_tensors, save_tensors, stamp
from gags.viewer.listed import (
    Listed,
    list_of_words,
    list_without_names,
    thumbnails_of,
    with_taught_names,
)

NAMES_FORMAT, PICTURES_FORMAT = "gags-list-1", "gags-pictures-1"
NAMES: Contents = {"things": Expected("uint8", ("B",)), "owner": Expected("int32", ("N",), least=-1)}
PICTURES: Contents = {
    "ids": Expected("int32", ("C",), least=0),
    "ends": Expected("int64", ("C",), least=0),
    "jpeg": Expected("uint8", ("B",)),
}


class KeptList:
    """The list of a scene's things and their pictures: as the scene's folder has them, else made and kept.

    Args:
        scene: The scene.
        words: Words to name things with.
        write: Whether what is made is kept in the scene's folder.
    """

    def __init__(self, scene: Scene, words: Sequence[str] = EVERYDAY, *, write: bool = True) -> None:
        self._scene, self._words, self._write = scene, tuple(words), write
        self._folder = scene.workspace.viewer
        self._plain: tuple[str, Listed] | None = None  # by words alone, and what it was made of
        self._pictures: dict[int, bytes] | None = None

    def is_known(self) -> bool:
        """Whether the list need not be made."""
        return self._known() is not None

    def listed(self, progress: Reporter = SILENT) -> Listed:
        """The list, with the names that the scene is taught now; without names if no text can be asked."""
        plain = self._known()
        try:
            if plain is None:
                plain = list_of_words(self._scene, self._words, progress=progress)
                self._plain = self._names_stamp(), plain
                text = json.dumps(plain.things, separators=(",", ":")).encode()
                tensors = {"things": np.frombuffer(text, np.uint8), "owner": plain.owner.astype(np.int32)}
                self._keep(self._folder / "names.safetensors", tensors, NAMES_FORMAT, self._plain[0])
            return with_taught_names(self._scene, plain, progress=progress)
        except ModelError as error:
            if plain is None:
                lacks = f"The things have no names, and no text is answered: {error}"
                return list_without_names(self._scene, lacks, progress=progress)
            return replace(plain, lacks=f"Names that the scene was taught are not shown: {error}")

    def pictures(self, progress: Reporter = SILENT) -> dict[int, str]:
        """Small pictures of the listed things, data URIs by id; none of what no photo shows."""
        if self._pictures is None:
            ids, path = self.listed(progress).ids, self._folder / "pictures.safetensors"
            made_of = stamp(self._of_scene, self._of_photos, ids)
            self._pictures = _load_pictures(path, made_of)
            if self._pictures is None:
                self._pictures = thumbnails_of(self._scene, ids, progress=progress)
                if not self._scene.missing_photos():  # else there are more once these are back
                    self._keep(path, _pictures_as_tensors(self._pictures), PICTURES_FORMAT, made_of)
        return {thing: data_uri(jpeg) for thing, jpeg in self._pictures.items()}

    def _known(self) -> Listed | None:
        made_of = self._names_stamp()
        if self._plain is None or self._plain[0] != made_of:
            found = _load_names(self._folder / "names.safetensors", made_of, self._scene)
            self._plain = None if found is None else (made_of, found)
        return None if self._plain is None else self._plain[1]

    def _keep(self, path: Path, tensors: Mapping[str, np.ndarray], format: str, made_of: str) -> None:
        """Write a file, if that can be done; that of a newer version, or of a scene made anew, stays."""
        if not self._write or not self._scene.workspace.root.is_dir() or self._scene.changed():
            return
        with suppress(GagsError, OSError):
            with suppress(DamagedError):  # then it is replaced
                load_metadata(path, remedy="", format=format)
            save_tensors(path, tensors, {"format": format, "stamp": made_of})

    def _names_stamp(self) -> str:
        meant = taught_among(self._scene.taught.entries(), self._words)
        return stamp(self._of_scene, self._words, self._scene.photos_with_masks, meant)

    @cached_property
    def _of_scene(self) -> str:
        """What the list is made of that does not change while a scene is open."""
        return stamp(__version__, mark_of(self._scene), self._scene.things().checksum())

    @cached_property
    def _of_photos(self) -> str:
        """What else pictures are made of; of the photos it is the names and cameras."""
        capture = self._scene.capture
        cameras = [
            [view.name, view.split, view.camera.K.tolist(), view.camera.width, view.camera.height]
            for view in capture.views
        ]
        turned = checksum({"quats": self._scene.gaussians.quats.cpu()})
        return stamp(poses_stamp(capture), cameras, turned)


def mark_of(scene: Scene) -> str:
    """What tells a scene from another one: its Gaussians and its language field."""
    field = scene.field
    weights = {f"decoder.{name}": value.cpu() for name, value in field.decoder.state_dict().items()}
    language = checksum(weights | {"features": field.features.cpu()})
    return stamp(field.splats_hash, field.encoder_name, language)


def taught_among(taught: Sequence[Taught], words: Sequence[str]) -> list[Any]:
    """What is taught that words may mean, as "mug" for "mug handle": with these, words fit other things."""
    plain = [f" {plain_name(word)} " for word in words]
    return [
        [*one.to_json().values(), one.splats, one.encoder, checksum({"members": one.members})]
        for one in taught
        if any(f" {plain_name(one.name)} " in word for word in plain)
    ]


def with_pictures(things: Sequence[dict[str, Any]], pictures: Mapping[int, str]) -> list[dict[str, Any]]:
    """Entries of the list with their pictures as `thumbnail`; null where there is none."""
    return [
        thing | {"thumbnail": pictures.get(thing["id"])} if thing["listed"] else thing for thing in things
    ]


def data_uri(jpeg: bytes) -> str:
    """A JPEG as an address that holds it."""
    return "data:image/jpeg;base64," + base64.b64encode(jpeg).decode("ascii")


def _load_names(path: Path, made_of: str, scene: Scene) -> Listed | None:
    """The list of a file; None if it is not there, damaged, or was made of something else."""
    tensors = _load(path, NAMES_FORMAT, NAMES, made_of)
    if tensors is None:
        return None
    try:
        rows = json.loads(tensors["things"].tobytes())
        things, owner = scene.things(), tensors["owner"]
        sound = owner.shape == (len(scene.gaussians),) and owner.max(initial=-1) < len(things)
        sound &= [row["id"] for row in rows] == list(range(len(things)))
        sound &= all(isinstance(row["name"], str) and row["names"] for row in rows if row["listed"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return Listed(rows, owner) if sound else None


def _load_pictures(path: Path, made_of: str) -> dict[int, bytes] | None:
    tensors = _load(path, PICTURES_FORMAT, PICTURES, made_of)
    if tensors is None:
        return None
    ends, content = tensors["ends"].tolist(), tensors["jpeg"].tobytes()
    starts = [0, *ends][: len(ends)]
    parts = [content[start:end] for start, end in zip(starts, ends, strict=True)]
    return dict(zip(tensors["ids"].tolist(), parts, strict=True))


def _pictures_as_tensors(pictures: Mapping[int, bytes]) -> dict[str, np.ndarray]:
    return {
        "ids": np.array(list(pictures), np.int32),
        "ends": np.cumsum([len(jpeg) for jpeg in pictures.values()], dtype=np.int64),
        "jpeg": np.frombuffer(b"".join(pictures.values()), np.uint8),
    }


def _load(path: Path, format: str, contents: Contents, made_of: str) -> dict[str, np.ndarray] | None:
    """Tensors of a file that is whole and was made of this; else None."""
    try:
        stored = load_tensors(path, remedy="", kind="numpy", format=format, contents=contents)
    except (GagsError, OSError):
        return None
    return stored.tensors if stored.metadata.get("stamp") == made_of else None
