"""Names of hub models and folders, the hub's cache, and fetching, with a hub that is made up."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import huggingface_hub
import numpy as np
import pytest
from huggingface_hub import constants
from safetensors.numpy import save_file
from tests.helpers.heard import Heard

from gags import models
from gags.errors import ModelError
from gags.models import hub
from gags.models.hub import HubError
from gags.models.known import HUB_MODELS, PAPER_ENCODER, PAPER_SEGMENTER

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty cache of the hub, offline."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    hub.reachable.cache_clear()
    yield tmp_path / "hub"
    hub.reachable.cache_clear()


def write_model(folder: Path, value: float = 1.0) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text('{"model_type": "sam"}')
    save_file({"weight": np.full(100_000, value, np.float32)}, folder / "model.safetensors")
    return folder


def write_cached(cache: Path, repo: str, commit: str = COMMIT, branch: str = "main") -> Path:
    """A model as the hub's client leaves it in its cache."""
    root = cache / f"models--{repo.replace('/', '--')}"
    (root / "refs").mkdir(parents=True)
    (root / "refs" / branch).write_text(commit)
    return write_model(root / "snapshots" / commit)


def go_online(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.delenv("TRANSFORMERS_OFFLINE", raising=False)


def test_the_paper_s_models_are_pinned() -> None:
    for repo in (PAPER_SEGMENTER, PAPER_ENCODER):
        _, revision = hub.split(repo)
        assert len(revision) == 40
        assert hub.split(f"{repo}@main") == (repo, "main")
    assert hub.split("owner/other") == ("owner/other", "main")
    assert len({entry.repo for entry in HUB_MODELS}) == len(HUB_MODELS)


def test_names() -> None:
    assert hub.is_name("owner/model")
    assert hub.is_name("/a/folder")
    assert not hub.is_name("mobile-sam")


def test_a_folder_is_named_by_path_and_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_model(tmp_path / "mine")
    name = hub.canonical(str(folder))
    assert name == f"{folder}@{hub.fingerprint(folder)}"
    assert hub.folder_of(name) == hub.ensure(str(folder)) == folder
    assert hub.canonical(name) == name
    monkeypatch.chdir(tmp_path)
    assert hub.canonical("mine") == name
    assert hub.canonical("./mine") == name


def test_a_folder_whose_weights_changed_is_not_the_same_model(tmp_path: Path) -> None:
    name = hub.canonical(str(write_model(tmp_path / "mine")))
    write_model(tmp_path / "mine", 2.0)
    with pytest.raises(ModelError, match="has changed since it was used here"):
        hub.ensure(name)


def test_a_folder_that_is_gone_is_told(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "mine")
    name = hub.canonical(str(folder))
    folder.rename(tmp_path / "moved")
    with pytest.raises(ModelError, match=f"there is no folder {folder}; put it back"):
        hub.ensure(name)
    with pytest.raises(ModelError, match="there is no folder"):
        hub.ensure(str(tmp_path / "never" / "was"))


@pytest.mark.parametrize("missing", ["config.json", "model.safetensors"])
def test_a_folder_without_a_whole_model_is_told(tmp_path: Path, missing: str) -> None:
    folder = write_model(tmp_path / "mine")
    (folder / missing).unlink()
    (folder / "pytorch_model.bin").write_bytes(b"a pickle is no way in")
    with pytest.raises(ModelError, match="holds no model in the hub's format"):
        hub.ensure(str(folder))


def test_weights_in_parts_count_only_when_all_are_there(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "mine")
    first, second = folder / "model-00001-of-00002.safetensors", folder / "model-00002-of-00002.safetensors"
    (folder / "model.safetensors").rename(first)
    index = f'{{"weight_map": {{"a": "{first.name}", "b": "{second.name}"}}}}'
    (folder / "model.safetensors.index.json").write_text(index)
    assert hub.weight_files(folder) == []
    second.write_bytes(first.read_bytes())
    assert hub.weight_files(folder) == [first, second]


def test_a_fetched_model_is_found_and_named_by_its_commit(cache: Path) -> None:
    folder = write_cached(cache, "owner/model")
    assert hub.folder_of("owner/model") == hub.folder_of(f"owner/model@{COMMIT}") == folder
    assert hub.canonical("owner/model") == f"owner/model@{COMMIT}"
    assert hub.folder_of("owner/model@other") is None
    (folder / "model.safetensors").unlink()
    assert hub.folder_of("owner/model") is None


def test_a_pinned_model_is_only_found_at_its_commit(cache: Path) -> None:
    write_cached(cache, PAPER_SEGMENTER)
    assert hub.folder_of(PAPER_SEGMENTER) is None
    _, revision = hub.split(PAPER_SEGMENTER)
    folder = write_model(cache / "models--facebook--sam-vit-huge" / "snapshots" / revision)
    assert hub.folder_of(PAPER_SEGMENTER) == folder
    found = next(found for found in models.listing() if found.name == PAPER_SEGMENTER)
    assert found.installed
    assert str(folder) in found.note


def test_the_offline_error_says_what_how_large_and_how_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub, "get_session", lambda: pytest.fail("asked the hub though forbidden"))
    with pytest.raises(HubError) as caught:
        models.ensure(PAPER_ENCODER)
    message = str(caught.value)
    revision = hub.split(PAPER_ENCODER)[1]
    assert f"{PAPER_ENCODER} (599 MB) is not on this machine, and HF_HUB_OFFLINE forbids" in message
    assert f"hf download {PAPER_ENCODER} --revision {revision} --local-dir FOLDER" in message
    assert f"https://huggingface.co/{PAPER_ENCODER}/tree/{revision}" in message
    assert "\n" not in message
    assert not hub.reachable()


def answering(monkeypatch: pytest.MonkeyPatch, head: Callable[..., object]) -> list[str]:
    """Let a request to the hub go to a function; returns the addresses that are asked for."""
    go_online(monkeypatch)
    asked: list[str] = []

    class Session:
        def head(self, url: str, **options: object) -> object:
            asked.append(url)
            return head(url, **options)

    monkeypatch.setattr(huggingface_hub, "get_session", Session)
    return asked


@pytest.mark.parametrize(("status", "answer"), [(200, True), (404, True), (503, False)])
def test_the_hub_is_asked_once(monkeypatch: pytest.MonkeyPatch, status: int, answer: bool) -> None:
    asked = answering(monkeypatch, lambda url, **options: SimpleNamespace(status_code=status))
    assert [hub.reachable(), hub.reachable()] == [answer, answer]
    assert asked == [hub.endpoint()]


def test_a_hub_that_never_answers_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    given_up = threading.Event()
    monkeypatch.setattr(hub, "PROBE_SECONDS", -0.4)
    answering(monkeypatch, lambda url, **options: given_up.wait(60) and SimpleNamespace(status_code=200))
    with pytest.raises(HubError, match=r"https://huggingface\.co does not answer"):
        hub.ensure("owner/model")
    given_up.set()  # the request was still waiting


def test_a_request_that_fails_is_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(url: str, **options: object) -> None:
        raise ConnectionError

    answering(monkeypatch, broken)
    assert not hub.reachable()


def made_up_hub(monkeypatch: pytest.MonkeyPatch, cache: Path, files: dict[str, int]) -> dict:
    """A hub that answers and has these files; tells what was asked of it."""
    answering(monkeypatch, lambda url, **options: SimpleNamespace(status_code=200))
    asked: dict = {}
    siblings = [SimpleNamespace(rfilename=name, size=size) for name, size in files.items()]
    monkeypatch.setattr(
        huggingface_hub.HfApi, "model_info", lambda self, repo, **options: SimpleNamespace(siblings=siblings)
    )

    def download(repo: str, **options: object) -> str:
        asked.update(options, repo=repo)
        return str(write_cached(cache, repo))

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    return asked


def test_only_safetensors_and_plain_files_are_fetched(monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    files = {
        "config.json": 1_000_000, "model.safetensors": 7_000_000, "pytorch_model.bin": 7_000_000,
        "README.md": 1, "open_clip_model.safetensors": 7_000_000, "preprocessor_config.json": 500,
        "onnx/model.onnx": 1,
    }  # fmt: skip
    asked = made_up_hub(monkeypatch, cache, files)
    listener = Heard()
    folder = hub.ensure("owner/model@main", listener)
    assert asked["repo"] == "owner/model"
    assert asked["revision"] == "main"
    assert sorted(asked["allow_patterns"]) == ["config.json", "model.safetensors", "preprocessor_config.json"]
    assert listener.said == ["Fetching owner/model (8 MB) from https://huggingface.co"]
    assert folder.name == COMMIT
    listener.said.clear()
    assert hub.ensure("owner/model", listener) == folder
    assert listener.said == []


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        (["open_clip_model.safetensors", "open_clip_pytorch_model.bin"], ["open_clip_model.safetensors"]),
        (
            ["model.safetensors.index.json", "model-00001-of-00001.safetensors", "x.safetensors"],
            ["model-00001-of-00001.safetensors", "model.safetensors.index.json"],
        ),
    ],
)
def test_weights_in_other_layouts(
    monkeypatch: pytest.MonkeyPatch, cache: Path, files: list[str], expected: list[str]
) -> None:
    asked = made_up_hub(monkeypatch, cache, dict.fromkeys(files, 1))
    hub.ensure("owner/model")
    assert sorted(asked["allow_patterns"]) == expected


def test_pickles_alone_are_refused(monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    asked = made_up_hub(monkeypatch, cache, {"config.json": 1, "pytorch_model.bin": 1})
    with pytest.raises(HubError, match="only pickles, which gags does not load"):
        hub.ensure("owner/model")
    assert asked == {}


def test_a_failing_fetch_gives_its_reason(monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    made_up_hub(monkeypatch, cache, {"config.json": 1, "model.safetensors": 1})

    def fail(repo: str, **options: object) -> str:
        raise TimeoutError("no answer\nin time")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fail)
    with pytest.raises(HubError, match=r"fetching it failed \(TimeoutError: no answer in time\)"):
        hub.ensure("owner/model")


def test_mirrors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "https://mirror.example/")
    with pytest.raises(HubError, match=r"https://mirror\.example/owner/model/tree/main"):
        hub.ensure("owner/model")


def test_pull_by_hub_id(monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    made_up_hub(monkeypatch, cache, {"config.json": 1, "model.safetensors": 1})
    assert models.pull("owner/model").name == COMMIT
