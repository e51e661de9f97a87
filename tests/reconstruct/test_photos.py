"""Which photos training holds, and which it decodes again; pixels are the same either way."""

import gc
import threading
import weakref
from collections import Counter
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from gags.capture import Camera, View
from gags.errors import CaptureError
from gags.reconstruct import photos as photos_module
from gags.reconstruct.photos import AHEAD, HELD_SHARE, MOST_HELD, Photos, mask_of

WIDTH, HEIGHT = 32, 24
BYTES = WIDTH * HEIGHT * 3


class Alive:
    """Counts decoded photos that are still in memory."""

    def __init__(self, monkeypatch):
        self.decoded: list[tuple[str, str]] = []
        self._photos: list[weakref.ref] = []
        decode = View.image

        def counted(view):
            photo = decode(view)
            self._photos.append(weakref.ref(photo))
            self.decoded.append((view.name, threading.current_thread().name))
            return photo

        monkeypatch.setattr(View, "image", counted)

    def __call__(self) -> int:
        gc.collect(1)  # not all: in a long run of tests that takes a second
        return sum(photo() is not None for photo in self._photos)


@pytest.fixture
def views(tmp_path) -> list[View]:
    found = []
    for number in range(12):
        pixels = np.random.default_rng(number).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
        path = tmp_path / f"{number:02d}.png"
        Image.fromarray(pixels).save(path)
        camera = Camera(np.eye(4), np.array([[30.0, 0, 16], [0, 30, 12], [0, 0, 1]]), WIDTH, HEIGHT)
        found.append(View(path.name, path, camera))
    return found


def epochs(views: list[View], photos: Photos, count: int, alive: Alive) -> tuple[list[np.ndarray], int]:
    """What a training sees, and the most photos that were alive after a step."""
    order = [view for _ in range(count) for view in views]
    seen, most = [], 0
    for step, view in enumerate(order):
        photo = photos.at(view, 1)[0]
        photos.expect((later, 1) for later in order[step + 1 : step + 1 + AHEAD])
        seen.append(photo.copy())
        del photo
        most = max(most, alive())
    photos.close()
    return seen, most


def test_photos_beyond_the_budget_are_not_kept(views, monkeypatch):
    alive = Alive(monkeypatch)
    photos = Photos(budget=3 * BYTES + BYTES // 2)
    seen, most = epochs(views, photos, 3, alive)
    assert list(photos.held) == ["00.png", "01.png", "02.png"]
    # Three are held; of the others, no more than those that are decoded ahead.
    assert most <= 3 + AHEAD
    assert len(alive.decoded) == 3 + 3 * 9
    assert all(
        np.array_equal(photo, np.asarray(Image.open(view.path)))
        for photo, view in zip(seen, views * 3, strict=True)
    )


def test_all_but_the_first_are_decoded_by_a_thread(views, monkeypatch):
    alive = Alive(monkeypatch)
    epochs(views, Photos(budget=0), 2, alive)
    main = threading.current_thread().name
    assert [name for name, thread in alive.decoded if thread == main] == ["00.png"]
    assert [name for name, _ in alive.decoded] == [view.name for view in views * 2]


def test_with_room_every_photo_is_decoded_once(views, monkeypatch):
    alive = Alive(monkeypatch)
    _, most = epochs(views, Photos(budget=12 * BYTES), 3, alive)
    assert most == len(alive.decoded) == 12


def test_photos_of_another_size_take_the_place_of_the_former(views):
    photos = Photos(budget=12 * BYTES)
    for view in views:
        photos.at(view, 1)
    photo, camera = photos.at(views[5], 4)
    wanted = cv2.resize(np.asarray(Image.open(views[5].path)), (8, 6), interpolation=cv2.INTER_AREA)
    assert np.array_equal(photo, wanted)
    assert (camera.width, camera.height) == (8, 6)
    assert list(photos.held) == ["05.png"]


def test_what_is_not_expected_any_more_is_forgotten(views):
    photos = Photos(budget=0)
    photos.expect((view, 1) for view in views[:2])
    photos.expect((view, 1) for view in views[5:6])
    assert list(photos._coming) == [("05.png", 1)]
    photos.close()


def test_a_photo_that_cannot_be_read_fails_when_it_is_wanted(views):
    gone = replace(views[1], path=views[1].path.with_name("gone.png"))
    photos = Photos(budget=0)
    photos.at(views[0], 1)
    photos.expect([(gone, 1)])
    with pytest.raises(CaptureError, match=r"gone.png is not there"):
        photos.at(gone, 1)
    photos.close()


@pytest.mark.parametrize(
    ("available", "budget"), [(1000, int(1000 * HELD_SHARE)), (100 * MOST_HELD, MOST_HELD)]
)
def test_the_budget_is_a_share_of_what_is_available(monkeypatch, available, budget):
    monkeypatch.setattr(photos_module, "available_bytes", lambda: available)
    assert Photos().budget == budget


def masked(views: list[View], tmp_path) -> list[View]:
    """The same photos, every other one with a mask that leaves out its left half."""
    mask = np.full((HEIGHT, WIDTH), 255, np.uint8)
    mask[:, : WIDTH // 2] = 0
    Image.fromarray(mask).save(tmp_path / "mask.png")
    return [replace(v, mask=tmp_path / "mask.png") if n % 2 else v for n, v in enumerate(views)]


@pytest.mark.parametrize("budget", [0, 3 * BYTES, 100 * BYTES])
def test_photos_that_stay_on_a_gpu_are_decoded_once(views, tmp_path, monkeypatch, budget):
    alive, views = Alive(monkeypatch), masked(views, tmp_path)
    monkeypatch.setattr(photos_module, "free_bytes", lambda device: 1 << 30)
    photos, device = Photos(budget), torch.device("cpu")
    order = views * 3
    for step, view in enumerate(order):
        photo, _ = photos.at(view, 1, here=False)
        kept = photos.kept(view)
        photos.expect((later, 1) for later in order[step + 1 : step + 1 + AHEAD])
        there = photos.on_device(view.name, photo, device)
        assert np.array_equal(there, np.asarray(Image.open(view.path)))
        assert (kept is None) == (view.mask is None)
        if kept is not None:
            on_gpu = photos.on_device(mask_of(view.name), kept, device)
            assert on_gpu.float().mean() == 0.5
    photos.close()
    assert sorted(name for name, _ in alive.decoded) == sorted(view.name for view in views)
    assert photos.held == {}
    assert photos._bytes == 0
    pixels, _ = photos.at(views[1], 1)  # filling holes looks at them here
    assert pixels.shape == (HEIGHT, WIDTH, 3)
    found = photos.kept(views[1])
    assert found is not None
    assert found.mean() == 0.5


def test_photos_that_do_not_fit_a_gpu_are_decoded_again(views, monkeypatch):
    alive = Alive(monkeypatch)
    monkeypatch.setattr(photos_module, "free_bytes", lambda device: 0)
    photos = Photos(budget=0)
    for view in views * 2:
        photo, _ = photos.at(view, 1, here=False)
        assert photos.on_device(view.name, photo, torch.device("cpu")).shape == photo.shape
    assert len(alive.decoded) == 2 * len(views)


def test_the_first_photos_that_fit_a_gpu_stay_there(views, monkeypatch):
    alive, asked = Alive(monkeypatch), []
    monkeypatch.setattr(photos_module, "free_bytes", lambda device: asked.append(device) or 8 * BYTES + 4)
    photos, device = Photos(budget=0), torch.device("cpu")  # a quarter of that: two photos
    for view in views * 3:
        photo, _ = photos.at(view, 1, here=False)
        there = photos.on_device(view.name, photo, device)
        assert np.array_equal(there, np.asarray(Image.open(view.path)))
    assert list(photos._on_gpu) == [view.name for view in views[:2]]
    assert len(asked) == 1  # not at every step
    counts = Counter(name for name, _ in alive.decoded)
    assert counts == {view.name: 1 if view in views[:2] else 3 for view in views}
    photo, _ = photos.at(views[3], 2, here=False)  # another size: the first is another one
    photos.on_device(views[3].name, photo, device)
    assert list(photos._on_gpu) == [views[3].name]
    assert len(asked) == 2
