"""`gags serve` as a process, and what it says when it cannot start."""

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

pytest.importorskip("fastapi")
from gags.cli import main
from gags.errors import GagsError
from gags.serve import run
from gags.serve.run import scenes_and_libraries

CLIENT = Path(__file__).parents[2] / "examples" / "robot" / "where_is.py"


def test_a_process_answers_until_it_is_interrupted(finished: Path):
    command = [sys.executable, "-m", "gags.cli", "serve", str(finished), "--port", "0", "--token", "x y"]
    environment = os.environ | {"PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    )
    try:
        assert process.stdout
        url = process.stdout.readline().split(" at ")[1].split()[0]
        assert process.stdout.readline() == "token: x y\n"
        health = json.load(urllib.request.urlopen(f"{url}/health"))
        assert health["scenes"] == 1
        asked = urllib.request.Request(f"{url}/scenes/ws", headers={"Authorization": "Bearer x y"})
        assert json.load(urllib.request.urlopen(asked))["encoder"] == "toy"
        asked = [sys.executable, str(CLIENT), url, "x y", "ws", "mug"]
        client = subprocess.run(asked, capture_output=True, text=True, check=False)
        assert "HTTP Error 500" in client.stderr  # of an encoder that exists in tests alone
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=20)
    finally:
        process.kill()
    assert process.returncode == 0, err
    assert out.endswith("closed\n")
    assert err == ""


def refused(capsys, *arguments: str) -> str:
    assert main(["serve", *arguments]) == 1
    (line,) = capsys.readouterr().err.strip().splitlines()
    return line


def test_a_taken_port_is_said_so(finished, capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert f"port {port}" in refused(capsys, str(finished), "--port", port)


def test_an_address_of_another_machine_is_said_so(finished, capsys):
    assert "cannot listen on 203.0.113.7" in refused(capsys, str(finished), "--host", "203.0.113.7")


def test_what_is_no_scene_is_said_so(tmp_path, capsys):
    assert "nothing to serve" in refused(capsys)
    assert "is not there" in refused(capsys, str(tmp_path / "nowhere"))
    assert "there is no library at" in refused(capsys, str(tmp_path))


def test_an_unfinished_scene_is_said_so(finished, tmp_path, capsys):
    from gags.workspace import Workspace

    Workspace.create(tmp_path / "new")
    assert "not finished" in refused(capsys, str(tmp_path / "new"))


def test_without_the_extra_it_says_which(finished, monkeypatch):
    monkeypatch.setattr(run, "NEEDED", ("no_such_module",))
    with pytest.raises(GagsError, match=r"pip install 'gags\[serve\]'"):
        run.serve(finished)


def test_scenes_of_one_name_are_told_apart(finished, tmp_path):
    again = tmp_path / "ws"
    again.symlink_to(finished)
    scenes, libraries = scenes_and_libraries([str(finished), str(again)])
    assert list(scenes) == ["ws", "ws-2"]
    assert libraries == {}


def test_listening_to_others_warns(capsys):
    from gags.serve.settings import ServeSettings

    run._greet(ServeSettings(host="0.0.0.0"), 80, "", 2, 1)
    out, err = capsys.readouterr()
    assert out.startswith("2 scenes, 1 library at http://0.0.0.0:80")
    assert "no token" in out
    assert "other machines reach it" in err


def test_a_folder_that_is_no_library_is_said_so(tmp_path, capsys):
    pytest.importorskip("lancedb")
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").write_bytes(b"")
    assert "photos" in refused(capsys, str(tmp_path / "photos"))
