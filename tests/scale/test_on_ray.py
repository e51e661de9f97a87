"""Scenes on a cluster of two machines (two Ray nodes): the same files, whatever is killed on the way."""

import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import numba
import pytest
import torch
from tests.helpers.dying_worker import KILLS
from tests.helpers.heard import Heard
from tests.helpers.tiny_scenes import results_of, tiny_settings, write_tiny

import gags
from gags.scale import many
from gags.scale.locks import driving
from gags.workspace import Workspace

ray = pytest.importorskip("ray")

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return write_tiny(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def expected(tiny):
    """What one process with one thread makes of both captures."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    numba.set_num_threads(1)
    try:
        results = gags.run_many([tiny / "one", tiny / "two"], tiny / "alone", tiny_settings(tiny))
    finally:
        torch.set_num_threads(threads)
        numba.set_num_threads(numba.config.NUMBA_NUM_THREADS)  # type: ignore[attr-defined]
    assert [(result.name, result.error) for result in results] == [("one", None), ("two", None)]
    return {result.name: results_of(result.out) for result in results}


@pytest.fixture(scope="module")
def kills(tmp_path_factory):
    return tmp_path_factory.mktemp("kills")


@pytest.fixture(scope="module")
def cluster(kills):
    """Two nodes of one core each; what connects to it gets workers that die on demand."""
    from ray.cluster_utils import Cluster

    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ["RAY_worker_niceness"] = "0"  # noqa: SIM112 - 15 by default: slow beside others
    os.environ[KILLS] = str(kills)
    nodes = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    nodes.add_node(num_cpus=1)
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    hook = {
        "worker_process_setup_hook": "tests.helpers.dying_worker.install",
        "env_vars": {KILLS: str(kills), "PYTHONPATH": path},
    }
    ray.init(nodes.address, log_to_driver=False, logging_level="error", runtime_env=hook)
    yield nodes
    ray.shutdown()
    nodes.shutdown()


@pytest.mark.usefixtures("cluster")
def test_a_worker_killed_in_each_stage_changes_nothing(tiny, expected, kills, tmp_path):
    stages = ("reconstruct", "describe", "distill", "things", "report")
    for stage in stages:
        (kills / stage).touch()
    heard = Heard()
    (result,) = gags.run_many([tiny / "one"], tmp_path, tiny_settings(tiny), ray="auto", progress=heard)
    assert result.error is None
    assert result.lost == dict.fromkeys(stages, 1)
    assert results_of(tmp_path / "one") == expected["one"]
    assert (tmp_path / "one" / "report" / "index.html").exists()
    assert list((tmp_path / "one").rglob("*.tmp*")) == []
    assert sum("a worker was lost" in line for line in heard.warned) == 5

    before = {
        path: path.stat().st_mtime_ns for path in (tmp_path / "one").rglob("*") if ".run" not in path.parts
    }
    scene = gags.run_on_ray(tiny / "one", tmp_path / "one", tiny_settings(tiny), ray="auto")
    assert scene.workspace.root == tmp_path / "one"
    assert {path: path.stat().st_mtime_ns for path in before} == before  # nothing is done twice


@pytest.mark.usefixtures("cluster")
def test_machines_that_cannot_do_the_work_are_named_before_it_starts(tiny, tmp_path, monkeypatch):
    settings = replace(tiny_settings(tiny), encoder="nobody/nothing")
    with pytest.raises(gags.GagsError, match=r"not all machines .*: \S+: .*nobody/nothing") as refused:
        gags.run_many([tiny / "one"], tmp_path, settings, ray="auto")
    assert str(refused.value).count("nobody/nothing") >= 2  # both machines
    monkeypatch.setattr("gags.scale.cluster.__version__", "9.9")
    with pytest.raises(gags.GagsError, match=f"gags {gags.__version__} is installed, and 9.9 here"):
        gags.run_many([tiny / "one"], tmp_path, tiny_settings(tiny), ray="auto")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("cluster")
def test_workers_that_do_not_share_the_disk_send_their_files(tiny, expected, kills, tmp_path, monkeypatch):
    # The mark in the scene's folder is not the one that the workers look for: to them it is another disk.
    other = lambda workspace, run, progress: driving(workspace, "other", progress)  # noqa: E731
    monkeypatch.setattr(many, "driving", other)
    (kills / "describe").touch()
    captures = [tiny / "one", tiny / "two", tiny / "sam"]
    results = gags.run_many(captures, tmp_path, tiny_settings(tiny), ray="auto")
    assert [result.error is None for result in results] == [True, True, False]
    assert "sam" in (results[2].error or "")
    assert not (tmp_path / "sam").exists()
    assert {"one": results_of(tmp_path / "one"), "two": results_of(tmp_path / "two")} == expected
    assert sum(result.lost.get("describe", 0) for result in results) == 1
    record = Workspace.open(tmp_path / "one").record("things")
    assert record is not None
    assert (tmp_path / "one" / "report" / "index.html").exists()
    assert "gags-workers" not in (tmp_path / "one" / "capture.json").read_text()


def test_a_driver_killed_and_a_machine_stopped(cluster, tiny, expected, tmp_path):
    settings = tiny_settings(tiny)
    command = [
        sys.executable, "-m", "gags.cli", "run-many", str(tiny / "one"), str(tiny / "two"),
        "--out", str(tmp_path), "--ray", cluster.address,
        "--reconstruct.steps", "30", "--distill.steps", "20",
        "--segmenter", settings.segmenter, "--encoder", settings.encoder, "--preset", "lite",
        "--describe.min-area", "6", "--describe.prompts-per-patch", "1", "--describe.min-iou", "0",
        "--describe.min-stability", "0", "--describe.min-score", "0",
    ]  # fmt: skip
    driver = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    features = tmp_path / "one" / "features"
    _wait_until(lambda: driver.poll() is not None or len(list(features.glob("[!.]*.safetensors"))) >= 2)
    assert driver.poll() is None, driver.communicate()[1]
    driver.send_signal(signal.SIGKILL)
    driver.communicate()
    done = {
        path: path.stat().st_mtime_ns for path in [features.parent / "splats.ply", *features.glob("[!.]*.s*")]
    }

    node = cluster.add_node(num_cpus=1)

    def stop_a_machine() -> None:
        _wait_until(lambda: (tmp_path / "two" / "splats.ply").exists())
        cluster.remove_node(node)

    stopping = threading.Thread(target=stop_a_machine)
    stopping.start()
    results = gags.run_many([tiny / "one", tiny / "two"], tmp_path, settings, ray="auto")
    stopping.join()
    assert [result.error for result in results] == [None, None]
    assert {name: results_of(tmp_path / name) for name in ("one", "two")} == expected
    assert {path: path.stat().st_mtime_ns for path in done} == done
    for name in ("one", "two"):
        scene = Workspace.open(tmp_path / name)
        assert not scene.describe_time.exists()
        record = scene.record("describe")
        assert record is not None
        assert record.seconds > 0


def _wait_until(condition, seconds: float = 600.0) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.02)
