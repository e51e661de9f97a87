"""`gags view`: bad input is one line, whatever is installed."""

import importlib.util
import socket
import sys
import urllib.request
import webbrowser
from types import SimpleNamespace

import pytest
from tests.helpers.blobs import ToyEncoder
from tests.helpers.finished_scene import write_scene

from gags import cli
from gags import scene as scene_module
from gags.errors import GagsError
from gags.scene import Scene


def test_no_scene_and_no_port(tmp_path, capsys):
    pytest.importorskip("fastapi")
    assert cli.main(["view", str(tmp_path)]) == 1
    assert "is not a gags scene" in capsys.readouterr().err
    assert cli.main(["view", str(tmp_path), "--port", "70000"]) == 2
    assert "--port must be a whole number from 1 to 65535, got 70000" in capsys.readouterr().err


def test_without_the_extra_it_is_named(tmp_path, capsys, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "uvicorn" else find(name, *rest)
    )
    assert cli.main(["view", str(tmp_path)]) == 1
    error = capsys.readouterr().err
    assert "(uvicorn is missing); pip install 'gags[view]'" in error
    assert error.count("\n") == 1


def test_the_next_free_port_is_taken():
    pytest.importorskip("fastapi")
    from gags.viewer.server import listening

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with listening("127.0.0.1", port) as other:
            assert other.getsockname()[1] > port


def test_an_address_of_another_machine_is_an_error():
    pytest.importorskip("fastapi")
    from gags.viewer.server import listening

    with pytest.raises(GagsError, match=r"cannot listen on 192\.0\.2\.1"):
        listening("192.0.2.1", 8080)
    with pytest.raises(GagsError, match="no address of this machine"):
        listening("no such host", 8080)


def test_up_that_is_no_direction_is_told_before_the_scene_is_loaded(tmp_path, capsys):
    pytest.importorskip("fastapi")
    assert cli.main(["view", str(tmp_path), "--up", "w"]) == 1
    assert "--up 'w' is no direction" in capsys.readouterr().err


@pytest.fixture
def folder(tmp_path, monkeypatch):
    pytest.importorskip("fastapi")
    monkeypatch.setattr(scene_module, "load_encoder", lambda name, progress=None: ToyEncoder())
    return write_scene(tmp_path)


def test_it_says_where_it_is_opens_the_browser_and_ends_with_ctrl_c(folder, capsys, monkeypatch):
    from gags.viewer.server import Viewer

    def interrupted(viewer):
        raise KeyboardInterrupt

    opened = []
    monkeypatch.setattr(Viewer, "wait", interrupted)
    monkeypatch.setattr(webbrowser, "open", opened.append)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert cli.main(["view", str(folder), "--port", str(port), "--open"]) == 0
    said = capsys.readouterr().out
    (address,) = opened
    assert f"port {port} is taken" in said
    assert f"{folder}: {address} (Ctrl-C ends)" in said
    assert said.endswith("closed\n")


def test_in_a_notebook_it_shows_itself_in_the_cell(folder, monkeypatch):
    from gags.viewer import run

    monkeypatch.setattr(run, "in_notebook", lambda: True)
    viewer = Scene.load(folder).view(port=18980)
    try:
        frame = viewer._repr_html_()
        assert f'<iframe src="{viewer.url}"' in frame
        with urllib.request.urlopen(viewer.url) as page:
            assert "http://localhost:*" in page.headers["content-security-policy"]
    finally:
        viewer.stop()


def test_a_plain_interpreter_is_no_notebook(monkeypatch):
    from gags.viewer import run

    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: None))
    assert not run.in_notebook()
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: SimpleNamespace()))
    assert not run.in_notebook()  # the terminal's IPython
    shell = SimpleNamespace(kernel=object())
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))
    assert run.in_notebook()
