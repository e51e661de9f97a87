"""Connecting to a cluster, dividing it, and refusing one that cannot do the work."""

import platform
import socket
import sys

import pytest
from tests.helpers.heard import Heard

import gags
from gags.errors import GagsError
from gags.pipeline.settings import RunSettings
from gags.progress import SILENT
from gags.scale import cluster
from gags.scale.cluster import Machine, Share, choose_share, connected, wait_for_room
from gags.scale.crew import _error
from gags.scale.events import Failed


@pytest.fixture
def offers(monkeypatch):
    """Sets what the machines of the cluster have, as pairs of cores and GPUs."""

    def offer(*pairs: tuple[float, float]) -> None:
        there = [Machine(str(n), f"10.0.0.{n}", cpus, gpus) for n, (cpus, gpus) in enumerate(pairs)]
        monkeypatch.setattr(cluster, "machines", lambda: there)

    return offer


@pytest.mark.parametrize(
    ("share", "cpus", "gpus", "fitting"),
    [
        (Share(2), 7, 0, 3),
        (Share(1, 0.3), 8, 1, 3),
        (Share(4, 0.1), 8, 1, 2),
        (Share(1, 1.0), 8, 0, 0),
        (Share(1, 2.0), 8, 4, 2),
    ],
)
def test_how_many_shares_a_machine_holds(share, cpus, gpus, fitting):
    assert share.fitting(cpus, gpus) == fitting


@pytest.mark.parametrize(
    ("pairs", "scenes", "asked", "expected"),
    [
        ([(2, 0)], 6, (None, None), Share(1)),
        ([(8, 0), (4, 0)], 1, (None, None), Share(4)),  # one worker a machine
        ([(8, 0), (8, 0)], 4, (None, None), Share(4)),
        ([(4, 0), (32, 4)], 9, (None, None), Share(8, 1.0)),  # the head has no GPU
        ([(32, 4)], 9, (None, 0.5), Share(4, 0.5)),
        ([(32, 4)], 9, (None, 0.0), Share(3)),
        ([(32, 4)], 9, (5, 2.0), Share(5, 2.0)),
        ([], 3, (None, None), Share(1)),
    ],
)
def test_what_a_worker_takes(offers, pairs, scenes, asked, expected):
    offers(*pairs)
    assert choose_share(scenes, *asked) == expected


def test_threads_of_a_worker_follow_its_share(monkeypatch):
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    settled = {"OMP_NUM_THREADS": "3", "MKL_NUM_THREADS": "3", "OPENBLAS_NUM_THREADS": "1"}
    assert Share(3).environment() == settled


@pytest.mark.parametrize(("cpus", "gpus"), [(0, None), (None, -1.0), (None, 1.5)])
def test_impossible_shares_are_refused(offers, cpus, gpus):
    offers((8, 4))
    with pytest.raises(GagsError, match="-per-scene"):
        choose_share(1, cpus, gpus)


def test_a_local_cluster_without_room_is_refused_at_once_and_another_is_waited_for(offers, monkeypatch):
    offers((2, 0))
    with pytest.raises(GagsError, match=r"offers 1 GPU and 1 core \(10.0.0.0: 2 cores, 0 GPUs\)"):
        wait_for_room(Share(1, 1.0), "local", SILENT)
    heard = Heard()
    monkeypatch.setattr(cluster.time, "sleep", lambda seconds: offers((2, 0), (8, 1)))
    wait_for_room(Share(1, 1.0), "auto", heard)
    assert len(heard.warned) == 1


def _refusal(address: str) -> str:
    with pytest.raises(GagsError) as refused, connected(address):
        pass
    return str(refused.value)


def test_without_ray_the_extra_is_named(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(GagsError, match=r"pip install 'gags\[scale\]'"):
        gags.run_many([tmp_path], tmp_path / "out", ray="local")
    assert not (tmp_path / "out").exists()


def test_addresses_that_lead_nowhere_are_refused_in_one_line():
    pytest.importorskip("ray")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    message = _refusal(f"127.0.0.1:{port}")
    assert message.startswith(f"there is no Ray cluster at 127.0.0.1:{port} (")
    assert "is no address" in _refusal("somewhere")
    assert "is no address" in _refusal("host:port")
    assert "--ray auto" in _refusal("ray://head:10001")


@pytest.mark.parametrize("kind", ["CaptureError", "ModelError", "GagsError", "FileNotFoundError"])
def test_errors_of_workers_keep_their_kind(kind):
    error = _error(Failed("no photos", kind, True, "Traceback …"))
    assert type(error) is getattr(gags, kind, GagsError)
    assert str(error) == "no photos"


def test_faults_of_workers_keep_their_traceback():
    error = _error(Failed("oh", "ZeroDivisionError", False, "Traceback: line 7"))
    assert not isinstance(error, GagsError)
    assert error.__notes__ == ["Traceback: line 7"]


def test_a_machine_with_another_version_or_without_a_model_says_so():
    (version,) = {gags.__version__}
    assert cluster._probe(version, [])() == ""
    assert f"gags {version} is installed, and 9.9 here" in cluster._probe("9.9", [])()
    assert "no encoder is called 'nonsense'" in cluster._probe(version, [("encoder", "nonsense")])()


def test_a_machine_without_gags_says_so(monkeypatch):
    probe = cluster._probe("1.0", [])
    monkeypatch.setitem(sys.modules, "gags._version", None)
    assert probe().startswith("gags cannot be imported (")


def test_models_that_are_checked_are_those_that_every_machine_needs():
    cpu, gpu, auto = Share(1), Share(1, 1.0), RunSettings()
    named = RunSettings(segmenter="a/b", encoder="c/d")
    assert cluster._models_to_check(auto, cpu) == [("encoder", "lite"), ("segmenter", "mobile-sam")]
    assert cluster._models_to_check(auto, gpu) == [("encoder", "lite")]
    assert cluster._models_to_check(named, gpu) == [("encoder", "c/d"), ("segmenter", "a/b")]
