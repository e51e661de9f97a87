"""What npm and pip are configured for."""

import base64
import re
import sys
from pathlib import Path

import pytest
from tests.helpers.bare_network import forget_network_settings

from gags.errors import ModelError
from gags.models.npm import NetworkSettings, default_registry

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="HOME is not the home folder there")


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    return forget_network_settings(monkeypatch, tmp_path / "home")


def registry(package: str = "tiny") -> str:
    return NetworkSettings.read().registry(package)


def test_the_default_registry_is_an_address():
    assert re.fullmatch(r"https://[a-z.]+", default_registry())


def test_without_any_setting_it_is_npm_s_own_registry() -> None:
    assert registry() == default_registry()
    assert NetworkSettings.read().authorization(default_registry()) == ""


def test_the_environment_counts_before_the_user_s_file_and_that_before_the_global_one(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / "global").write_text("registry=https://global.example/\n")
    monkeypatch.setenv("npm_config_globalconfig", str(home / "global"))
    assert registry() == "https://global.example"
    (home / ".npmrc").write_text("; a comment\nregistry = https://user.example/npm/ ; ours\n")
    assert registry() == "https://user.example/npm"
    monkeypatch.setenv("NPM_CONFIG_REGISTRY", "https://environment.example")
    assert registry() == "https://environment.example"


@pytest.mark.parametrize("how", ["prefix", "node"])
def test_the_global_file_is_found_without_an_npm(
    home: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    (home / "etc").mkdir()
    (home / "etc" / "npmrc").write_text("registry=https://global.example/\n")
    monkeypatch.delenv("npm_config_globalconfig")
    if how == "prefix":
        (home / ".npmrc").write_text(f"prefix={home}\n")
    else:
        (home / "bin").mkdir()
        (home / "bin" / "node").write_text("#!/bin/sh\n")
        (home / "bin" / "node").chmod(0o755)
    assert registry() == "https://global.example"


def test_a_scope_has_a_registry_of_its_own(home: Path) -> None:
    (home / ".npmrc").write_text("registry=https://all.example\n@ours:registry=https://ours.example/npm/\n")
    assert registry("@ours/tiny") == "https://ours.example/npm"
    assert registry("@other/tiny") == registry() == "https://all.example"


def test_variables_and_quotes(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WHERE", "mirror.example")
    monkeypatch.setenv("TOKEN", "s3cret")
    (home / ".npmrc").write_text(
        'registry="https://${WHERE}/npm/"\n//mirror.example/npm/:_authToken=${TOKEN}\n'
        "//other.example/:_authToken=${UNSET?}\n//third.example/:_authToken=${UNSET}\n"
    )
    settings = NetworkSettings.read()
    assert settings.registry("tiny") == "https://mirror.example/npm"
    assert settings.authorization("https://mirror.example/npm/tiny") == "Bearer s3cret"
    assert settings.authorization("https://other.example/tiny") == ""
    assert settings.authorization("https://third.example/tiny") == "Bearer ${UNSET}"  # as npm leaves it


@pytest.mark.parametrize("address", ["ftp://mirror.example", "mirror.example", "https://"])
def test_a_registry_that_is_no_address_is_told(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    monkeypatch.setenv("npm_config_registry", address)
    with pytest.raises(ModelError, match=r"npm's setting `registry` is .*, which is no http\(s\) address"):
        registry()


TOKENS = {
    "//a.example/:_authToken": "all",
    "//a.example/npm/private/:_authToken": "private",
    "//B.example:8443/:_auth": "dXNlcjpwYXNz",
}


@pytest.mark.parametrize(
    ("url", "header"),
    [
        ("https://a.example/npm/tiny", "Bearer all"),
        ("https://A.EXAMPLE/npm/tiny", "Bearer all"),
        ("https://a.example/npm/private/tiny", "Bearer private"),
        ("https://a.example/npm/privateer", "Bearer all"),
        ("https://a.example:8443/npm/tiny", ""),
        ("https://a.example.evil.example/npm/tiny", ""),
        ("https://evil.example/a.example/npm/tiny", ""),
        ("https://b.example:8443/tiny", "Basic dXNlcjpwYXNz"),
        ("https://b.example/tiny", ""),
    ],
)
def test_credentials_are_for_their_host_alone(url: str, header: str) -> None:
    assert NetworkSettings(npm=TOKENS).authorization(url) == header


def test_credentials_in_the_address_are_not_shown() -> None:
    settings = NetworkSettings(npm={"registry": "https://me:p%40ss@mirror.example/npm"})
    assert settings.registry("tiny") == "https://mirror.example/npm"
    expected = f"Basic {base64.b64encode(b'me:p@ss').decode()}"
    assert settings.authorization("https://mirror.example/npm/tiny/-/tiny-1.0.0.tgz") == expected
    assert settings.authorization("https://elsewhere.example/tiny-1.0.0.tgz") == ""


def test_proxies(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = "https://mirror.example/tiny"
    assert NetworkSettings.read().proxies(url) == {}
    monkeypatch.setenv("HTTPS_PROXY", "http://environment.example:1")
    assert NetworkSettings.read().proxies(url)["https"] == "http://environment.example:1"
    (home / "pip.conf").write_text("[global]\nproxy = http://pip.example:2\ncert = ~/pip.pem\n")
    monkeypatch.setenv("PIP_CONFIG_FILE", str(home / "pip.conf"))
    assert NetworkSettings.read().proxies(url)["https"] == "http://pip.example:2"
    monkeypatch.setenv("npm_config_https_proxy", "http://npm.example:3")
    assert NetworkSettings.read().proxies(url)["https"] == "http://npm.example:3"
    monkeypatch.setenv("npm_config_noproxy", "localhost, .example")
    assert NetworkSettings.read().proxies(url) == {}


def test_certificates(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert NetworkSettings.read().certificates() == []
    for name in ("npm.pem", "requests.pem", "pip.pem"):
        (home / name).touch()
    (home / "pip.conf").write_text("[global]\ncert = ~/pip.pem\n")
    monkeypatch.setenv("PIP_CONFIG_FILE", str(home / "pip.conf"))
    monkeypatch.setenv("npm_config_cafile", str(home / "npm.pem"))
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(home / "requests.pem"))
    monkeypatch.setenv("PIP_CERT", str(home / "gone.pem"))
    found = NetworkSettings.read().certificates()
    assert [path.name for path in found] == ["npm.pem", "requests.pem", "pip.pem"]


def test_files_that_cannot_be_read_count_as_empty(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / ".npmrc").mkdir()
    (home / "pip.conf").write_text("no section = here\n")
    monkeypatch.setenv("PIP_CONFIG_FILE", str(home / "pip.conf"))
    assert registry() == default_registry()
