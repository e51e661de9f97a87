"""A machine whose npm and pip are not configured, for tests that configure them."""

import os
from pathlib import Path

import pytest


def forget_network_settings(monkeypatch: pytest.MonkeyPatch, home: Path) -> Path:
    """Let nothing of this machine's configuration be seen; returns the empty home folder."""
    home.mkdir(exist_ok=True)
    for name in list(os.environ):
        if name.lower().startswith(("npm_config_", "pip_")) or name.lower().endswith(
            ("_proxy", "_ca_bundle")
        ):
            monkeypatch.delenv(name)
    monkeypatch.delenv("NODE_EXTRA_CA_CERTS", raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("npm_config_globalconfig", str(home / "no-such-npmrc"))
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("PATH", str(home / "bin"))
    return home
