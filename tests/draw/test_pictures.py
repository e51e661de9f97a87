"""Pictures have the right sizes and the right colours where hand-made cases say so, and survive bad input."""

from collections.abc import Iterator
from typing import Literal

import cv2
import numpy as np
import pytest

from gags.draw import colors, lettering, pictures


@pytest.fixture
def photo() -> np.ndarray:
    return np.random.default_rng(3).integers(0, 256, (90, 120, 3), dtype=np.uint8)


def disk(height: int = 90, width: int = 120, center: tuple = (60, 45), radius: int = 20) -> np.ndarray:
    ys, xs = np.mgrid[:height, :width]
    return np.hypot(xs - center[0], ys - center[1]) <= radius


@pytest.mark.parametrize("name", [pictures.HEAT_COLORMAP, pictures.DEPTH_COLORMAP])
def test_colour_maps_grow_brighter_all_the_way(name: str) -> None:
    lightness = _cielab_lightness(colors.colorize(np.linspace(0, 1, 256), name))
    assert (np.diff(lightness) > -0.3).all()  # rounding to 8 bits
    assert (np.diff(lightness[::8]) > 0).all()
    assert lightness[-1] - lightness[0] > 90


def _cielab_lightness(rgb: np.ndarray) -> np.ndarray:
    return cv2.cvtColor((rgb[None] / 255).astype(np.float32), cv2.COLOR_RGB2LAB)[0, :, 0]


def test_colorize_clamps_and_survives_what_is_not_finite() -> None:
    drawn = colors.colorize(np.array([-1, 0, np.nan, -np.inf, 1, 2, np.inf]), "inferno")
    assert (drawn[:4] == drawn[1]).all()
    assert (drawn[4:] == drawn[4]).all()
    np.testing.assert_array_equal(drawn[4], [252, 255, 164])


@pytest.mark.parametrize(
    ("name", "first", "middle", "last"),
    [
        ("inferno", (0, 0, 4), (188, 55, 84), (252, 255, 164)),
        ("magma", (0, 0, 4), (183, 55, 121), (252, 253, 191)),
        ("viridis", (68, 1, 84), (33, 145, 140), (253, 231, 37)),
    ],
)
def test_colour_maps_are_the_well_known_ones_as_rgb(
    name: str, first: tuple, middle: tuple, last: tuple
) -> None:
    found = colors.colorize(np.array([0, 128 / 255, 1]), name)
    np.testing.assert_array_equal(found, [first, middle, last])


def test_label_colours_are_stable_and_distinct() -> None:
    many = colors.label_colors(60)
    np.testing.assert_array_equal(many[:5], colors.label_colors(5))
    lab = cv2.cvtColor((many[None] / 255).astype(np.float32), cv2.COLOR_RGB2LAB)[0]
    for step in (1, 2, 3):
        assert np.linalg.norm(lab[step:] - lab[:-step], axis=1).min() > 20
    assert colors.label_colors(0).shape == (0, 3)


def test_desaturated_photo_keeps_its_brightness() -> None:
    red = np.full((2, 2, 3), (200, 40, 40), np.uint8)
    grey = 0.2126 * 200 + 0.7874 * 40
    expected = np.round(0.45 * np.array([200, 40, 40]) + 0.55 * grey)
    np.testing.assert_array_equal(pictures.desaturate(red)[0, 0], expected)
    np.testing.assert_array_equal(pictures.desaturate(red, 0.0), red)


def test_heat_leaves_the_photo_where_nothing_answers(photo: np.ndarray) -> None:
    relevancy = np.where(disk(), 0.9, 0.0)
    drawn = pictures.heat_overlay(photo, relevancy)
    assert drawn.shape == photo.shape
    assert drawn.dtype == np.uint8
    grey = pictures.desaturate(photo)
    np.testing.assert_array_equal(drawn[~disk()], grey[~disk()])
    hottest = colors.colorize(np.array(1.0), pictures.HEAT_COLORMAP).astype(float)
    expected = grey + 0.75 * (hottest - grey)
    np.testing.assert_allclose(drawn[disk()], expected[disk()], atol=0.51)


def test_heat_grows_with_relevancy() -> None:
    photo = np.full((4, 100, 3), 30, np.uint8)
    ramp = np.tile(np.linspace(0, 1, 100), (4, 1))
    drawn = colors.luminance(pictures.heat_overlay(photo, ramp, limits=(0, 1)))[0]
    assert (drawn[:40] == 30).all()
    assert (np.diff(drawn[60:]) > 0).all()


def test_heat_limits_make_pictures_comparable(photo: np.ndarray) -> None:
    weak = np.where(disk(), 0.3, 0.0)
    grey = pictures.desaturate(photo)
    np.testing.assert_array_equal(pictures.heat_overlay(photo, weak, limits=(0, 1)), grey)
    assert (pictures.heat_overlay(photo, weak) != grey).any()


@pytest.mark.parametrize("value", [0.0, 0.7, np.nan, np.inf])
def test_a_flat_relevancy_is_just_the_photo(photo: np.ndarray, value: float) -> None:
    drawn = pictures.heat_overlay(photo, np.full(photo.shape[:2], value))
    np.testing.assert_array_equal(drawn, pictures.desaturate(photo))


def test_relevancy_that_is_not_finite_counts_as_nothing(photo: np.ndarray) -> None:
    relevancy = np.where(disk(), 0.9, 0.0)
    relevancy[0, 0], relevancy[0, 1], relevancy[0, 2] = np.nan, np.inf, -np.inf
    clean = np.where(disk(), 0.9, 0.0)
    np.testing.assert_array_equal(
        pictures.heat_overlay(photo, relevancy), pictures.heat_overlay(photo, clean)
    )


def test_overlay_outlines_the_mask_and_rings_the_peak() -> None:
    photo = np.full((90, 120, 3), 100, np.uint8)
    drawn = pictures.heat_overlay(photo, np.zeros((90, 120)), disk(), (60, 45))
    for x, y in ((40, 45), (80, 45), (60, 25), (60, 65)):  # on the circle
        np.testing.assert_array_equal(drawn[y, x], [255, 255, 255])
    np.testing.assert_array_equal(drawn[45, 64], [255, 255, 255])  # on the ring, 4 px out
    assert drawn[45, 60].max() < 60  # the dark middle of the ring
    np.testing.assert_array_equal(drawn[45, 72], [100, 100, 100])
    np.testing.assert_array_equal(drawn[5, 5], [100, 100, 100])


def test_outline_is_a_thin_line_with_a_dark_rim() -> None:
    picture = np.full((90, 120, 3), 128, np.uint8)
    mask = np.zeros((90, 120), bool)
    mask[30:60, 40:80] = True
    row = pictures.outline(picture, mask)[45, :, 0].astype(int)
    half_dark, half_bright = (128 + 14) / 2, (14 + 255) / 2
    profile = [128, half_dark, half_bright, 255, half_bright, half_dark, 128]
    np.testing.assert_allclose(row[37:44], profile, atol=0.51)
    np.testing.assert_allclose(row[76:83], profile, atol=0.51)
    assert (row[44:76] == 128).all()
    assert (picture == 128).all()


def test_outline_does_not_run_along_the_photo_s_edge() -> None:
    picture = np.full((60, 60, 3), 128, np.uint8)
    np.testing.assert_array_equal(pictures.outline(picture, np.ones((60, 60), bool)), picture)
    mask = np.zeros((60, 60), bool)
    mask[:, :30] = True
    drawn = pictures.outline(picture, mask)
    assert (drawn[:, 29] == 255).all()
    assert (drawn[:, :26] == 128).all()


def test_outline_follows_holes_and_pieces() -> None:
    picture = np.full((200, 200, 3), 128, np.uint8)
    mask = disk(200, 200, (100, 100), 60) & ~disk(200, 200, (100, 100), 30)
    mask |= disk(200, 200, (15, 15), 6)
    drawn = pictures.outline(picture, mask)
    for x, y in ((100, 40), (100, 69), (21, 15)):
        np.testing.assert_array_equal(drawn[y, x], [255, 255, 255])
    assert (drawn[95:105, 95:105] == 128).all()


def test_truth_has_its_own_colour() -> None:
    photo = np.full((90, 120, 3), 100, np.uint8)
    drawn = pictures.heat_overlay(photo, np.zeros((90, 120)), truth=disk())
    np.testing.assert_array_equal(drawn[45, 40], colors.TRUTH_OUTLINE)


def test_caption_goes_below_and_covers_nothing(photo: np.ndarray) -> None:
    wide = np.repeat(photo, 3, axis=1)
    relevancy = np.zeros(wide.shape[:2])
    plain = pictures.heat_overlay(wide, relevancy)
    drawn = pictures.heat_overlay(wide, relevancy, text="red mug", score=0.87)
    assert drawn.shape == (90 + 26, 360, 3)
    np.testing.assert_array_equal(drawn[:90], plain)
    assert drawn[90:].max() > 200


def test_captions_tell_texts_apart_and_never_overflow(photo: np.ndarray) -> None:
    short = lettering.caption(photo, "mug", "0.9")
    assert short.shape == (90 + 26, 200, 3)
    np.testing.assert_array_equal(short[:90, 40:160], photo)
    assert (short != lettering.caption(photo, "cup", "0.9")).any()
    for text in ("x" * 500, "line\nbreak\t\x00 \x1b[31m", "\udc80 surrogate", "красная кружка", ""):
        drawn = lettering.caption(photo, text, "0.9")
        assert drawn.shape == short.shape
        assert (drawn[90:, :4] == lettering.PAPER).all()
        assert (drawn[90:, -4:] == lettering.PAPER).all()


@pytest.fixture
def no_system_fonts(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(lettering, "SYSTEM_FONTS", ())
    lettering._system_font.cache_clear()
    yield
    lettering._system_font.cache_clear()


def test_plain_letters_are_the_same_on_every_machine(
    photo: np.ndarray, request: pytest.FixtureRequest
) -> None:
    here = lettering.caption(photo, "red mug…", "score 0.87")
    request.getfixturevalue("no_system_fonts")
    np.testing.assert_array_equal(lettering.caption(photo, "red mug…", "score 0.87"), here)


@pytest.mark.usefixtures("no_system_fonts")
def test_without_a_font_for_them_accents_are_left_out(photo: np.ndarray) -> None:
    np.testing.assert_array_equal(lettering.caption(photo, "grün été"), lettering.caption(photo, "grun ete"))


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (7, 400), (400, 7), (500, 900)])
def test_every_size_works(size: tuple[int, int]) -> None:
    height, width = size
    photo = np.full((height, width, 3), 90, np.uint8)
    everything, nothing = np.ones(size, bool), np.zeros(size, bool)
    relevancy = np.linspace(0, 1, height * width).reshape(size)
    drawn = pictures.heat_overlay(photo, relevancy, everything, (0, 0), "text", 0.5)
    assert drawn.shape[0] > height
    assert drawn.shape[1] == max(width, 200)
    assert pictures.heat_overlay(photo, relevancy, nothing).shape == photo.shape
    assert pictures.cutout(photo, everything).shape == photo.shape
    assert pictures.depth_picture(relevancy).shape == photo.shape
    assert pictures.label_picture(np.zeros(size, np.int16), photo).shape == photo.shape
    assert pictures.feature_picture(np.ones((*size, 16))).shape == photo.shape
    assert pictures.granularity_picture(np.ones((*size, 3)) / 3, legend=False).shape == photo.shape
    assert pictures.granularity_picture(np.ones((*size, 3)) / 3).shape[1] == max(width, 200)
    assert pictures.prompt_picture(photo, np.array([[0.5, 0.5]])).shape == photo.shape


def test_arrays_of_different_sizes_are_refused(photo: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"relevancy is \[90, 121\], the photo \[90, 120\]"):
        pictures.heat_overlay(photo, np.zeros((90, 121)))
    with pytest.raises(ValueError, match="mask is"):
        pictures.cutout(photo, np.zeros((9, 12)))
    with pytest.raises(ValueError, match="uint8"):
        pictures.desaturate(photo.astype(np.float32))


@pytest.mark.parametrize("xy", [(np.nan, 3.0), (np.inf, 0.0)])
def test_a_peak_that_is_not_finite_is_not_drawn(photo: np.ndarray, xy: tuple[float, float]) -> None:
    np.testing.assert_array_equal(pictures.mark(photo, xy), photo)


def test_a_peak_far_outside_is_harmless(photo: np.ndarray) -> None:
    np.testing.assert_array_equal(pictures.mark(photo, (1e12, -1e12)), photo)


@pytest.mark.parametrize("background", ["checker", "dim"])
def test_cutout_is_the_object_with_a_margin(photo: np.ndarray, background: Literal["checker", "dim"]) -> None:
    mask = np.zeros((90, 120), bool)
    mask[30:60, 40:90] = True
    drawn = pictures.cutout(photo, mask, background=background)
    assert drawn.shape == (30 + 2 * 4, 50 + 2 * 4, 3)
    np.testing.assert_array_equal(drawn[8:-8, 8:-8], photo[34:56, 44:86])
    if background == "checker":
        assert set(np.unique(drawn[0])) == {176, 200}


def test_cutout_at_the_edge_stays_inside(photo: np.ndarray) -> None:
    mask = np.zeros((90, 120), bool)
    mask[0:10, 0:10] = True
    assert pictures.cutout(photo, mask).shape == (14, 14, 3)


def test_specks_far_away_do_not_widen_a_cutout(photo: np.ndarray) -> None:
    mask = np.zeros((90, 120), bool)
    mask[10:40, 10:40] = True
    alone = pictures.cutout(photo, mask).shape
    mask[85:87, 115:117] = True
    assert pictures.cutout(photo, mask).shape == alone
    mask[60:85, 90:115] = True
    assert pictures.cutout(photo, mask).shape[1] > 100


def test_an_empty_cutout_is_the_dimmed_photo(photo: np.ndarray) -> None:
    drawn = pictures.cutout(photo, np.zeros((90, 120)))
    assert drawn.shape == photo.shape
    assert drawn.max() < 120


def test_depth_near_is_bright_and_nothing_is_grey() -> None:
    depth = np.tile(np.geomspace(1.0, 4.0, 64), (4, 1))
    drawn = pictures.depth_picture(depth, limits=(1.0, 4.0))
    assert (np.diff(colors.luminance(drawn)[0]) < 0).all()
    middle = pictures.depth_picture(np.full((1, 1), 2.0), limits=(1.0, 4.0))[0, 0]
    np.testing.assert_array_equal(
        middle, colors.colorize(np.array(0.08 + 0.9 * 0.5), pictures.DEPTH_COLORMAP)
    )
    broken = pictures.depth_picture(np.array([[0.0, -1.0, np.nan, np.inf, 1.0, 2.0]]))
    assert (broken[0, :4] == colors.NOTHING).all()
    assert (broken[0, 4] != colors.NOTHING).any()


def test_depth_fades_with_alpha_and_ignores_outliers() -> None:
    depth = np.linspace(1, 2, 10_000).reshape(100, 100)
    clean = pictures.depth_picture(depth)
    depth[0, :50] = 1000.0
    np.testing.assert_allclose(pictures.depth_picture(depth)[50].astype(int), clean[50].astype(int), atol=4)
    alpha = np.ones((100, 100))
    alpha[10] = 0
    alpha[11] = np.nan
    assert (pictures.depth_picture(depth, alpha)[10:12] == colors.NOTHING).all()


@pytest.mark.parametrize("value", [0.0, np.nan, 3.0])
def test_depth_of_one_value_or_none(value: float) -> None:
    drawn = pictures.depth_picture(np.full((5, 5), value))
    assert (drawn == drawn[0, 0]).all()


def test_labels_have_their_row_s_colour_and_thin_borders() -> None:
    labels = np.full((20, 30), -1, np.int16)
    labels[5:15, 5:15] = 2
    labels[5:15, 15:25] = 7
    drawn = pictures.label_picture(labels)
    palette = colors.label_colors(8)
    np.testing.assert_array_equal(drawn[10, 10], palette[2])
    np.testing.assert_array_equal(drawn[10, 20], palette[7])
    np.testing.assert_array_equal(drawn[0, 0], colors.NOTHING)
    borders = (drawn == 250).all(axis=-1)
    assert borders[10, [5, 14, 24]].all()
    assert borders[[5, 14], 10].all()
    assert not borders[labels < 0].any()
    assert borders.sum() == 36 + 28  # all around row 2, around row 7 but for the side they share
    alone = np.where(labels == 2, 2, -1)
    np.testing.assert_array_equal(pictures.label_picture(alone)[10, 10], drawn[10, 10])


def test_labels_over_a_photo_show_both(photo: np.ndarray) -> None:
    labels = np.where(disk(), 0, -1)
    drawn = pictures.label_picture(labels, photo)
    assert drawn[~disk()].std(axis=-1).max() < 6  # grey
    inside = drawn[disk(radius=17)].astype(float)
    shades = colors.luminance(photo)[disk(radius=17)]
    assert np.corrcoef(inside.mean(axis=-1), shades)[0, 1] > 0.9
    assert inside.std(axis=-1).mean() > 10
    assert pictures.label_picture(np.full((3, 4), -1)).shape == (3, 4, 3)


def test_feature_basis_finds_known_directions() -> None:
    rng = np.random.default_rng(0)
    spread = np.array([5.0, 3.0, 2.0] + [0.05] * 5)
    turn = np.linalg.qr(rng.normal(size=(8, 8)))[0]
    rows = (rng.normal(size=(4000, 8)) * spread) @ turn + 7.0
    basis = pictures.feature_basis(rows)
    np.testing.assert_allclose(np.abs(basis.directions @ turn.T)[:, :3], np.eye(3), atol=0.05)
    np.testing.assert_allclose(basis.directions @ basis.directions.T, np.eye(3), atol=1e-5)
    np.testing.assert_allclose(basis.high - basis.low, 2 * 2.326 * spread[:3], rtol=0.1)
    again = pictures.feature_basis(rows.reshape(40, 100, 8))
    np.testing.assert_array_equal(basis.directions, again.directions)


def test_same_feature_same_colour_in_every_view() -> None:
    rng = np.random.default_rng(0)
    table = rng.normal(size=(9, 16))
    first, second = rng.integers(0, 9, (20, 30)), rng.integers(0, 4, (20, 30))
    basis = pictures.feature_basis(table)
    a = pictures.feature_picture(table[first], basis=basis)
    b = pictures.feature_picture(table[second], basis=basis)
    for k in range(4):
        assert (a[first == k] == a[first == k][0]).all()
        np.testing.assert_array_equal(a[first == k][0], b[second == k][0])
    assert len(np.unique(a.reshape(-1, 3), axis=0)) == 9


def test_features_survive_few_dimensions_and_what_is_not_finite() -> None:
    assert pictures.feature_picture(np.zeros((4, 5, 16))).shape == (4, 5, 3)
    assert pictures.feature_picture(np.random.default_rng(0).normal(size=(4, 5, 2))).shape == (4, 5, 3)
    features = np.random.default_rng(0).normal(size=(4, 5, 16))
    features[0, 0, 3], features[1, 1] = np.nan, np.inf
    drawn = pictures.feature_picture(features)
    assert (drawn[0, 0] == colors.NOTHING).all()
    assert (drawn[1, 1] == colors.NOTHING).all()
    assert (drawn[2, 2] != colors.NOTHING).any()


def test_granularity_shows_the_level_and_how_sure_it_is() -> None:
    omega = np.array([[[1, 0, 0], [0, 1, 0], [0, 0, 1], [1 / 3, 1 / 3, 1 / 3], [np.nan, 0, 1]]])
    drawn = pictures.granularity_picture(omega, legend=False)[0]
    np.testing.assert_array_equal(drawn[:3], colors.LEVEL_COLORS)
    np.testing.assert_array_equal(drawn[3], [150, 150, 150])
    np.testing.assert_array_equal(drawn[4], colors.NOTHING)
    faded = pictures.granularity_picture(omega, np.zeros((1, 5)), legend=False)
    assert (faded == colors.NOTHING).all()


def test_granularity_legend_has_all_colours() -> None:
    drawn = pictures.granularity_picture(np.full((50, 400, 3), 1 / 3))
    band = drawn[50:].reshape(-1, 3).tolist()
    for color in [*colors.LEVEL_COLORS.tolist(), [150, 150, 150]]:
        assert band.count(color) >= 13 * 13


def test_prompts_are_dots_where_they_belong(photo: np.ndarray) -> None:
    drawn = pictures.prompt_picture(photo, np.array([[30, 20], [100, 70], [np.nan, 3], [1e9, 0]]))
    yellow = (np.abs(drawn.astype(int) - colors.PROMPT_DOT).sum(axis=-1) < 30).nonzero()
    assert {(int(y), int(x)) for y, x in zip(*yellow, strict=True)} >= {(20, 30), (70, 100)}
    assert len(yellow[0]) <= 12
    dimmed = pictures.prompt_picture(photo, np.empty((0, 2)))
    np.testing.assert_allclose(dimmed, 0.6 * pictures.desaturate(photo), atol=0.51)


def test_grid_places_pictures_row_by_row() -> None:
    cells = [np.full((40, 60, 3), shade, np.uint8) for shade in (10, 60, 110, 160, 210)]
    sheet = lettering.grid(cells, columns=3, gap=8)
    assert sheet.shape == (40 * 2 + 8, 60 * 3 + 16, 3)
    assert (sheet[:40, :60] == 10).all()
    assert (sheet[:40, 136:] == 110).all()
    assert (sheet[48:, 68:128] == 210).all()
    assert (sheet[48:, 136:] == lettering.PAPER).all()


def test_grid_scales_to_one_width_and_writes_captions() -> None:
    cells = [np.full((100, 300, 3), 10, np.uint8), np.full((50, 100, 3), 200, np.uint8)]
    sheet = lettering.side_by_side(cells[0], cells[1], ["left", "right"])
    assert sheet.shape == (150 + 26, 608, 3)
    assert (sheet[:150, 308:] == 200).all()
    assert sheet[100:126, :300].max() > 200
    with pytest.raises(ValueError, match="at least one"):
        lettering.grid([])
    with pytest.raises(ValueError, match="1 captions for 2"):
        lettering.grid(cells, ["left"])


def test_fit_within_only_shrinks() -> None:
    picture = np.full((300, 600, 3), 77, np.uint8)
    assert lettering.fit_within(picture, 200).shape == (100, 200, 3)
    assert lettering.fit_within(picture, 600) is picture
    assert lettering.fit_within(np.zeros((2, 2000, 3), np.uint8), 100).shape == (1, 100, 3)


def test_legends() -> None:
    scale = lettering.scale_legend("inferno", "nothing", "answers", width=480)
    np.testing.assert_array_equal(scale[0, [0, -1]], colors.colorize(np.array([0, 1]), "inferno"))
    assert scale.shape[1] == 480
    entries = [((255, 0, 0), "a rather long name"), ((0, 255, 0), "another rather long name")]
    wide = lettering.swatch_legend(entries, width=600)
    narrow = lettering.swatch_legend(entries, width=200)
    assert narrow.shape[0] == 2 * wide.shape[0] * 13 // 16
    assert (narrow == [0, 255, 0]).all(axis=-1).sum() == 13 * 13
