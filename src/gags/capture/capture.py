"""A capture: posed photos of one place, with the sparse points that the poses were found with."""

import difflib
import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import numpy as np

from gags.capture.camera import Camera
from gags.capture.lens import Lens
from gags.capture.masks import kept_of_alpha, kept_of_mask, mask_digest, resized_kept
from gags.capture.names import resolve
from gags.capture.photos import listed, photo_sample, photo_size, read_photo
from gags.capture.projections import PERSPECTIVE
from gags.capture.undistort import seen_pixels, undistort, undistort_kept
from gags.errors import CaptureError

Split = Literal["train", "test"]
SAMPLE_DIGITS = 16  # of a hash: enough to tell photos apart


@dataclass(frozen=True, eq=False)
class View:
    """One posed photo.

    Attributes:
        name: File name of the photo in the images folder, with forward slashes: "a/b.jpg".
        path: The photo on disk.
        camera: The pinhole camera of the image as `image` gives it: undistorted and resized.
        split: Whether the view is trained on ("train") or held out ("test").
        lens: The camera that took the photo, of the size that the photo is shrunk to before it is
            undistorted; None if it was a pinhole.
        photo_size: Width and height that the photo must have once it is turned; None if any will do.
        orientation: EXIF orientation by which the pixels of the photo are turned; 1 where they are taken as
            they lie in the file.
        mask: Picture that is black where the photo is to be ignored; None if there is none.
        alpha: Whether what is transparent in the photo itself is to be ignored.
        sample: Hash of the photo that a scene was made of; empty if that is not known. See `changed_photos`.
    """

    name: str
    path: Path
    camera: Camera
    split: Split = "train"
    lens: Lens | None = None
    photo_size: tuple[int, int] | None = None
    orientation: int = 1
    mask: Path | None = None
    alpha: bool = False
    sample: str = ""

    @property
    def stem(self) -> str:
        """The name without its suffix: "a/b"."""
        return PurePosixPath(self.name).with_suffix("").as_posix()

    @property
    def rarely(self) -> str:
        """What few views have, for hashes: empty for all others, so that theirs stay what they were."""
        lens = self.lens
        radial8 = lens.radial8 if lens is not None else 0.0
        turned = f"\0turned {self.orientation}" if self.orientation != 1 else ""
        wide = lens is not None and lens.projection != PERSPECTIVE
        bent = f"\0{lens.projection} {lens.direction} {lens.radius}" if lens is not None and wide else ""
        rare = (f"\0r8 {radial8}" if radial8 else "") + turned + bent
        return rare + ("\0alpha" if self.alpha else "")

    def image(self) -> np.ndarray:
        """Decode the photo, undistorted and resized to `camera`. The caller keeps it; nothing is cached.

        Returns:
            uint8 RGB [H, W, 3], exactly camera.height × camera.width

        Raises:
            CaptureError: If the photo cannot be read or changed its size since the capture was loaded.
        """
        import cv2

        image = read_photo(self.path, self.orientation)
        height, width = image.shape[:2]
        self._check_size(width, height)
        final = (self.camera.width, self.camera.height)
        size = final if self.lens is None else (self.lens.width, self.lens.height)
        if (width, height) != size:
            shrinks = width >= size[0] and height >= size[1]
            image = cv2.resize(image, size, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC)
        return image if self.lens is None else undistort(image, self.lens, self.camera.K, final)

    def seen(self) -> np.ndarray | None:
        """Which pixels of `image` the photo shows; None, as of nearly all photos, if it shows all of them.

        Returns:
            bool [H, W]; False where an undistorted picture reaches beyond the photo (`--undistort.border
            keep`) and is black.
        """
        final = (self.camera.width, self.camera.height)
        return None if self.lens is None else seen_pixels(self.lens, self.camera.K, final)

    def kept(self) -> np.ndarray | None:
        """Which pixels of `image` count; the others are to be ignored: by a mask, or because the photo does
        not show them (`seen`). Nothing is cached.

        Returns:
            bool [H, W], exactly camera.height × camera.width; None if all count.

        Raises:
            CaptureError: If the mask cannot be read, or has another shape than the photo.
        """
        if self.mask is None and not self.alpha:
            return self.seen()
        kept = self.kept_in(self.kept_of_photo())
        return None if kept.all() else kept

    def kept_of_photo(self) -> np.ndarray:
        """Which pixels of the photo count by its mask and its alpha channel, before it is undistorted.

        Returns:
            bool [H, W], as large as the photo once it is turned.

        Raises:
            CaptureError: As for `kept`.
        """
        width, height = photo_size(self.path)
        if self.orientation >= 5:
            width, height = height, width
        self._check_size(width, height)
        kept = np.ones((height, width), bool)
        if self.mask is not None:
            kept &= kept_of_mask(self.mask, (width, height), self.orientation)
        if self.alpha:
            kept &= kept_of_alpha(self.path, self.orientation)
        return kept

    def kept_in(self, kept_of_photo: np.ndarray) -> np.ndarray:
        """Which pixels of `image` count, from which of the photo do. bool [H, W] → bool [H, W]"""
        final = (self.camera.width, self.camera.height)
        if self.lens is None:
            return resized_kept(kept_of_photo, *final)
        kept = resized_kept(kept_of_photo, self.lens.width, self.lens.height)
        return undistort_kept(kept, self.lens, self.camera.K, final)

    def _check_size(self, width: int, height: int) -> None:
        if self.photo_size is not None and (width, height) != self.photo_size:
            raise CaptureError(
                f"photo {self.path} is now {width}×{height}, but was {self.photo_size[0]}×"
                f"{self.photo_size[1]} when the capture was loaded; load the capture again"
            )


class Capture:
    """Posed photos, split into those to train on and those held out, and sparse points of the scene.

    Iterating gives the views in the order of their names; `capture["frame_0030"]` finds one by name or stem.

    Attributes:
        root: Folder of the capture.
        views: All views, sorted by name.
        format: Name of the format of `root`, one of `gags.capture.formats`: "colmap", "nerfstudio", …
        options: What `load_capture` was asked for, to be kept beside the result.
    """

    def __init__(
        self,
        root: Path,
        views: Iterable[View],
        points: np.ndarray | None = None,
        points_rgb: np.ndarray | None = None,
        *,
        read_points: Callable[[], tuple[np.ndarray, np.ndarray]] | None = None,
        format: str = "colmap",
        options: dict[str, Any] | None = None,
        points_digest: str | None = None,
    ) -> None:
        """Put a capture together; `load_capture` is the usual way to one.

        Args:
            root: Folder of the capture.
            views: The views, in any order.
            points: Sparse points, float32 [P, 3]; None if `read_points` gives them, or if there are none.
            points_rgb: Their colours, uint8 [P, 3].
            read_points: Returns points and colours; called once, when they are first needed.
            format: Name of the format of `root`.
            options: What to remember about how the capture was loaded.
            points_digest: Hash that the points of `read_points` must have.

        Raises:
            CaptureError: If two views share a name but for the suffix.
        """
        self.root = Path(root)
        self.views = sorted(views, key=lambda view: view.name)
        self.format = format
        self.options = dict(options or {})
        self._points = None if points is None or points_rgb is None else (points, points_rgb)
        self._read_points = read_points or _no_points
        self._points_digest = points_digest
        self._by_name = _lookup(self.views)
        same_stem = [view.name for view in self.views if self._by_name[view.stem] is not view]
        if same_stem:
            raise CaptureError(
                f"{root}: photos share a name but for the suffix ({listed(same_stem)}); rename one of each"
            )

    @property
    def train(self) -> list[View]:
        """Views to train on."""
        return [view for view in self.views if view.split == "train"]

    @property
    def test(self) -> list[View]:
        """Views held out."""
        return [view for view in self.views if view.split == "test"]

    @property
    def points(self) -> np.ndarray:
        """Sparse points in world coordinates. float32 [P, 3]"""
        return self._sparse()[0]

    @property
    def points_rgb(self) -> np.ndarray:
        """Colours of the sparse points. uint8 [P, 3]"""
        return self._sparse()[1]

    def __len__(self) -> int:
        return len(self.views)

    def __iter__(self) -> Iterator[View]:
        return iter(self.views)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self._find(name) is not None

    def __getitem__(self, name: str) -> View:
        """A view by name ("a/b.jpg"), stem ("a/b"), or, where one view has it, bare file name ("b.jpg", "b").

        A name that no view has is forgiven what `gags.capture.names.resolve` forgives.

        Raises:
            CaptureError: If there is none; names the nearest.
        """
        view = self._find(name)
        if view is None:
            names = [view.name for view in self.views]
            near = difflib.get_close_matches(name, names, n=3, cutoff=0.3) or names
            raise CaptureError(f"{self.root} has no view {name!r}; did you mean {listed(near)}?")
        return view

    def _find(self, name: str) -> View | None:
        if name in self._by_name:
            return self._by_name[name]
        found = resolve([name], [view.name for view in self.views]).get(name)
        return None if found is None else self._by_name[found]

    def with_split(self, test_names: Iterable[str]) -> "Capture":
        """The same capture with exactly these views, by name or stem, held out."""
        held_out = {self[name].name for name in test_names}
        return self._with_views(
            [replace(v, split="test" if v.name in held_out else "train") for v in self.views]
        )

    def settled(self, before: "Capture") -> "Capture":
        """The same capture with the cameras of an earlier reading of it where they differ by rounding alone.

        Linear algebra rounds otherwise on another processor. What was made on one is not made again on the
        other, so hashes must not tell the two readings apart.
        """
        known = {view.name: view.camera for view in before}
        cameras = [known.get(view.name, view.camera) for view in self.views]
        return self._with_views(
            [
                replace(view, camera=camera) if view.camera.is_nearly(camera) else view
                for view, camera in zip(self.views, cameras, strict=True)
            ]
        )

    def _with_views(self, views: Iterable[View]) -> "Capture":
        """The same capture with these views instead of its own."""
        return Capture(
            self.root,
            views,
            read_points=self._sparse,  # read once, whichever of the two is asked first
            format=self.format,
            options=self.options,
            points_digest=self._points_digest,
        )

    def points_digest(self) -> str:
        """Hash of the sparse points and their colours."""
        if self._points_digest is None:
            points, points_rgb = self._sparse()
            self._points_digest = _points_digest(points, points_rgb)
        return self._points_digest

    def fingerprint(self) -> str:
        """Hash of everything a stage can depend on: cameras, split, photos, masks, points.

        The same in every process and wherever the capture's folder lies. Photos are recognised by their
        size in bytes and by samples of their bytes, without decoding them.
        """
        digest = hashlib.sha256(self.points_digest().encode())
        for view in self.views:
            camera = view.camera
            digest.update(
                f"{view.name}\0{view.split}\0{camera.width}×{camera.height}\0{view.lens}".encode(
                    "utf-8", "surrogateescape"
                )
            )
            digest.update(view.rarely.encode("utf-8", "surrogateescape"))
            digest.update(np.asarray(camera.viewmat, dtype="<f8").tobytes())
            digest.update(np.asarray(camera.K, dtype="<f8").tobytes())
            digest.update(photo_sample(view.path))
            if view.mask is not None:
                digest.update(mask_digest(view.mask))
        return digest.hexdigest()

    def samples(self, names: Iterable[str] | None = None) -> dict[str, str]:
        """Hash of the photo of each of these views (of all by default) as it is now, by the view's name.

        Raises:
            CaptureError: If a photo cannot be read.
        """
        views = self.views if names is None else [self[name] for name in names]
        paths = {view.path for view in views}  # several views may be cut out of one photo
        files = {path: photo_sample(path).hex()[:SAMPLE_DIGITS] for path in paths}
        return {view.name: files[view.path] for view in views}

    def changed_photos(
        self, before: "Capture | None" = None, *, names: Iterable[str] | None = None
    ) -> list[str]:
        """Names of views whose photo is another one now than that of which a scene was made.

        Args:
            before: The capture of that scene; this one by default.
            names: Views to look at; all by default.
        """
        made_of = {view.name: view.sample for view in before or self if view.sample}
        if not made_of:
            return []
        return [name for name, now in self.samples(names).items() if made_of.get(name, now) != now]

    def masks_digest(self) -> str:
        """Hash of what says which pixels of the training photos are to be ignored; empty if none are."""
        masked = [view for view in self.train if view.mask is not None or view.alpha]
        digest = hashlib.sha256()
        for view in masked:
            digest.update(f"{view.name}\0{view.alpha}".encode("utf-8", "surrogateescape"))
            digest.update(b"" if view.mask is None else mask_digest(view.mask))
            digest.update(photo_sample(view.path) if view.alpha else b"")
        return digest.hexdigest() if masked else ""

    def _sparse(self) -> tuple[np.ndarray, np.ndarray]:
        if self._points is None:
            points = self._read_points()
            if self._points_digest not in (None, _points_digest(*points)):
                raise CaptureError(
                    f"the sparse points in {self.root} changed since the workspace was made; "
                    "run `gags run` with the capture again"
                )
            self._points = points
        return self._points


def _lookup(views: list[View]) -> dict[str, View]:
    """Views by all they may be called; a bare file name only counts where one view has it."""
    bare: dict[str, list[View]] = {}
    for view in views:
        for alias in {PurePosixPath(view.name).name, PurePosixPath(view.stem).name}:
            bare.setdefault(alias, []).append(view)
    lookup = {alias: owners[0] for alias, owners in bare.items() if len(owners) == 1}
    lookup.update((view.stem, view) for view in views)
    lookup.update((view.name, view) for view in views)
    return lookup


def _no_points() -> tuple[np.ndarray, np.ndarray]:
    return np.zeros((0, 3), np.float32), np.zeros((0, 3), np.uint8)


def _points_digest(points: np.ndarray, points_rgb: np.ndarray) -> str:
    digest = hashlib.sha256(np.ascontiguousarray(points, dtype="<f4").tobytes())
    digest.update(np.ascontiguousarray(points_rgb, dtype=np.uint8).tobytes())
    return digest.hexdigest()
