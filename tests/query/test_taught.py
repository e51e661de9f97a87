"""Names that a scene was taught: how they are compared, kept, and found again when stages ran anew."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.helpers.blobs import ToyEncoder, make_scene
from tests.query.test_examples import BLUE, GREEN, RED, pixel_of

import gags
from gags import cli
from gags import scene as scene_module
from gags.distill.train import DistillSettings, train_field
from gags.errors import QueryError, WorkspaceError
from gags.evaluate.metrics import iou
from gags.query.pointed import meant
from gags.query.taught import LONGEST_NAME, Taught, load_taught, merged, plain_name, save_taught
from gags.store import load_tensors, save_tensors
from gags.things.things import Things

NAME = "Oma's cup"


@pytest.fixture
def folder(finished_once, tmp_path, monkeypatch):
    monkeypatch.setattr(scene_module, "load_encoder", lambda name, progress=None: ToyEncoder())
    return shutil.copytree(finished_once, tmp_path / "ws")


@pytest.fixture(scope="module")
def owner() -> np.ndarray:
    return make_scene(12).owner


def teach(folder, owner, name=NAME, ball=BLUE, view="view_00", **options) -> gags.Scene:
    scene = gags.Scene.load(folder)
    scene.teach(name, view, pixel_of(scene, owner, ball, view), **options)
    return scene


def certain(scene) -> list[gags.Instance]:
    return [one for one in scene.locate(NAME)[0] if one.certain]


@pytest.mark.parametrize(
    "text",
    ["Oma's cup", "OMA’S  CUP", "my Oma's cup", "the oma`s cup?", "  Oma's\ncup ", "Ｏｍａ's cup"],
)
def test_one_name_in_many_spellings(text):
    assert plain_name(text) == "oma's cup"


def test_names_that_differ():
    assert plain_name("AB-12_34") == plain_name("ab 12 34") == "ab 12 34"
    assert plain_name("STRASSE") == plain_name("Straße")
    assert plain_name("Oma's cup holder") != plain_name(NAME)
    assert plain_name("cup") != plain_name(NAME)
    assert plain_name("the") == "the"  # an article alone is a word
    assert plain_name(" ?! ") == ""


def test_a_taught_name_is_found_by_every_way_to_ask(folder, owner):
    before = gags.Scene.load(folder)
    assert certain(before) == []
    others = before.queries(["red ball", "floor"]).of_gaussians(before.field)
    scene = teach(folder, owner)
    for asked in (scene, gags.Scene.load(folder)):
        (first, *rest) = asked.locate("oma’s CUP")[0]
        assert first.certain
        assert not any(one.certain for one in rest)
        assert iou(first.mask.numpy(), owner == BLUE) > 0.8
    np.testing.assert_array_equal(scene.queries(["red ball", "floor"]).of_gaussians(scene.field), others)
    x, y = pixel_of(scene, owner, BLUE)
    (answer,) = scene.query(NAME, "view_00")
    assert answer.mask[y, x]
    assert answer.text == NAME
    blue = owner[scene.mask_of(NAME).numpy()]
    assert (blue == BLUE).mean() > 0.8
    assert len(scene.extract(scene.queries(NAME))) == len(scene.extract(NAME)) == len(blue)
    (entry,) = [entry for entry in scene.catalog() if entry.name == NAME]
    assert iou(entry.mask.numpy(), owner == BLUE) > 0.8
    from gags.report.gather import _default_texts

    assert _default_texts(scene, ())[0] == NAME


def test_evaluate_asks_for_what_was_taught(folder, owner, tmp_path):
    root = gags.Scene.load(folder).capture.root
    for path in sorted((root / "labels").glob("*.json")):
        labels = json.loads(path.read_text())
        labels["objects"] = [one for one in labels["objects"] if one["category"] == "blue ball"]
        for one in labels["objects"]:
            one["category"] = NAME
        (tmp_path / path.name).write_text(json.dumps(labels))
    before = gags.evaluate(folder, tmp_path, "lerf-ovs")["lerf-ovs"].overall
    scene = teach(folder, owner)
    for protocol in ("lerf-ovs", "things", "select-3d"):
        after = gags.evaluate(scene, tmp_path, protocol)[protocol].overall
        assert after.mean_accuracy == 1, protocol
        assert after.mean_iou > max(before.mean_iou, 0.6), protocol


def test_a_text_that_only_holds_a_name_is_another_text(folder, owner):
    scene = teach(folder, owner, "cup")
    assert scene.queries("cup holder").example(0) is None
    assert scene.queries("the cup").example(0) is not None


def test_a_part_of_what_was_taught_can_be_asked_for(folder, owner):
    scene = teach(folder, owner)
    queries = scene.queries("handle of Oma's cup")
    assert queries.example(0) is None
    assert queries.wholes is not None
    assert queries.wholes.example(0) is not None
    assert teach(folder, owner, "Oma's cup handle").queries("oma's cup handle").example(0) is not None


def test_clicks_under_one_name_add_up(folder, owner):
    scene = teach(folder, owner)
    scene = teach(folder, owner, name="my OMA'S cup", ball=GREEN, view="view_03")
    assert scene.taught.names() == [NAME]
    both = certain(scene)
    assert [iou(one.mask.numpy(), owner == ball) > 0.8 for one, ball in zip(both, (BLUE, GREEN), strict=True)]
    scene = teach(folder, owner)  # the same pixel again
    assert len(scene.taught.entries()) == 2
    scene = teach(folder, owner, view="view_05")  # the same ball from another side: one thing
    assert len(scene.taught.entries()) == 3
    assert len(certain(scene)) == 2
    assert scene.forget("oma's cup") == 3
    assert certain(scene) == []
    assert not (folder / "taught.safetensors").exists()


def test_a_loaded_scene_hears_what_another_process_teaches(folder, owner):
    scene = gags.Scene.load(folder)
    assert certain(scene) == []
    teach(folder, owner)
    assert scene.locate(NAME)[0][0].certain
    gags.Scene.load(folder).forget(NAME)
    assert certain(scene) == []


def test_words_for_things_are_compared_once_and_hear_what_is_taught_elsewhere(folder, owner):
    scene = gags.Scene.load(folder)
    before = scene.namer()
    assert scene.namer() is before
    teach(folder, owner)
    (ball,) = [one for one in scene.locate(NAME)[0] if one.certain]
    rows = np.flatnonzero(ball.mask.numpy())
    assert before.names(rows, 1)[0][0] != NAME
    assert scene.namer().names(rows, 1)[0][0] == NAME
    assert scene.namer() is scene.namer()


def test_names_go_on_to_work_when_things_are_numbered_anew(folder, owner):
    scene = teach(folder, owner)
    before = scene.locate(NAME)[0][0]
    things = scene.things()
    order = np.arange(len(things))[::-1]  # no parents come first any more, so none may be left
    turned = Things(
        np.concatenate([[0], np.cumsum(np.diff(things.starts)[order])]),
        np.concatenate([things[row] for row in order]),
        np.full(len(things), -1, np.int32),
        *(getattr(things, name)[order] for name in ("photos", "seen_by", "levels", "embeddings")),
    )
    again = gags.Scene.load(folder)
    again._things = turned
    after = again.locate(NAME)[0][0]
    assert after.thing == len(things) - 1 - before.thing
    np.testing.assert_array_equal(after.mask, before.mask)


@pytest.mark.parametrize("kept", ["place", "photo", "looks"])
def test_names_go_on_to_work_with_other_gaussians(folder, owner, kept):
    """The Gaussians are shuffled, and jittered a little, as another training would leave them."""
    teach(folder, owner)
    path = folder / "taught.safetensors"
    (entry,) = load_taught(path)
    if kept != "place":  # what fills that place is nothing any more
        entry = replace(entry, means=entry.means + 50)
    if kept == "looks":
        entry = replace(entry, view="gone.png")
    save_taught(path, [entry])
    toy, rng = make_scene(12), np.random.default_rng(1)
    order = torch.from_numpy(rng.permutation(len(toy.owner)))
    shuffled = toy.gaussians[order]
    shuffled = replace(shuffled, means=shuffled.means + 0.01 * torch.randn(shuffled.means.shape))
    gags.save_ply(shuffled, folder / "splats.ply")
    gaussians = gags.load_ply(folder / "splats.ply")
    train_field(gaussians, toy.items(), DistillSettings(steps=60, batch_regions=64)).save(
        folder / "field.safetensors"
    )
    first = gags.Scene.load(folder).locate(NAME)[0][0]
    assert iou(first.mask.numpy(), owner[order] == BLUE) > 0.8
    assert first.certain == (kept != "looks")


def test_levels_of_what_is_under_a_pixel():
    """A bowl (0) with an apple (1) that is cut out as often, which has a leaf (2) that is seldom cut out."""
    rows, owners = [*range(30), *range(20), *range(5)], [0] * 30 + [1] * 20 + [2] * 5
    photos = [np.arange(count) for count in (20, 19, 4)]
    things = Things.build(np.array(rows), np.array(owners), photos)
    things.parents = np.array([-1, 0, 1], np.int32)
    things.levels = np.array([2.0, 1.2, 0.2], np.float32)
    assert meant(things, [0, 1, 2]) == 1
    assert [meant(things, [0, 1, 2], level) for level in ("whole", "part", "sub-part")] == [0, 1, 2]
    assert [meant(things, [0], level) for level in (None, "whole", "part", "sub-part")] == [0] * 4
    things.photos = np.array([20, 17, 4], np.int32)  # less than nine of ten
    assert meant(things, [0, 1, 2]) == 0
    spot = Things.build(np.array([*range(30), 0, 1]), np.array([0] * 30 + [1] * 2), [np.arange(9)] * 2)
    assert meant(spot, [0, 1]) == 0  # less than a tenth of the Gaussians


def test_sets_that_share_half_are_one():
    sets = [np.arange(10), np.arange(20, 30), np.arange(5, 12), np.array([40])]
    assert [rows.tolist() for rows in merged(sets)] == [list(range(12)), list(range(20, 30)), [40]]
    chain = merged([np.arange(4), np.arange(10, 14), np.array([2, 3, 10, 11])])
    assert [rows.tolist() for rows in chain] == [[0, 1, 2, 3, 10, 11, 12, 13]]
    assert merged([]) == []


# What cannot be, and the command


@pytest.mark.parametrize(
    ("name", "problem"),
    [("", "a name that is not empty"), (" ?", "not empty"), ("x" * 101, "has 101 letters")],
)
def test_names_that_cannot_be_taught(folder, owner, name, problem):
    with pytest.raises(QueryError, match=problem):
        teach(folder, owner, name)
    assert not (folder / "taught.safetensors").exists()
    assert LONGEST_NAME == 100


def test_a_damaged_or_newer_file_is_told_of_and_stays(folder, owner, capsys):
    teach(folder, owner)
    path = folder / "taught.safetensors"
    whole, stored = path.read_bytes(), load_tensors(path, remedy="", kind="numpy")
    entries = json.loads(stored.metadata["entries"])

    def changed(**metadata) -> bytes:
        save_tensors(path, stored.tensors, stored.metadata | metadata)
        return path.read_bytes()

    bad = {
        "newer version": changed(format="gags-taught-2"),
        "missing or damaged": whole[: len(whole) // 2],
        "format 'other'": changed(format="other"),
        "KeyError": changed(entries=json.dumps([{**entries[0], "name": "a"}, entries[0]])),
        "level 'all'": changed(entries=json.dumps([{**entries[0], "level": "all"}])),
        "JSONDecodeError": changed(entries="[{"),
    }
    for problem, content in bad.items():
        path.write_bytes(content)
        for ask in (
            ["locate", str(folder), "red ball"],
            ["teach", str(folder), "cup", "--view", "view_00", "--at", "128,96"],
            ["teach", str(folder), "--list"],
            ["teach", str(folder), "--forget", "cup"],
        ):
            assert cli.main(ask) == 1
            error = capsys.readouterr().err
            assert problem in error.splitlines()[-1]
            assert str(path) in error
            assert path.read_bytes() == content
    path.write_bytes(whole)
    assert gags.Scene.load(folder).locate(NAME)[0][0].certain


def test_a_folder_that_cannot_be_written_keeps_what_it_has(folder, owner, monkeypatch):
    teach(folder, owner)
    before = (folder / "taught.safetensors").read_bytes()

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("gags.query.taught.save_tensors", full)
    with pytest.raises(WorkspaceError, match=r"cannot write .*taught.safetensors \(No space left"):
        teach(folder, owner, "another")
    assert (folder / "taught.safetensors").read_bytes() == before


def test_the_command(folder, owner, capsys, tmp_path):
    x, y = pixel_of(gags.Scene.load(folder), owner, RED)
    assert cli.main(["teach", str(folder)]) == 0
    assert "nothing was taught" in capsys.readouterr().out
    click = ["--view", "view_00", "--at", f"{x},{y}", "--level", "whole"]
    assert cli.main(["teach", str(folder), NAME, *click]) == 0
    printed = capsys.readouterr().out
    assert f"{NAME}: " in printed
    assert "taught: 1.00 at (" in printed
    assert cli.main(["teach", str(folder), "--list", "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert (row["name"], row["view"], row["at"], row["level"]) == (NAME, "view_00.png", [x, y], "whole")
    np.testing.assert_allclose(row["center"], [1.0, 1.0, 0.4], atol=0.2)
    assert cli.main(["teach", str(folder), "--list"]) == 0
    assert (
        f"{NAME}  {row['gaussians']} Gaussians at ({x}, {y}) in view_00.png, whole" in capsys.readouterr().out
    )
    assert cli.main(["query", str(folder), "oma's cup", "--json", "--out", str(tmp_path / "answers")]) == 0
    answers = json.loads(capsys.readouterr().out)
    assert {answer["instances"] > 0 for answer in answers} == {True}
    assert cli.main(["teach", str(folder), "--forget", NAME]) == 0
    assert capsys.readouterr().out == f'forgot "{NAME}", 1 click\n'


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["cup", "--view", "view_00"], "belong together"),
        (["cup"], "belong together"),
        (["--view", "view_00", "--at", "3,4"], "belong together"),
        (["cup", "--view", "view_00", "--at", "middle"], "--at 'middle' is no pixel"),
        (["cup", "--view", "view_00", "--at", "1,2,3"], "is no pixel"),
        (["cup", "--view", "view_00", "--at", "1000,4"], "lies outside of view_00.png"),
        (["cup", "--view", "view_00", "--at", "1,1"], "no thing at (1, 1)"),
        (["cup", "--view", "nowhere", "--at", "1,1"], "no view 'nowhere'"),
        (["", "--view", "view_00", "--at", "1,1"], "a name that is not empty"),
        (["x" * 200, "--view", "view_00", "--at", "1,1"], "has 200 letters"),
        (["--forget", "cup"], "no 'cup' was taught here; taught names: none"),
        (["cup", "--forget", "cup"], "--forget takes only the name"),
    ],
)
def test_wrong_commands_are_one_line(folder, words, problem, capsys):
    assert cli.main(["teach", str(folder), *words]) == 1
    (error,) = [line for line in capsys.readouterr().err.splitlines() if "Finding things" not in line]
    assert problem in error
    assert not (folder / "taught.safetensors").exists()


def test_pictures_on_the_command_line(folder, tmp_path, capsys):
    (tmp_path / "text.png").write_text("no picture")
    for command in ("query", "locate"):
        assert cli.main([command, str(folder), "--image", str(tmp_path / "text.png")]) == 1
        error = capsys.readouterr().err
        assert "text.png is no picture that can be read" in error
        assert error.count("\n") == 1
        assert cli.main([command, str(folder)]) == 1
        assert "nothing to look for" in capsys.readouterr().err


def test_a_click_instead_of_a_text_on_the_command_line(folder, owner, tmp_path, capsys):
    scene = gags.Scene.load(folder)
    x, y = pixel_of(scene, owner, BLUE)
    (expected, *_) = scene.locate(like=("view_00", x, y))[0]
    assert cli.main(["locate", str(folder), "--like", f"view_00:{x},{y}", "--json"]) == 0
    (first, *_) = json.loads(capsys.readouterr().out)
    assert first["text"] == f"view_00.png at ({x}, {y})"
    np.testing.assert_allclose(first["center"], expected.box.center, rtol=1e-6)
    command = ["query", str(folder), "--like", f"view_00:{x},{y}", "--view", "view_00", "--json"]
    assert cli.main([*command, "--out", str(tmp_path / "out")]) == 0
    (answer,) = json.loads(capsys.readouterr().out)
    assert (answer["text"], answer["view"]) == (first["text"], "view_00.png")


@pytest.mark.parametrize(
    ("like", "problem"),
    [
        ("view_00", "--like 'view_00' is no pixel of a photo"),
        ("view_00:1", "is no pixel of a photo"),
        (":1,2", "is no pixel of a photo"),
        ("view_00:1000,4", "lies outside of view_00.png"),
        ("nowhere:1,4", "no view 'nowhere'"),
    ],
)
def test_clicks_that_are_none_are_one_line(folder, like, problem, capsys):
    assert cli.main(["locate", str(folder), "--like", like]) == 1
    (error,) = [line for line in capsys.readouterr().err.splitlines() if "Finding things" not in line]
    assert problem in error


def test_what_is_kept_of_a_click(folder, owner):
    scene = teach(folder, owner)
    (entry,) = load_taught(folder / "taught.safetensors")
    assert isinstance(entry, Taught)
    assert (entry.name, entry.view, entry.encoder, entry.level) == (NAME, "view_00.png", "toy", None)
    assert entry.at == pixel_of(scene, owner, BLUE)
    assert entry.splats == scene.field.splats_hash
    np.testing.assert_array_equal(entry.means, scene.gaussians.means.numpy()[entry.members])
    assert iou(np.isin(np.arange(len(owner)), entry.members), owner == BLUE) > 0.8
    assert np.linalg.norm(entry.embedding.astype(np.float32)) == pytest.approx(1, abs=1e-2)
