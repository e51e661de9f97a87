"""The photos that training looks at: as many as fit are held, the others are decoded anew, ahead of use.

Training looks at every photo once an epoch, in an order that it knows beforehand. So which photos are held
makes no difference, only how many: the first that fit stay. A thread decodes those of the next steps
meanwhile. A step gets the same pixels wherever they come from.
"""

from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor

import cv2
import numpy as np
import torch
from torch import Tensor

from gags.capture import View
from gags.capture.camera import Camera
from gags.capture.masks import resized_kept
from gags.files.memory import available_bytes
from gags.models.device import free_bytes
from gags.render.cuda_view import to_device

HELD_SHARE = 0.25  # of the memory that is available
# More would save little: while a step of full-size photos is computed, one is decoded many times over.
MOST_HELD = 1 << 30  # bytes
AHEAD = 3  # photos that are decoded ahead; more only where one step is faster than a photo is decoded
GPU_SHARE = 0.25  # of a GPU's memory that is free when the first is sent there, that photos may stay in
ELSEWHERE = np.zeros((0, 0, 3), np.uint8)  # stands for a photo that stays on a GPU
_MASKED = np.zeros((0, 0), bool)  # for its mask

Wanted = tuple[str, int]
"""Name of a photo, and what it is shrunk by."""

Shrunk = tuple[np.ndarray, np.ndarray | None]
"""A photo, uint8 [H, W, 3], and which of its pixels count, bool [H, W]; None if all do."""


class Photos:
    """Photos of the size in use.

    Args:
        budget: Bytes of photos that are held; by default a share of what is available.
    """

    def __init__(self, budget: int | None = None) -> None:
        self.budget = min(MOST_HELD, int(HELD_SHARE * available_bytes())) if budget is None else budget
        self.divisor = 0
        self.held: dict[str, np.ndarray] = {}
        self._kept: dict[str, np.ndarray | None] = {}  # of the held photos, and of the latest
        self._latest = ""
        self._bytes = 0  # of the held ones
        self._coming: dict[Wanted, Future[Shrunk]] = {}
        self._reader: ThreadPoolExecutor | None = None
        self._on_gpu: dict[str, Tensor] = {}  # those that stay there
        self._gpu_left: int | None = None  # bytes that more of them may take; None before the first

    def at(self, view: View, divisor: int, *, here: bool = True) -> tuple[np.ndarray, Camera]:
        """A photo shrunk by a divisor, uint8 [H, W, 3], and its camera.

        Args:
            view: The photo.
            divisor: What it is shrunk by.
            here: Whether its pixels are needed in any case. Else, of a photo that stays on a GPU, they are
                not decoded again: it comes as `ELSEWHERE`, and `on_device` has it.
        """
        if divisor != self.divisor:
            self.divisor, self.held, self._bytes, self._kept = divisor, {}, 0, {}
            self._on_gpu, self._gpu_left = {}, None
        camera = resized(view.camera, divisor)
        if not here and self._stays(view.name):
            self._let_go(view.name)
            return ELSEWHERE, camera
        photo = self.held.get(view.name)
        if photo is None:
            coming = self._coming.pop((view.name, divisor), None)
            photo, kept = seen(view, divisor) if coming is None else coming.result()
            if self._latest not in self.held and not self._stays(self._latest):
                self._kept.pop(self._latest, None)
            self._kept[view.name], self._latest = kept, view.name
            size = photo.nbytes + (0 if kept is None else kept.nbytes)
            if self._bytes + size <= self.budget:
                self.held[view.name] = photo
                self._bytes += size
        return photo, camera

    def kept(self, view: View) -> np.ndarray | None:
        """Which pixels count of a photo that `at` gave last, or holds: bool [H, W]; None if all do.

        Of a photo that came as `ELSEWHERE`, an empty array stands for those of a mask; `on_device` has it.
        """
        return self._kept[view.name]

    def _stays(self, name: str) -> bool:
        """Whether a photo of the size in use is on a GPU to stay, with its mask if it has one."""
        if name not in self._on_gpu or name not in self._kept:
            return False
        return self._kept[name] is None or mask_of(name) in self._on_gpu

    def _let_go(self, name: str) -> None:
        """Hold a photo no longer, and its mask, which are on a GPU."""
        kept, photo = self._kept[name], self.held.pop(name, None)
        if photo is not None:
            self._bytes -= photo.nbytes + (0 if kept is None else kept.nbytes)
        self._kept[name] = None if kept is None else _MASKED

    def expect(self, coming: Iterable[tuple[View, int]]) -> None:
        """Decode photos that are asked for next, with their divisors, in a thread; others are forgotten."""
        wanted = {
            (view.name, divisor): view
            for view, divisor in coming
            if divisor != self.divisor or not (view.name in self.held or self._stays(view.name))
        }
        for left in self._coming.keys() - wanted.keys():
            self._coming.pop(left).cancel()
        for (name, divisor), view in wanted.items():
            if (name, divisor) not in self._coming:
                if self._reader is None:
                    self._reader = ThreadPoolExecutor(1, "photos")
                self._coming[name, divisor] = self._reader.submit(seen, view, divisor)

    def close(self) -> None:
        """Stop the thread, and forget what it was to decode."""
        if self._reader is not None:
            self._reader.shutdown(cancel_futures=True)
        self._reader, self._coming = None, {}

    def on_device(self, name: str, photo: np.ndarray, device: torch.device) -> Tensor:
        """What `at` or `kept` gave, on a GPU; the first that fit into a share of its memory stay there.

        Args:
            name: Name of the photo, or `mask_of` it.
            photo: The photo, or its mask.
            device: The GPU.
        """
        if name in self._on_gpu:
            return self._on_gpu[name]
        if self._gpu_left is None:  # asked once for a size of photos: the driver takes its time to tell
            self._gpu_left = int(GPU_SHARE * free_bytes(device))
        there = to_device(photo, device)
        if photo.nbytes <= self._gpu_left:
            self._on_gpu[name] = there
            self._gpu_left -= photo.nbytes
        return there


def mask_of(name: str) -> str:
    """What the mask of a photo of this name is called; no photo is."""
    return f"{name}\0kept"


def seen(view: View, divisor: int) -> Shrunk:
    """The photo of a view, shrunk, and which of its pixels count."""
    return shrunk(view, divisor), shrunk_kept(view, divisor)


def shrunk_kept(view: View, divisor: int) -> np.ndarray | None:
    """Which pixels of a shrunk photo count; None if all do. bool [H, W]"""
    kept = view.kept()
    if kept is None or divisor == 1:
        return kept
    camera = resized(view.camera, divisor)
    return resized_kept(kept, camera.width, camera.height)


def shrunk(view: View, divisor: int) -> np.ndarray:
    """The photo of a view, decoded and shrunk by a divisor. uint8 [H, W, 3]"""
    image = view.image()
    if divisor == 1:
        return image
    camera = resized(view.camera, divisor)
    return cv2.resize(image, (camera.width, camera.height), interpolation=cv2.INTER_AREA)


def resized(camera: Camera, divisor: float) -> Camera:
    """The camera of a photo shrunk by a divisor."""
    return camera.resized(max(1, round(camera.width / divisor)), max(1, round(camera.height / divisor)))
