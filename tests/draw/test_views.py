"""Maps of views as files: what a plane and a ball look like, against geometry worked out by hand."""

import cv2
import numpy as np
import pytest
import torch
from tests.helpers.blobs import ToyEncoder
from tests.helpers.scenes import orbit_camera
from tests.helpers.varied import rotation

import gags
from gags import scene
from gags.draw.views import normals_of, normals_picture
from gags.errors import QueryError
from gags.gaussians import Gaussians
from gags.gaussians.transform import quaternions


@pytest.fixture(autouse=True)
def encoder(monkeypatch):
    monkeypatch.setattr(scene, "load_encoder", lambda name, progress=None: ToyEncoder())


@pytest.mark.parametrize("flipped", [False, True])
def test_normals_of_a_plane_that_is_turned(flipped):
    """Flat Gaussians in a plane; which way their quaternion points does not matter."""
    turn = rotation(3)
    normal = turn[:, 2]
    grid = np.stack(np.meshgrid(*[np.linspace(-1.2, 1.2, 25)] * 2), -1).reshape(-1, 2)
    axes = turn @ np.diag([1.0, -1, -1]) if flipped else turn
    quats = quaternions(torch.from_numpy(axes)[None]).float().repeat(len(grid), 1)
    plane = Gaussians(
        torch.from_numpy(grid @ turn[:, :2].T).float(),
        quats,
        torch.tensor([0.1, 0.1, 0.001]).log().repeat(len(grid), 1),
        torch.full((len(grid),), 4.0),
        torch.zeros(len(grid), 1, 3),
    )
    camera = orbit_camera(0.7)
    normals = normals_of(plane, camera)
    towards = normal * np.sign(normal @ camera.position)
    np.testing.assert_allclose(normals[18, 24], towards, atol=1e-5)
    assert normals.dtype == np.float32
    local = camera.viewmat[:3, :3] @ towards * [1, -1, -1]
    pixel = normals_picture(normals, camera)[18, 24]
    np.testing.assert_allclose(pixel / 127.5 - 1, local, atol=0.01)
    assert local[2] > 0  # towards the camera


def test_where_nothing_is_there_is_no_normal():
    nothing = Gaussians(
        torch.tensor([[0.0, 0, 50.0]]),
        torch.tensor([[1.0, 0, 0, 0]]),
        torch.full((1, 3), -5.0),
        torch.zeros(1),
        torch.zeros(1, 1, 3),
    )
    camera = orbit_camera(0.0)
    normals = normals_of(nothing, camera)
    assert not normals.any()
    assert (normals_picture(normals, camera) == 128).all()


def test_files_of_a_view(finished, tmp_path):
    loaded = gags.Scene.load(finished)
    view = loaded.capture.views[0]
    rows = gags.write_views(
        loaded,
        [view.name],
        ["color", "depth", "normals", "relevancy", "color"],
        texts="red ball",
        out=tmp_path,
    )
    assert [(row["what"], row["text"]) for row in rows] == [
        ("color", None),
        ("depth", None),
        ("normals", None),
        ("relevancy", "red ball"),
    ]
    folder = tmp_path / view.name.removesuffix(".png")
    seen = gags.render(loaded.gaussians, view.camera)
    color = cv2.imread(str(folder / "color.png"))[..., ::-1] / 255
    np.testing.assert_allclose(color, seen.colors.clamp(0, 1), atol=0.51 / 255)
    depth = np.load(folder / "depth.npy")
    there = seen.alphas.numpy() >= 0.5
    np.testing.assert_allclose(depth[there], seen.depths[there], rtol=1e-6)
    assert not depth[~there].any()
    normals = np.load(folder / "normals.npy")
    np.testing.assert_allclose(np.linalg.norm(normals[there], axis=-1), 1, atol=1e-5)
    (answer,) = loaded.query("red ball", view.name)
    np.testing.assert_array_equal(np.load(folder / "red-ball_relevancy.npy"), answer.relevancy)
    assert rows[3]["values"] == str(folder / "red-ball_relevancy.npy")
    assert sorted(path.name for path in folder.iterdir())[:3] == ["color.png", "depth.npy", "depth.png"]


@pytest.mark.parametrize(
    ("what", "texts", "message"),
    [
        (["colour"], (), r"no map 'colour'; one of: color, depth, normals, relevancy"),
        ([], (), "no map asked for"),
        (["relevancy"], (), 'add --text "red mug"'),
        (["relevancy"], (" ",), 'add --text "red mug"'),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_loaded(tmp_path, what, texts, message):
    with pytest.raises(QueryError, match=message):
        gags.write_views(tmp_path / "no scene", [], what, texts=texts)
