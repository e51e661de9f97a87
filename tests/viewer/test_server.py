"""The viewer's server as a page uses it: chunks over HTTP, questions over a websocket; bad pages."""

import base64
import io
import json
import urllib.error
import urllib.request
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from PIL import Image
from tests.helpers.blobs import WORDS, ToyEncoder, make_scene
from tests.helpers.finished_scene import write_scene
from tests.helpers.toy_capture import PALETTE

from gags import scene as scene_module
from gags.gaussians.ply import load_ply
from gags.scene import Scene

pytest.importorskip("fastapi", reason="needs the extra `view`")
pytest.importorskip("websockets", reason="needs the extra `view`")

from websockets.exceptions import ConnectionClosed, InvalidHandshake
from websockets.sync.client import connect

from gags.viewer.server import Viewer
from gags.viewer.wire import packed, unpacked

RED = WORDS.index("red ball")


@pytest.fixture(scope="module")
def viewer(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scene_module, "load_encoder", lambda name, progress=None: ToyEncoder())
        scene = Scene.load(write_scene(tmp_path_factory.mktemp("viewer")))
        with Viewer(scene, words=WORDS, port=18180) as viewer:
            yield viewer


@pytest.fixture(scope="module")
def toy():
    return make_scene(12)


@pytest.fixture
def page(viewer):
    with _open(viewer) as page:
        yield page


class _Page:
    """A page that only asks."""

    def __init__(self, socket):
        self.socket, self.number, self.progress = socket, 0, []
        self.hello = json.loads(socket.recv())["hello"]

    def ask(self, what, parts=None, **values):
        """Values and arrays of an answer; a `LookupError` with what the server says."""
        self.number += 1
        self.socket.send(packed({"id": self.number, "do": what, **values}, parts))
        while True:
            answer, arrays = unpacked(self.socket.recv(60))
            assert answer["id"] in (self.number, None)
            if "progress" in answer:
                self.progress.append(answer)
            elif "error" in answer:
                raise LookupError(answer["error"])
            else:
                return answer["result"], arrays

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()


def _open(viewer, origin=None):
    address = viewer.url.replace("http", "ws") + "/socket"
    return _Page(connect(address, origin=origin or viewer.url, max_size=None, compression=None))


def _get(viewer, path, **headers):
    request = urllib.request.Request(viewer.url + path, headers=headers)
    try:
        with urllib.request.urlopen(request) as response:
            return SimpleNamespace(status=response.status, body=response.read(), headers=response.headers)
    except urllib.error.HTTPError as error:
        return SimpleNamespace(status=error.code, body=error.read(), headers=error.headers)


def _bits(rows, count):
    mask = np.zeros(count, bool)
    mask[rows] = True
    return np.packbits(mask, bitorder="little").tobytes()


def _camera(camera):
    return {
        "viewmat": camera.viewmat.ravel().tolist(),
        "fx": camera.K[0, 0],
        "fy": camera.K[1, 1],
        "cx": camera.K[0, 2],
        "cy": camera.K[1, 2],
        "width": camera.width,
        "height": camera.height,
    }


def _red_rows(page):
    """Rows of the red ball in the page's order."""
    return np.frombuffer(page.ask("ask", text="red ball")[1]["gaussians"], "<u4")


def test_the_page_reads_scene_and_gaussians_and_keeps_them(viewer, toy):
    page = _get(viewer, "/")
    assert b"LiveBackend" in page.body
    assert "frame-ancestors 'none'" in page.headers["content-security-policy"]
    scene = json.loads(_get(viewer, "/scene.json").body)
    assert scene["count"] == len(toy.gaussians)
    chunk = _get(viewer, "/splats/0")
    assert len(chunk.body) == 23 * scene["count"]
    z = np.frombuffer(chunk.body, np.uint8).reshape(23, -1)[8:12].T.copy().view("<f4")[:, 0]
    np.testing.assert_array_equal(np.sort(z), np.sort(toy.gaussians.means[:, 2].numpy()))
    again = _get(viewer, "/splats/0", **{"If-None-Match": chunk.headers["etag"]})
    assert (again.status, again.body) == (304, b"")
    assert _get(viewer, "/harmonics/0").body == b""  # of degree 0


@pytest.mark.parametrize(
    "path",
    [
        "/splats/1",
        "/splats/-1",
        "/splats/x",
        "/files/x",
        "/files/..%2f..%2fconfig.toml",
        "/config.toml",
        "/docs",
        "/openapi.json",
        "/%2e%2e/config.toml",
        "/web/app.js",
        "//etc/passwd",
    ],
)
def test_nothing_else_is_there(viewer, path):
    assert _get(viewer, path).status in (404, 422)


def test_only_its_own_page_is_answered(viewer):
    for origin in ("http://evil.example", "http://127.0.0.1:1", "null"):
        with pytest.raises((InvalidHandshake, ConnectionClosed)):
            _open(viewer, origin)
    assert _get(viewer, "/scene.json", Origin="http://evil.example").status == 403
    assert _get(viewer, "/scene.json", Host="evil.example").status == 421


def test_a_text_is_answered_with_a_byte_a_gaussian(viewer, page, toy):
    answer, arrays = page.ask("ask", text=" red  ball ")
    assert (answer["text"], answer["matches"], answer["message"]) == ("red ball", True, "")
    assert len(arrays["strengths"]) == len(toy.gaussians)
    (one,) = answer["instances"]
    np.testing.assert_allclose(one["box"]["center"], [1, 1, 0.4], atol=0.15)
    order = viewer._shown.packed.order
    assert one["count"] == len(_red_rows(page))
    assert (toy.owner[order[_red_rows(page)]] == RED).mean() > 0.8
    strengths, red = np.frombuffer(arrays["strengths"], np.uint8), toy.owner[order] == RED
    assert strengths[red].mean() > 200 > 128 > strengths[~red].mean()
    nothing, _ = page.ask("ask", text="tractor")
    assert (nothing["matches"], nothing["instances"]) == (False, [])


def test_things_names_suggestions_and_colours(viewer, page, toy):
    count = len(toy.gaussians)
    listed, arrays = page.ask("things")
    owner = np.frombuffer(arrays["owner"], np.uint8).reshape(4, count).T.copy().view("<i4")[:, 0]
    named = {thing["id"]: thing["name"] for thing in listed["things"] if thing["listed"]}
    red = toy.owner[viewer._shown.packed.order] == RED
    ball = np.bincount(owner[red & (owner >= 0)]).argmax()
    assert named[ball] == "red ball"
    uris = page.ask("thumbnails")[0]["thumbnails"]
    assert set(map(int, uris)) <= set(named)
    kind, _, jpeg = uris[str(ball)].partition(",")
    assert kind == "data:image/jpeg;base64"
    pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(jpeg))), float)
    assert pixels[..., 0].max() > 1.5 * pixels[..., 2].max()  # it shows the red ball
    again = {thing["id"]: thing["thumbnail"] for thing in page.ask("things")[0]["things"] if thing["listed"]}
    assert again[int(ball)] == uris[str(ball)]
    name, _ = page.ask("name", {"selected": _bits(np.flatnonzero(red), count)})
    assert (name["names"][0][0], name["sure"]) == ("red ball", True)
    assert page.ask("suggest", prefix="red")[0]["names"] == ["red ball"]
    assert len(page.ask("colors", mode="granularity")[1]["rgb"]) == 3 * count
    rays = {"rows": _red_rows(page)[:2].tobytes(), "weights": np.array([0.5, 0.2], "<f4").tobytes()}
    found, arrays = page.ask("alike", rays)
    assert found["names"][0][0] == "red ball"
    assert red[np.frombuffer(arrays["gaussians"], "<u4")].mean() > 0.9


def test_a_picture_shows_changes_and_may_be_transparent(page, toy):
    camera = toy.cameras[0].resized(128, 96)
    (x, y), _ = camera.project(np.array([1.0, 1.0, 0.4]))

    def pixels(**asked):
        _, arrays = page.ask("picture", asked.pop("parts", None), camera=_camera(camera), **asked)
        return np.asarray(Image.open(io.BytesIO(arrays["png"]))).astype(int)

    plain = pixels()
    assert plain.shape == (96, 128, 3)
    np.testing.assert_allclose(plain[int(y), int(x)], PALETTE[RED], atol=30)
    clear = pixels(transparent=True)
    assert clear[0, 0, 3] == 0
    assert clear[int(y), int(x), 3] > 200
    count, rows = len(toy.gaussians), _red_rows(page)
    gone = pixels(parts={"alive": _bits(np.setdiff1d(np.arange(count), rows), count)})
    assert abs(gone[int(y), int(x)] - PALETTE[RED]).max() > 60
    paint = np.zeros(count, np.uint8)
    paint[rows] = 1
    painted = pixels(parts={"paint": paint.tobytes()}, colors=[[0, 0, 255]])
    np.testing.assert_allclose(painted[int(y), int(x)], [0, 0, 255], atol=40)


def test_a_file_is_fetched_once(viewer, page, toy, tmp_path):
    count, rows = len(toy.gaussians), _red_rows(page)
    url = page.ask("save", {"only": _bits(rows, count)})[0]["url"]
    fetched = _get(viewer, f"/{url}")
    (tmp_path / "cut.ply").write_bytes(fetched.body)
    cut, order = load_ply(tmp_path / "cut.ply"), viewer._shown.packed.order
    np.testing.assert_array_equal(cut.means, toy.gaussians.means[np.sort(order[rows])])
    assert _get(viewer, f"/{url}").status == 404
    with pytest.raises(LookupError, match="no Gaussian"):
        page.ask("save", {"only": _bits([], count)})


def test_a_film_has_its_frames_and_tells_how_far_it_is(viewer, page, toy, tmp_path):
    keys = [
        {"position": camera.position.tolist(), "target": [0, 0, 0], "up": [0, 0, 1], "fov_y": 0.8}
        for camera in toy.cameras[:3]
    ]
    asked = {"width": 65, "height": 48, "seconds": 0.6, "fps": 10, "texts": ["red ball"]}
    url = page.ask("video", keys=keys, **asked)[0]["url"]
    assert page.progress[-1]["share"] == 1
    (tmp_path / "film.mp4").write_bytes(_get(viewer, f"/{url}").body)
    film = cv2.VideoCapture(str(tmp_path / "film.mp4"))
    frames = []
    while (read := film.read())[0]:
        frames.append(read[1])
    assert len(frames) == 6
    assert frames[0].shape == (48, 64, 3)


def test_names_unit_and_up_are_kept_in_the_scene(viewer, page):
    (red,) = page.ask("ask", text="red ball")[0]["instances"]
    root = viewer._shown.scene.workspace.root
    assert "cherry" in page.ask("rename", thing=red["thing"], name="cherry")[0]["message"]
    assert page.ask("unit", length=2.0, known=50, unit="cm")[0]["unit"] == {
        "name": "cm",
        "per_scene_unit": 25.0,
    }
    page.ask("up", up=[0, 0, -2])
    try:
        fresh = Scene.load(root)
        assert fresh.taught.names() == ["cherry"]
        assert fresh.frame.unit.per_scene_unit == 25.0
        first = json.loads(_get(viewer, "/scene.json").body)
        assert first["unit"]["name"] == "cm"
        np.testing.assert_allclose(first["up"], [0, 0, -1])
        with _open(viewer) as other:  # finds it by its new name
            assert len(other.ask("ask", text="Cherry")[0]["instances"]) == 1
    finally:
        viewer._shown.scene.forget("cherry")
        viewer._shown.scene.forget_unit()
        page.ask("up", up=None)
    assert not (root / "frame.json").exists()


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"do": "ask", "text": ""}, "text must be a text"),
        ({"do": "ask", "text": "x" * 201}, "text must be a text"),
        ({"do": "ask", "text": 3}, "text must be a text"),
        ({"do": "eval", "text": "1"}, "nothing that the viewer answers"),
        ({"do": "__init__"}, "nothing that the viewer answers"),
        ({"do": ["ask"]}, "nothing that the viewer answers"),
        ({"do": "rename", "thing": -1, "name": "x"}, "thing must be a whole number"),
        ({"do": "rename", "thing": 999, "name": "x"}, "there is no thing"),
        ({"do": "rename", "thing": 0, "name": " "}, "name must be a text"),
        ({"do": "unit", "length": 0, "known": 1, "unit": "m"}, "length must be a number"),
        ({"do": "up", "up": [0, 0]}, "up must be three numbers"),
        ({"do": "colors", "mode": "x"}, "there is no mode"),
        ({"do": "name"}, "nothing is selected"),
        ({"do": "alike"}, "a click must hit"),
        ({"do": "picture"}, "camera must be a pinhole"),
        ({"do": "picture", "camera": {"viewmat": [0] * 16}}, "no rotation"),
        ({"do": "picture", "camera": {"viewmat": [[1]] * 16}}, "viewmat must be a number"),
        ({"do": "video", "keys": []}, "no list of 1 to"),
        ({"do": "save", "colors": [[300, 0, 0]]}, "a colour must be a number"),
        ({"do": "rename", "thing": 10**400, "name": "x"}, "thing must be a whole number"),
        ({"do": "up", "up": [10**40, 0, 0]}, "up must be a number"),
        ({"do": "ask", "text": "\ud800"}, "no UTF-8"),
        ({"do": "rename", "thing": 0, "name": "\ud800"}, "no UTF-8"),
        ({"do": "rename", "thing": 0, "name": "x" * 101}, "at most 100"),
        ({"do": "rename", "thing": 0, "name": "..."}, "a name that is not empty"),
        ({"do": "unit", "length": 1, "known": 1, "unit": "\u202e"}, "no name of a unit"),
    ],
)
def test_what_no_page_would_ask_is_refused_in_one_line(page, asked, said):
    what = asked.pop("do")
    with pytest.raises(LookupError, match=said) as told:
        page.ask(what, **asked)
    assert "\n" not in str(told.value)
    assert page.ask("suggest", prefix="red")[0]["names"] == ["red ball"]  # it still answers


def test_arrays_of_a_wrong_size_are_refused(page, toy):
    camera = _camera(toy.cameras[0])
    for parts in ({"alive": b"1"}, {"paint": b"1"}):
        with pytest.raises(LookupError, match="for each of 644 Gaussians"):
            page.ask("picture", parts, camera=camera)
    huge = camera | {"width": 100_000}
    with pytest.raises(LookupError, match="width must be a whole number"):
        page.ask("picture", camera=huge)


def test_what_is_wrong_with_the_scene_is_told_to_the_page(viewer):
    frame = viewer._shown.scene.workspace.frame
    frame.write_text("{")
    try:
        answer = _get(viewer, "/scene.json")
        assert answer.status == 500
        assert answer.headers["content-type"].startswith("text/plain")
        assert b"frame.json is damaged" in answer.body
        assert b"\n" not in answer.body
    finally:
        frame.unlink()
    assert _get(viewer, "/scene.json").status == 200


def test_many_questions_at_once_are_left_out_and_said(viewer):
    with _open(viewer) as page:
        for number in range(100):
            page.socket.send(json.dumps({"id": number, "do": "suggest", "prefix": "r"}))
        answers = [json.loads(page.socket.recv(60)) for _ in range(100)]
        assert sorted(answer["id"] for answer in answers) == list(range(100))
        errors = {answer["error"] for answer in answers if "error" in answer}
        assert errors <= {"too many questions wait; this one is left out"}
        assert page.ask("suggest", prefix="red")[0]["names"] == ["red ball"]


def test_a_name_given_twice_means_both(viewer, page):
    things = [page.ask("ask", text=f"{color} ball")[0]["instances"][0]["thing"] for color in ("red", "blue")]
    try:
        for thing in things:
            page.ask("rename", thing=thing, name="twin")
        found = page.ask("ask", text="Twin")[0]["instances"]
        assert {one["thing"] for one in found} == set(things)
        listed = page.ask("things")[0]["things"]
        assert {one["id"] for one in listed if one.get("name") == "twin"} >= set(things)
    finally:
        viewer._shown.scene.forget("twin")


def test_no_message_and_too_long_a_message(viewer):
    with _open(viewer) as page:
        page.socket.send("[]")
        assert "no message" in json.loads(page.socket.recv())["error"]
        page.socket.send(b"\0" * (3 << 20))
        with pytest.raises(ConnectionClosed):
            page.socket.recv(10)
    with _open(viewer) as page:  # others are not disturbed
        assert page.ask("suggest", prefix="red")[0]["names"] == ["red ball"]


def test_a_browser_that_leaves_is_forgotten(viewer):
    before = len(viewer.sessions)
    with _open(viewer) as one, _open(viewer) as other:
        assert len(viewer.sessions) == before + 2
        assert one.ask("ask", text="red ball")[0] == other.ask("ask", text="red ball")[0]
    for _ in range(100):
        if len(viewer.sessions) == before:
            break
        with _open(viewer) as page:
            page.ask("suggest", prefix="")
    assert len(viewer.sessions) <= before + 1


def test_where_other_machines_are_listened_to_nothing_is_kept(viewer):
    with Viewer(viewer._shown.scene, words=WORDS, host="0.0.0.0", port=18280) as open_to_all:
        assert open_to_all.url == f"http://localhost:{open_to_all.port}"
        with _open(open_to_all) as page:
            assert page.hello["writable"] is False
            for asked in ({"do": "rename", "thing": 0, "name": "x"}, {"do": "up", "up": [0, 0, 1]}):
                with pytest.raises(LookupError, match="kept as it is"):
                    page.ask(asked.pop("do"), **asked)
            assert page.ask("ask", text="red ball")[0]["matches"]
        assert _get(open_to_all, "/scene.json", Host="evil.example").status == 421
    assert not viewer._shown.scene.workspace.taught.exists()
