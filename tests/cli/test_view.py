"""`gags view`: bad input is one line, whatever is installed."""

import importlib.util
import socket

import pytest

from gags import cli
from gags.errors import GagsError


def test_no_scene_and_no_port(tmp_path, capsys):
    pytest.importorskip("viser")
    assert cli.main(["view", str(tmp_path)]) == 1
    assert "is not a gags scene" in capsys.readouterr().err
    assert cli.main(["view", str(tmp_path), "--port", "70000"]) == 2
    assert "--port must be a whole number from 1 to 65535, got 70000" in capsys.readouterr().err


def test_without_the_extra_it_is_named(tmp_path, capsys, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "viser" else find(name, *rest)
    )
    assert cli.main(["view", str(tmp_path)]) == 1
    error = capsys.readouterr().err
    assert "gags[view]" in error
    assert error.count("\n") == 1


def test_the_next_free_port_is_taken():
    pytest.importorskip("viser")
    from gags.viewer.server import free_port

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert free_port("127.0.0.1", port) > port


def test_an_address_of_another_machine_is_an_error():
    pytest.importorskip("viser")
    from gags.viewer.server import free_port

    with pytest.raises(GagsError, match=r"cannot listen on 192\.0\.2\.1"):
        free_port("192.0.2.1", 8080)
    with pytest.raises(GagsError, match="no address of this machine"):
        free_port("no such host", 8080)
