"""Films and pictures as people take them away: frames counted, sizes, what glows, no background."""

import importlib.util
import json

import cv2
import numpy as np
import pytest
from tests.helpers.blobs import WORDS, ToyEncoder, make_scene
from tests.helpers.finished_scene import write_scene
from tests.helpers.toy_capture import PALETTE

import gags
from gags import cli
from gags import scene as scene_module
from gags.draw.views import framed
from gags.errors import QueryError, SettingsError

RED = WORDS.index("red ball")


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scene_module, "load_encoder", lambda name, progress=None: ToyEncoder())
        yield gags.Scene.load(write_scene(tmp_path_factory.mktemp("film")))


def _frames(path):
    film, frames = cv2.VideoCapture(str(path)), []
    while (read := film.read())[0]:
        frames.append(read[1][..., ::-1].astype(int))
    return frames, film.get(cv2.CAP_PROP_FPS)


@pytest.mark.parametrize("writer", ["imageio-ffmpeg", "OpenCV"])
def test_a_film_along_the_photos_has_its_frames(scene, tmp_path, monkeypatch, writer):
    find = importlib.util.find_spec
    if writer == "OpenCV":
        monkeypatch.setattr(
            importlib.util,
            "find_spec",
            lambda name, *rest: None if name.startswith("imageio") else find(name, *rest),
        )
    else:
        pytest.importorskip("imageio_ffmpeg", reason="needs the extra `video`")
    out = gags.write_video(scene, tmp_path / "tour.mp4", seconds=0.7, fps=10, size=(97, 64))
    frames, fps = _frames(out)
    assert len(frames) == 7
    assert fps == pytest.approx(10)
    assert frames[0].shape == (64, 96, 3)
    assert np.ptp(frames[3]) > 100
    assert abs(frames[0] - frames[6]).mean() > 2  # it moves


def test_a_text_glows_where_it_is(scene, tmp_path):
    camera = scene.capture.views[0].camera
    key = {"position": camera.position.tolist(), "target": [0, 0, 0.2], "up": [0, 0, 1], "fov_y": 0.8}
    (tmp_path / "path.json").write_text(json.dumps([key]))
    options = {"seconds": 0.1, "fps": 10, "size": (128, 96)}
    plain = _frames(gags.write_video(scene, tmp_path / "plain.mp4", tmp_path / "path.json", **options))[0][0]
    glow = gags.write_video(scene, tmp_path / "glow.mp4", tmp_path / "path.json", texts="red ball", **options)
    changed = abs(_frames(glow)[0][0] - plain).max(axis=-1)
    seen = gags.draw.paths.keys_from_json([key], "key")[0].camera(128, 96)
    means = make_scene(12).gaussians.means.numpy()
    red = seen.project(means[make_scene(12).owner == RED])[0].mean(axis=0).astype(int)
    blue = seen.project(means[make_scene(12).owner == WORDS.index("blue ball")])[0].mean(axis=0).astype(int)
    near = {
        name: changed[y - 2 : y + 3, x - 2 : x + 3].mean()
        for name, (x, y) in {"red": red, "blue": blue}.items()
    }
    assert near["red"] > 60


def test_bad_films_are_refused_before_anything_is_rendered(scene, tmp_path):
    for wrong, error in (
        ({"out": tmp_path / "film.gif"}, QueryError),
        ({"seconds": 0}, SettingsError),
        ({"fps": 0}, SettingsError),
        ({"size": (8, 100)}, SettingsError),
        ({"path": tmp_path / "none.json"}, QueryError),
    ):
        with pytest.raises(error):
            gags.write_video(scene, **({"out": tmp_path / "film.mp4"} | wrong))
    assert not list(tmp_path.iterdir())


def test_a_picture_of_another_size_shows_all_of_the_photo():
    camera = make_scene(12).cameras[0]  # 64 × 48
    wide = framed(camera, 200, 96)
    corners = np.array([[0, 0], [64, 48.0]])
    xyz = camera.unproject(corners, np.ones(2))
    np.testing.assert_allclose(wide.project(xyz)[0], [[36, 0], [164, 96]], atol=1e-9)
    tall = framed(camera, 64, 100)
    np.testing.assert_allclose(tall.project(xyz)[0], [[0, 26], [64, 74]], atol=1e-9)


def test_the_command_writes_films_and_clear_pictures(scene, tmp_path, capsys):
    folder, view = str(scene.workspace.root), scene.capture.views[0].name
    out = ["--out", str(tmp_path / "views")]
    assert cli.main(["render", folder, "--view", view, "--size", "160x96", "--transparent", *out]) == 0
    picture = cv2.imread(capsys.readouterr().out.split()[-1], cv2.IMREAD_UNCHANGED)
    assert picture.shape == (96, 160, 4)
    assert picture[0, 0, 3] == 0
    wide = framed(scene.capture.views[0].camera, 160, 96)
    x, y = wide.project(np.array([1.0, 1.0, 0.4]))[0].astype(int)
    np.testing.assert_allclose(picture[y, x, 2::-1].astype(int), PALETTE[RED], atol=30)
    film = str(tmp_path / "film.mp4")
    assert (
        cli.main(["render", folder, "--video", film, "--seconds", "0.2", "--fps", "10", "--size", "64x48"])
        == 0
    )
    assert capsys.readouterr().out.strip() == film
    assert len(_frames(film)[0]) == 2


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (["--video", "x.mp4", "--view", "a"], 1, "a film takes"),
        (["--video", "x.gif"], 1, "written as .mp4"),
        (["--path", "x.json"], 1, "--path is of a film"),
        (["--size", "1920"], 1, "no size"),
        (["--size", "9x9"], 2, "size must be"),
        (["--fps", "0"], 2, "--fps must be"),
    ],
)
def test_what_is_wrong_is_one_line(scene, capsys, options, code, said):
    assert cli.main(["render", str(scene.workspace.root), *options]) == code
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
