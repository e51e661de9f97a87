"""The service through its own application, with a finished toy scene."""

import base64
import io
import struct
import threading
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("fastapi")
from fastapi.testclient import TestClient
from tests.helpers.blobs import ToyEncoder

import gags
from gags.gaussians.ply import load_ply
from gags.serve.app import Service
from gags.serve.settings import ServeSettings

TOKEN = "t0ken"


def _large_png() -> bytes:
    """A PNG whose header says 10,000 × 10,000 pixels, and that holds none."""
    chunks = {b"IHDR": struct.pack(">IIBBBBB", 10_000, 10_000, 8, 2, 0, 0, 0), b"IDAT": b""}
    parts = [
        struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        for kind, content in chunks.items()
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


LARGE = _large_png()
SENT = {"Authorization": f"Bearer {TOKEN}"}


class Shelf:
    """A library that remembers what it was asked, or fails as it is told to."""

    def __init__(self) -> None:
        self.asked: list[dict] = []
        self.error: Exception | None = None

    def search(self, **wanted):
        if self.error is not None:
            raise self.error
        self.asked.append(wanted)

        class Found:
            scene, thing, names, score, encoder, matches = "kitchen", 3, ["mug"], 0.7, "lite", True
            box = np.array([[0, 0, 0], [1, 2, 3.0]])
            thumbnail = b"jpeg"

        return [Found()]


@pytest.fixture(scope="module")
def shelf() -> Shelf:
    return Shelf()


@pytest.fixture(scope="module")
def service(finished: Path, shelf: Shelf):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("gags.serve.pool.load_encoder", lambda name: ToyEncoder())
        service = Service({"toy": finished}, {"shelf": shelf}, ServeSettings(token=TOKEN, rate=1e6))
        yield service
        service.close()


@pytest.fixture(scope="module")
def client(service: Service):
    with TestClient(service.app, headers=SENT, raise_server_exceptions=False) as client:
        yield client


@pytest.fixture(scope="module")
def scene(finished: Path) -> gags.Scene:
    scene = gags.Scene.load(finished)
    scene.encoder = ToyEncoder()
    return scene


def test_health_needs_no_token_and_everything_else_does(client):
    stranger = {"Authorization": ""}
    assert client.get("/health", headers=stranger).json()["status"] == "ok"
    routes = client.get("/openapi.json").json()["paths"]
    for path, methods in routes.items():
        for method in methods:
            if path == "/health":
                continue
            asked = path.replace("{scene}", "toy")
            for header in ("", "Bearer wrong", f"Basic {TOKEN}"):
                answer = client.request(method, asked, headers={"Authorization": header})
                assert answer.status_code == 401, (method, asked, header)
                assert "token" in answer.json()["detail"]


def test_locate_is_what_the_scene_says(client, scene):
    (found,) = client.post("/scenes/toy/locate", json={"texts": ["red ball"]}).json()
    expected = [instance.to_json() for instance in scene.locate("red ball")[0]]
    assert expected
    assert found["text"] == "red ball"
    assert found["instances"] == expected


def test_query_in_a_view_is_what_the_scene_says(client, scene):
    view = scene.capture.views[0].name
    (row,) = client.post("/scenes/toy/query", json={"texts": ["red ball"], "views": [view]}).json()
    (answer,) = scene.query("red ball", view)
    ys, xs = np.nonzero(answer.mask)
    assert row["peak"] == list(answer.peak)
    assert row["pixels"] == len(xs) > 0
    assert row["rectangle"] == [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]
    assert row["found"]
    assert len(client.post("/scenes/toy/query", json={"texts": ["red ball", "green ball"]}).json()) == 6


def test_cameras_are_those_of_the_capture(client, scene):
    details = client.get("/scenes/toy").json()
    camera = scene.capture.views[3].camera
    shown = details["views"][3]
    assert details["gaussians"] == len(scene.gaussians)
    assert np.allclose(shown["K"], camera.K)
    assert np.allclose(shown["world_to_camera"], camera.viewmat)
    assert (shown["width"], shown["height"]) == (camera.width, camera.height)


@pytest.mark.parametrize("what", ["photo", "color", "depth", "relevancy"])
def test_pictures_are_within_the_size(client, scene, what):
    asked = {"view": scene.capture.views[0].name, "what": what, "longest": 40}
    route = "picture"
    if what == "relevancy":
        route, asked["text"] = "answer", "red ball"
    answer = client.get(f"/scenes/toy/{route}", params=asked)
    assert answer.headers["content-type"] == "image/png"
    assert max(Image.open(io.BytesIO(answer.content)).size) == 40


def test_a_mask_is_at_the_size_of_the_photo(client, scene):
    view = scene.capture.views[0].name
    asked = {"view": view, "what": "mask", "text": "red ball", "longest": 40}
    mask = np.asarray(Image.open(io.BytesIO(client.get("/scenes/toy/answer", params=asked).content)))
    assert (mask > 0).tolist() == scene.query("red ball", view)[0].mask.tolist()


def test_a_cut_out_is_that_of_extract(client, scene, tmp_path):
    answer = client.post("/scenes/toy/extract", json={"texts": ["red ball"]})
    (tmp_path / "red.ply").write_bytes(answer.content)
    assert len(load_ply(tmp_path / "red.ply")) == int(scene.mask_of("red ball").sum()) > 0


def test_the_catalog_is_that_of_the_scene(client, scene):
    assert client.get("/scenes/toy/catalog").json() == [entry.to_json() for entry in scene.catalog()]


def test_search_asks_the_library(client, shelf):
    shelf.asked.clear()
    (row,) = client.post("/search", json={"text": "mug", "top": 3, "scenes": ["kitchen"]}).json()
    assert shelf.asked == [{"text": "mug", "top": 3, "scenes": ["kitchen"]}]
    assert row["scene"] == "kitchen"
    assert row["library"] == "shelf"
    assert row["box"] == [[0, 0, 0], [1, 2, 3]]
    assert base64.b64decode(row["thumbnail"]) == b"jpeg"
    red = np.zeros((4, 5, 3), np.uint8)
    red[..., 0] = 255
    buffer = io.BytesIO()
    Image.fromarray(red).save(buffer, "PNG")
    client.post("/search", json={"image": base64.b64encode(buffer.getvalue()).decode()})
    assert shelf.asked[-1]["image"].tolist() == red.tolist()


def test_pictures_to_search_for_are_taken_as_they_look(client, shelf):
    half = np.zeros((4, 6, 3), np.uint8)
    half[:2] = 255
    lying = Image.fromarray(half)
    lying.getexif()[0x0112] = 6  # to be turned right by a quarter
    buffer = io.BytesIO()
    lying.save(buffer, "PNG", exif=lying.getexif())
    client.post("/search", json={"image": base64.b64encode(buffer.getvalue()).decode()})
    assert shelf.asked[-1]["image"].tolist() == np.rot90(half, -1).tolist()
    seen_through = np.zeros((3, 2, 4), np.uint8)
    seen_through[0] = 255
    buffer = io.BytesIO()
    Image.fromarray(seen_through).save(buffer, "PNG")
    client.post("/search", json={"image": base64.b64encode(buffer.getvalue()).decode()})
    assert shelf.asked[-1]["image"].tolist() == seen_through.tolist()


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (gags.LibraryError("it has no scene 'x'"), 404),
        (gags.LibraryUnreadableError("it is\ndamaged"), 500),
        (gags.ModelError("no such encoder"), 500),
        (gags.QueryError("empty"), 400),
    ],
)
def test_errors_of_a_library_say_whose_fault_it_is(client, shelf, monkeypatch, error, status):
    monkeypatch.setattr(shelf, "error", error)
    answer = client.post("/search", json={"text": "mug"})
    assert (answer.status_code, answer.json()) == (status, {"detail": " ".join(str(error).split())})


def test_a_fault_of_the_program_is_json_as_well(client, shelf, monkeypatch):
    monkeypatch.setattr(shelf, "error", ZeroDivisionError("oh"))
    answer = client.post("/search", json={"text": "mug"})
    assert answer.status_code == 500
    assert answer.json() == {"detail": "unexpected ZeroDivisionError; please report it"}


@pytest.mark.filterwarnings("ignore:Image size")  # it is refused
@pytest.mark.parametrize(
    ("path", "body", "status", "words"),
    [
        ("/scenes/nowhere/locate", {"texts": ["red ball"]}, 404, "nowhere"),
        ("/scenes/toy/query", {"texts": ["red ball"], "views": ["nosuch.jpg"]}, 404, "nosuch.jpg"),
        ("/scenes/toy/locate", {"texts": ["  "]}, 422, "body.texts.0: String should match"),
        ("/scenes/toy/locate", {"texts": []}, 422, "body.texts: List should have at least 1 item"),
        ("/scenes/toy/locate", {"texts": ["x" * 201]}, 422, "at most 200 characters"),
        ("/scenes/toy/locate", {"texts": ["x"] * 33}, 422, "at most 32 items"),
        ("/scenes/toy/locate", {"texts": ["red ball"], "views": []}, 422, "body.views: Extra inputs"),
        ("/scenes/toy/extract", {"texts": ["red ball"], "format": "exe"}, 422, "body.format: Input"),
        ("/search", {}, 400, "one of text, image and like"),
        ("/search", {"text": "a", "like": "b:1"}, 400, "one of text, image and like"),
        ("/search", {"image": "no image"}, 400, "PNG or JPEG"),
        ("/search", {"image": base64.b64encode(b"GIF89a broken").decode()}, 400, "PNG or JPEG"),
        ("/search", {"image": base64.b64encode(LARGE).decode()}, 400, "more than 50,000,000 pixels"),
        ("/scenes/toy/locate", {"text": "red ball"}, 422, "body.texts: Field required (and 1 more)"),
        ("/scenes/toy/locate", [1, 2], 422, "body: "),
        ("/search", {"text": "a", "top": 0}, 422, "body.top: Input should be greater"),
    ],
)
def test_bad_questions_are_told_what_is_wrong(client, path, body, status, words):
    answer = client.post(path, json=body)
    assert answer.status_code == status
    (detail,) = answer.json().values()
    assert words in detail
    assert "\n" not in detail


def test_nothing_to_cut_out_is_said_so(client, scene):
    word = next(word for word in map(str, range(100)) if not scene.locate(word)[0])
    answer = client.post("/scenes/toy/extract", json={"texts": [word]})
    assert answer.status_code == 404
    assert "nothing in the scene matches" in answer.json()["detail"]


def test_metrics_count(client):
    client.get("/scenes")
    text = client.get("/metrics").text
    assert 'gags_requests_total{route="/scenes",status="200"}' in text
    assert "gags_scenes_loaded 1.0" in text


def test_fifty_at_once_are_all_answered_rightly(client, scene):
    words = ["red ball", "green ball", "blue ball"]
    expected = {word: [one.to_json() for one in scene.locate(word)[0]] for word in words}
    answers: list[tuple[str, int, list]] = []

    def ask(number: int) -> None:
        for turn in range(3):
            word = words[(number + turn) % 3]
            answer = client.post("/scenes/toy/locate", json={"texts": [word]})
            answers.append((word, answer.status_code, answer.json()[0]["instances"]))

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == 150
    assert all(status == 200 and found == expected[word] for word, status, found in answers)
