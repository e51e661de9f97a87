"""One way to find, fetch and load a model, whether it is gags's own, a hub's or a folder's."""

import importlib.util
import json
import shutil
from pathlib import Path

import pytest
from huggingface_hub import constants
from tests.helpers.packages import CONTENTS, TINY, write_files
from tests.helpers.tiny_models import write_clip, write_sam

from gags import cli, models
from gags.embed import load_encoder
from gags.embed.clip.encoder import ClipEncoder, load_clip
from gags.errors import ModelError
from gags.models import own
from gags.models.known import HUB_MODELS, MODEL_TYPES, PAPER_ENCODER, PAPER_SEGMENTER
from gags.segment import load_segmenter
from gags.segment.sam.hub import SAM_FAMILIES, HubSam

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(autouse=True)
def caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine without any model, offline, where "tiny" is a segmenter of gags's own."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("GAGS_MODELS", str(tmp_path / "own"))
    monkeypatch.setattr(own, "OWN_MODELS", (TINY, *own.OWN_MODELS))
    return tmp_path


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Tiny models in the hub's format."""
    root = tmp_path_factory.mktemp("models")
    return {"sam": write_sam(root / "sam"), "clip": write_clip(root / "clip")}


def cached(hub: Path, repo: str, source: Path) -> Path:
    """A model as the hub's client leaves it in its cache."""
    root = hub / f"models--{repo.replace('/', '--')}"
    (root / "refs").mkdir(parents=True)
    (root / "refs" / "main").write_text(COMMIT)
    (root / "snapshots").mkdir()
    (root / "snapshots" / COMMIT).symlink_to(source)
    return root / "snapshots" / COMMIT


def test_an_own_model(caches: Path) -> None:
    found = models.find("tiny", "segmenter")
    assert (found.origin, found.kind, found.folder, found.size) == ("own", "segmenter", None, 30)
    assert (found.licence, found.about) == ("MIT", "a test")
    assert found.problem == (
        f"tiny is not on this machine: there is no {caches / 'own' / 'tiny' / 'encoder.onnx'}; "
        "run `gags models pull tiny`"
    )
    folder = write_files(caches / "own" / "tiny")
    found = models.find("tiny")
    assert (found.folder, found.problem, found.note) == (folder, "", f"a test; in {folder}")
    assert models.ensure("tiny") == folder
    assert models.canonical("tiny") == "tiny"


def test_a_hub_s_model(caches: Path, folders: dict[str, Path]) -> None:
    found = models.find("owner/sam")
    assert (found.origin, found.kind, found.folder, found.size) == ("hub", "", None, 0)
    assert found.problem == "not here yet; run `gags models pull owner/sam`"
    folder = cached(caches / "hub", "owner/sam", folders["sam"])
    assert models.find("owner/sam").folder == models.ensure("owner/sam") == folder
    assert models.canonical("owner/sam") == f"owner/sam@{COMMIT}"
    assert models.find(f"owner/sam@{COMMIT}").folder == folder


def test_a_known_hub_model_tells_of_itself() -> None:
    found = models.find(PAPER_ENCODER)
    assert (found.origin, found.kind, found.size, found.licence) == ("hub", "encoder", 599_000_000, "MIT")
    assert "the paper's" in found.about
    assert models.find(f"{PAPER_ENCODER}@main").kind == "encoder"


def test_a_folder(folders: dict[str, Path]) -> None:
    found = models.find(str(folders["clip"]))
    assert (found.origin, found.kind, found.folder) == ("folder", "encoder", folders["clip"])
    assert found.size == (folders["clip"] / "model.safetensors").stat().st_size
    name = models.canonical(str(folders["clip"]))
    assert name.startswith(f"{folders['clip']}@")
    assert models.find(name).folder == models.ensure(name) == folders["clip"]
    assert models.canonical(name) == name


@pytest.mark.parametrize(
    ("name", "kind", "told"),
    [
        ("sam9", None, r"no model is called 'sam9'; there are: mobile-sam, lite, ids of the Hugging Face"),
        ("sam9", "segmenter", "no segmenter is called 'sam9'; there are: mobile-sam, and SAM, SAM-HQ and"),
        ("clip9", "encoder", "no encoder is called 'clip9'; there are: lite, and CLIP, SigLIP and SigLIP 2"),
        ("lite", "segmenter", "lite is no segmenter but an encoder; segmenters are: mobile-sam, and SAM"),
        ("mobile-sam", "encoder", "mobile-sam is no encoder but a segmenter; encoders are: lite, and CLIP"),
        (PAPER_SEGMENTER, "encoder", f"{PAPER_SEGMENTER} is no encoder but a segmenter"),
        ("no/such/folder", None, "there is no folder no/such/folder; put it back, or check the path"),
        ("/no/such/folder", "encoder", "there is no folder /no/such/folder"),
        ("./clip", "encoder", "there is no folder ./clip; put it back, or check the path"),
        ("../clip", "segmenter", "there is no folder ../clip; put it back, or check the path"),
        ("models/", None, "there is no folder models/; put it back, or check the path"),
        ("-owner/clip", None, "there is no folder -owner/clip"),
        ("owner/cl--ip", None, "there is no folder owner/cl--ip"),
        ("owner/clip.", None, r"there is no folder owner/clip\.; put it back"),
        (f"owner/{'a' * 97}", None, "there is no folder owner/aaa"),
        ("мир/clip", None, "there is no folder мир/clip"),
        (5, "encoder", "the name of a model is text, not 5; there are: lite"),
    ],
)  # fmt: skip
def test_wrong_names(name: str, kind, told: str) -> None:
    with pytest.raises(ModelError, match=told) as caught:
        models.find(name, kind)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["sam9", "lite", PAPER_ENCODER, "no/such/folder"])
def test_nothing_is_fetched_for_a_wrong_name(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "pull", lambda *_, **__: pytest.fail("fetched"))
    with pytest.raises(ModelError):
        load_segmenter(name)


def test_load_takes_the_loader_of_the_name(caches: Path, folders: dict[str, Path]) -> None:
    def load(name: str) -> tuple:
        return models.load(
            name,
            "segmenter",
            own={"tiny": lambda folder: ("tiny", folder)},
            hub=lambda folder, name: ("hub", folder, name),
        )

    folder = write_files(caches / "own" / "tiny")
    assert load("tiny") == ("tiny", folder)
    name = str(folders["sam"])
    assert load(name) == ("hub", folders["sam"], models.canonical(name))
    in_cache = cached(caches / "hub", "owner/sam", folders["sam"])
    assert load("owner/sam") == ("hub", in_cache, f"owner/sam@{COMMIT}")


def test_segmenters_and_encoders_of_folders_and_the_hub(caches: Path, folders: dict[str, Path]) -> None:
    segmenter = load_segmenter(str(folders["sam"]))
    assert isinstance(segmenter, HubSam)
    assert segmenter.name == models.canonical(str(folders["sam"]))
    cached(caches / "hub", "owner/clip", folders["clip"])
    encoder = load_encoder("owner/clip")
    assert isinstance(encoder, ClipEncoder)
    assert encoder.name == f"owner/clip@{COMMIT}"


def test_a_folder_of_the_other_kind_is_refused(folders: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"clip is no segmenter but an encoder; .*Give it with --encoder"):
        load_segmenter(str(folders["clip"]))
    with pytest.raises(ModelError, match=r"sam is no encoder but a segmenter; .*Give it with --segmenter"):
        load_encoder(str(folders["sam"]))
    other = tmp_path / "bert"
    shutil.copytree(folders["clip"], other)
    (other / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(ModelError, match=r"bert holds no encoder: .* none of clip"):
        models.find(str(other), "encoder")
    assert models.find(str(other)).kind == ""


def test_model_types_are_those_that_are_loaded(folders: dict[str, Path], tmp_path: Path) -> None:
    assert set(MODEL_TYPES["segmenter"]) == set(SAM_FAMILIES)
    other = tmp_path / "bert"
    shutil.copytree(folders["clip"], other)
    (other / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(ModelError, match=f"one of: {', '.join(MODEL_TYPES['encoder'])}$"):
        load_clip(other)


def test_a_hub_s_model_or_a_folder_is_not_pulled_from_elsewhere(
    caches: Path, folders: dict[str, Path]
) -> None:
    for name in (PAPER_SEGMENTER, str(folders["sam"])):
        with pytest.raises(ModelError, match=r"needs no pulling from .*; name that folder instead"):
            models.pull(name, caches)
    assert models.pull(str(folders["sam"])) == folders["sam"]


def test_a_folder_called_like_an_own_model_hides_nothing(
    caches: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (caches / "lite").mkdir()
    monkeypatch.chdir(caches)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert models.find("lite").origin == "own"
    with pytest.raises(ModelError, match=r"pip install 'gags\[lite\]'"):
        models.ensure("lite")


def test_the_list_of_an_empty_machine(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert cli.main(["models", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["name"] for row in rows] == ["mobile-sam", "lite", *(entry.repo for entry in HUB_MODELS)]
    assert not any(row["installed"] for row in rows)
    sam, lite, paper = rows[:3]
    assert list(sam) == ["name", "kind", "size", "licence", "installed", "note"]
    assert sam["size"] == 28_085_517 + 16_501_766
    assert "pip install 'gags[lite]'" in lite["note"]
    assert paper["note"].endswith(f"; not here yet; run `gags models pull {PAPER_SEGMENTER}`")
    assert cli.main(["models"]) == 0
    out = capsys.readouterr().out
    assert "mobile-sam" in out
    assert "45 MB  Apache-2.0 (npm package: MIT)    not here" in out


def test_the_command_pulls_a_model(caches: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = write_files(caches / "source")
    assert cli.main(["models", "pull", "tiny", "--source", str(source)]) == 0
    assert capsys.readouterr().out == f"tiny is ready in {caches / 'own' / 'tiny'}\n"
    assert {path.name for path in (caches / "own" / "tiny").iterdir()} == set(CONTENTS)
    assert cli.main(["models", "pull", "sam9"]) == 1
    assert "no model is called 'sam9'" in capsys.readouterr().err
