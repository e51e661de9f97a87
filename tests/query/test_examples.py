"""Queries by picture and by click, on a scene whose truth is known and on vectors made by hand."""

import math

import numpy as np
import pytest
import torch
from PIL import Image
from tests.helpers.blobs import DIM, WORDS, ToyEncoder, make_scene, word_vector
from tests.helpers.toy_capture import PALETTE, nearest_color

import gags
from gags import scene as scene_module
from gags.embed.encoder import CropRule
from gags.errors import QueryError
from gags.evaluate.metrics import iou
from gags.query.examples import ALIKE, compared_with
from gags.query.instances import locate_instances
from gags.query.pictures import read_example
from gags.query.space import Space
from gags.things.things import Things

RED, GREEN, BLUE, YELLOW = 1, 2, 3, 4


class SeeingEncoder(ToyEncoder):
    """A crop means the word of its commonest palette colour; of grey ones, a word that the scene lacks."""

    crops = (CropRule(fill=127),)

    def encode_images(self, crops: np.ndarray) -> np.ndarray:
        words = []
        for (crop,) in crops:
            colors = nearest_color(crop[(crop != 127).any(-1)][None])[0]
            counts = np.bincount(colors[colors >= 0], minlength=len(WORDS))
            words.append(WORDS[counts.argmax()] if counts.any() else "tractor")
        return np.stack([word_vector(word) for word in words]).astype(np.float32)


@pytest.fixture
def scene(finished, monkeypatch) -> gags.Scene:
    monkeypatch.setattr(scene_module, "load_encoder", lambda name, progress=None: SeeingEncoder())
    return gags.Scene.load(finished)


@pytest.fixture(scope="module")
def owner() -> np.ndarray:
    return make_scene(12).owner


def painted(row: int, size: int = 12) -> np.ndarray:
    return np.full((size, size, 3), PALETTE[row], np.uint8)


def pixel_of(scene: gags.Scene, owner: np.ndarray, ball: int, view: str = "view_00") -> tuple[int, int]:
    """The pixel in the middle of a ball."""
    center = scene.gaussians.means.numpy()[owner == ball].mean(axis=0)
    xy, depth = scene.capture[view].camera.project(center)
    assert depth > 0
    return int(xy[0]), int(xy[1])


def test_a_picture_finds_what_it_shows(scene, owner, tmp_path):
    Image.fromarray(painted(BLUE)).save(tmp_path / "mine.png")
    for image in (painted(BLUE), tmp_path / "mine.png", str(tmp_path / "mine.png")):
        (found,) = scene.locate(image=image)
        assert len(found) == 1
        assert iou(found[0].mask.numpy(), owner == BLUE) > 0.8
        assert not found[0].certain
    answers = scene.query(image=tmp_path / "mine.png")
    assert [answer.text for answer in answers] == ["mine.png"] * 3
    for answer in answers:
        camera = scene.capture[answer.view].camera
        center = scene.gaussians.means.numpy()[owner == BLUE].mean(axis=0)
        assert math.dist(answer.peak, camera.project(center)[0]) < 16  # px; the ball is 24 px wide or more


def test_a_picture_of_what_is_not_there_finds_nothing(scene):
    (found,) = scene.locate(image=np.zeros((8, 8, 3), np.uint8))  # black is no colour of the palette
    assert found == []


def test_texts_pictures_and_clicks_are_answered_side_by_side(scene, owner):
    x, y = pixel_of(scene, owner, GREEN)
    red, blue, green = scene.locate("red ball", image=painted(BLUE), like=("view_00", x, y))
    for found, ball in ((red, RED), (blue, BLUE), (green, GREEN)):
        assert iou(found[0].mask.numpy(), owner == ball) > 0.8
    assert [instances[0].certain for instances in (red, blue, green)] == [False, False, True]
    alone = scene.locate("red ball")[0]
    assert (alone[0].score, alone[0].thing) == (red[0].score, red[0].thing)
    queries = scene.queries(["red ball", "floor"], image=painted(BLUE))
    plain = scene.queries(["red ball", "floor"])
    torch.testing.assert_close(
        queries.of_gaussians(scene.field)[:, :2], plain.of_gaussians(scene.field), rtol=0, atol=1e-6
    )


def test_a_click_gives_what_is_there_with_certainty(scene, owner):
    x, y = pixel_of(scene, owner, YELLOW)
    ((first, *others),) = scene.locate(like=("view_00.png", x, y))
    assert first.certain
    assert first.score == pytest.approx(0.999, abs=1e-4)
    assert iou(first.mask.numpy(), owner == YELLOW) > 0.8
    assert first.text == f"view_00.png at ({x}, {y})"
    assert not any(one.certain for one in others)
    (answer,) = scene.query(view="view_00", like=("view_00", x, y))
    assert answer.mask[y, x]
    assert answer.relevancy[y, x] > 0.9


@pytest.mark.parametrize(
    ("like", "problem"),
    [
        (("view_00", -1, 5), r"\(-1, 5\) lies outside of view_00.png, which is 256x192 px"),
        (("view_00", 5, 192), "lies outside"),
        (("view_00", 1, 1), r"no thing at \(1, 1\) in view_00.png"),
        (("view_77", 1, 1), "no view 'view_77'"),
        ((3, 1, 1), "not an object of type int"),
    ],
)
def test_bad_clicks(scene, like, problem):
    with pytest.raises(gags.GagsError, match=problem):
        scene.locate(like=like)


def test_pictures_that_are_none(tmp_path):
    (tmp_path / "text.png").write_text("no picture")
    with pytest.raises(QueryError, match=r"text.png is no picture that can be read \(.*\); give a JPEG"):
        read_example(tmp_path / "text.png")
    for missing in (tmp_path / "missing.png", tmp_path):
        with pytest.raises(QueryError, match="there is no picture"):
            read_example(missing)
    with pytest.raises(QueryError, match="all of it is transparent"):
        read_example(np.zeros((4, 4, 4), np.uint8))
    for wrong in (np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3)), np.zeros((0, 4, 3), np.uint8)):
        with pytest.raises(QueryError, match="an image is uint8 of shape"):
            read_example(wrong)


def test_transparent_pixels_do_not_count_and_snapshots_are_upright(tmp_path):
    picture = np.zeros((2, 3, 4), np.uint8)
    picture[..., 0] = [[10, 20, 30], [40, 50, 60]]
    picture[0, :, 3] = 255
    Image.fromarray(picture).save(tmp_path / "cut.png")
    pixels, shown = read_example(tmp_path / "cut.png")
    assert shown.tolist() == [[True] * 3, [False] * 3]
    np.testing.assert_array_equal(pixels[0, :, 0], [10, 20, 30])
    exif = Image.Exif()
    exif[0x0112] = 6  # to be rotated clockwise by 90° for looking at it
    Image.fromarray(picture[..., :3]).save(tmp_path / "turned.png", exif=exif)
    pixels, shown = read_example(tmp_path / "turned.png")
    np.testing.assert_array_equal(pixels[..., 0], [[40, 10], [50, 20], [60, 30]])
    assert shown.shape == (3, 2)
    assert shown.all()


class MadeScene:
    """Things of ten Gaussians each, in a row, the second four times as large; embeddings made by hand."""

    def __init__(self, *embeddings: list[float]) -> None:
        rng = np.random.default_rng(0)
        count = len(embeddings)
        spread = np.repeat([0.1, 0.4, *[0.1] * (count - 2)], 10)[:, None]
        shape = np.tile(rng.normal(size=(10, 3)), (count, 1))
        means = shape * spread + np.repeat(np.arange(count), 10)[:, None] * [3, 0, 0]
        rows, owners = np.arange(10 * count), np.repeat(np.arange(count), 10)
        self.things = Things.build(rows, owners, [np.arange(5)] * count)
        vectors = np.array(embeddings, np.float32)
        self.things.embeddings = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        gaussians = gags.Gaussians(
            torch.from_numpy(means).float(),
            torch.tensor([[1.0, 0, 0, 0]]).repeat(len(means), 1),
            torch.full((len(means), 3), -3.0),
            torch.full((len(means),), 3.0),
            torch.zeros(len(means), 1, 3),
        )
        self.space = Space.build(gaussians, self.things)


def test_the_bar_for_looking_alike_lies_halfway_from_typical_to_equal():
    made = MadeScene([1, 0, 0], [0, 1, 0], [0, 1, 0.2], [0, 0, 1], [0, 0.3, 1])
    vector = np.array([[0.9, math.sqrt(1 - 0.81), 0]], np.float32)
    cosines = made.things.embeddings @ vector[0]
    expected = np.median(cosines) + ALIKE * (1 - np.median(cosines))
    example = compared_with(made.things, made.space, "e", vector)
    assert example.least == pytest.approx(expected, abs=1e-6)
    assert [match.thing for match in example.matches] == [0]
    assert example.matches[0].margin == pytest.approx(0.9 - expected, abs=1e-6)
    absent = compared_with(made.things, made.space, "e", np.array([[-1.0, 0, 0]], np.float32))
    assert absent.matches == ()
    assert absent.nearest is not None


def test_what_looks_like_a_thing_of_the_scene_is_about_as_large():
    made = MadeScene([1, 0, 0], [1, 0, 0.01], [1, 0.01, 0], [0, 1, 0], [0, 0, 1], [0, 1, 1], [0, 1, 2])
    rows = made.things[0].astype(np.int64)
    example = compared_with(made.things, made.space, "e", made.things.embeddings[[0]], pointed=[rows])
    assert [match.thing for match in example.matches] == [0, 2]  # 1 is four times as large
    assert [match.margin == math.inf for match in example.matches] == [True, False]
    image = compared_with(made.things, made.space, "e", made.things.embeddings[[0]])
    assert sorted(match.thing for match in image.matches) == [0, 1, 2]  # a picture says no size


def test_further_things_are_nearly_as_near_as_the_nearest():
    made = MadeScene([1, 0, 0], [0.97, math.sqrt(1 - 0.97**2), 0], [0.85, 0.5, 0.17], *[[0, 0, 1]] * 6)
    example = compared_with(made.things, made.space, "e", np.array([[1.0, 0, 0]], np.float32))
    assert example.least == pytest.approx(0.5)  # typical is 0
    assert [match.thing for match in example.matches] == [0, 1]  # 0.85 is above the bar, but below 0.9
    assert [match.margin for match in example.matches] == pytest.approx([0.5, 0.47], abs=1e-6)


def test_margins_follow_the_matches(scene, owner):
    queries = scene.queries(like=("view_00", *pixel_of(scene, owner, RED)))
    (example,) = queries.examples
    margins = queries.margins_of_gaussians(scene.field)[:, 0].numpy()
    pointed = np.zeros(len(owner), bool)
    pointed[example.pointed[0].rows] = True
    np.testing.assert_allclose(margins[pointed], math.log(999) / 10, rtol=1e-5)  # τ is 10
    elsewhere = ~pointed
    for match in example.matches[1:]:
        elsewhere[match.rows] = False
    assert margins[elsewhere].max() <= 0


def test_known_to_be_there_the_nearest_answers(scene):
    queries = scene.queries(image=np.zeros((8, 8, 3), np.uint8))
    asked = (scene.gaussians, scene.field, queries, scene.things())
    assert locate_instances(*asked) == [[]]
    assert len(locate_instances(*asked, there=True)[0]) == 1


def test_a_field_that_is_asked_by_pixel_shows_what_was_pointed_at(scene, owner):
    x, y = pixel_of(scene, owner, RED)
    scene.field.asked = "pixels"
    (answer,) = scene.query(view="view_00", like=("view_00", x, y))
    assert answer.relevancy[y, x] > 0.9
    assert answer.mask[y, x]


def test_without_things_pieces_of_what_looks_alike_answer(scene, owner):
    queries = scene.queries(image=painted(RED))
    space = Space.build(scene.gaussians, Things.none())
    example = compared_with(Things.none(), space, "image", word_vector("red ball")[None].astype(np.float32))
    queries.examples, queries.example_of = (example,), (0,)
    found = locate_instances(scene.gaussians, scene.field, queries, Things.none(), space=space)[0]
    assert iou(found[0].mask.numpy(), owner == RED) > 0.8
    assert example.vectors.shape[1] == DIM
