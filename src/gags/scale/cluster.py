"""The cluster: connecting to Ray, what its machines offer, and whether they can do the work. Imports Ray."""

import logging
import os
import socket
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from gags._version import __version__
from gags.errors import GagsError
from gags.models.choose import AUTO, SMALL_ENCODER, SMALL_SEGMENTER
from gags.models.known import Kind
from gags.pipeline.settings import RunSettings
from gags.progress import Reporter, seconds
from gags.threads import settle_command

LOCAL = "local"
"""Address that stands for a cluster on this machine, which ends with the run."""

REACH_SECONDS = 10.0  # a machine that does not answer within this time is not there
PROBE_SECONDS = 300.0  # the first import of a package on a machine reads gigabytes, perhaps over a network
ROOM_SECONDS = 600.0  # a cluster that grows by demand starts a machine in minutes
POLL_SECONDS = 1.0


@dataclass(frozen=True)
class Share:
    """What one worker takes of a machine.

    Attributes:
        cpus: Cores; its threads are no more than these.
        gpus: GPUs; a fraction lets several workers use one.
    """

    cpus: int
    gpus: float = 0.0

    def fitting(self, cpus: float, gpus: float) -> int:
        """How many such shares a machine of so many cores and GPUs holds."""
        by_cpus = int(cpus / self.cpus + 1e-9)
        return min(by_cpus, int(gpus / self.gpus + 1e-9)) if self.gpus else by_cpus

    def environment(self) -> dict[str, str]:
        """Variables that hold a worker's threads to its share; read when PyTorch and Numba are loaded."""
        count = str(self.cpus)
        found = {"OMP_NUM_THREADS": count, "MKL_NUM_THREADS": count}  # Numba's: `gags.threads`
        settle_command(found)
        return found

    def __str__(self) -> str:
        gpus = f"{self.gpus:g} GPU and " if self.gpus else ""
        return f"{gpus}{self.cpus} core{'s' if self.cpus > 1 else ''}"


@dataclass(frozen=True)
class Machine:
    """A machine of the cluster.

    Attributes:
        node: Ray's id of it.
        address: Its IP address.
        cpus: Cores.
        gpus: GPUs.
    """

    node: str
    address: str
    cpus: float
    gpus: float


def load_ray() -> Any:
    """The module `ray`.

    Raises:
        GagsError: If the extra `scale` is not installed.
    """
    # Its own lines on stdout about every worker that is lost would stand between ours.
    os.environ.setdefault("RAY_DEDUP_LOGS_SKIP_REGEX", ".*")
    try:
        import ray
    except ImportError as error:
        raise GagsError("--ray needs the extra `scale`; pip install 'gags[scale]'") from error
    return ray


@contextmanager
def connected(address: str) -> Iterator[None]:
    """Connect to a cluster, or start one on this machine; a connection that exists is used and kept.

    Args:
        address: "local", "auto" (the cluster that this machine belongs to), or HOST:PORT of its head.

    Raises:
        GagsError: If Ray is not installed or there is no such cluster.
    """
    ray = load_ray()
    if ray.is_initialized():
        yield
        return
    if address != LOCAL:
        _check_address(address)
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # a cluster that we start reports to nobody
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "1")  # workers without a GPU see none
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ray.init(
                address=address,
                include_dashboard=False if address == LOCAL else None,
                logging_level=logging.ERROR,
                log_to_driver=False,
            )
    except Exception as error:  # Ray raises most kinds here
        first = str(error).strip().splitlines()
        raise GagsError(
            f"cannot connect to the Ray cluster {address} ({first[0] if first else type(error).__name__}); "
            "is this machine one of the cluster's (`ray start --address=…`), with the same versions of Ray "
            "and Python?"
        ) from error
    try:
        yield
    finally:
        ray.shutdown()


def _check_address(address: str) -> None:
    """Refuse an address that is none, or where nothing listens: Ray itself tries for minutes."""
    if address.startswith("ray://"):
        raise GagsError(
            f"{address} is an address for clients from outside; run gags on a machine of the cluster, with "
            "--ray auto (`ray job submit` starts it there)"
        )
    if address == "auto":
        return
    host, colon, port = address.rpartition(":")
    if not (colon and host and port.isdecimal()):
        raise GagsError(
            f"--ray {address} is no address; give local, auto, or HOST:PORT of the cluster's head"
        )
    try:
        socket.create_connection((host, int(port)), REACH_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise GagsError(
            f"there is no Ray cluster at {address} ({error}); check --ray, or start one: `ray start --head`"
        ) from error


def machines() -> list[Machine]:
    """The machines that are there now."""
    ray = load_ray()
    return [
        Machine(
            node["NodeID"],
            node["NodeManagerAddress"],
            node["Resources"].get("CPU", 0.0),
            node["Resources"].get("GPU", 0.0),
        )
        for node in ray.nodes()
        if node["Alive"]
    ]


def shares_now(share: Share) -> int:
    """How many workers of this share the cluster has room for."""
    return sum(share.fitting(machine.cpus, machine.gpus) for machine in machines())


def choose_share(scenes: int, cpus: int | None, gpus: float | None) -> Share:
    """What one worker takes: all that a machine has, divided among the scenes that will be there at once.

    Args:
        scenes: How many scenes there are.
        cpus: Cores a worker, if the user says so.
        gpus: GPUs a worker, likewise. Default: one where there are GPUs.

    Raises:
        GagsError: If a number is none that can be.
    """
    if cpus is not None and cpus < 1:
        raise GagsError(f"--cpus-per-scene {cpus} is too few; give 1 or more")
    if gpus is not None and (gpus < 0 or (gpus > 1 and gpus != int(gpus))):
        raise GagsError(f"--gpus-per-scene {gpus:g}: give 0, a fraction of one GPU, or whole GPUs")
    there = machines()
    if gpus is None:
        gpus = 1.0 if any(machine.gpus >= 1 for machine in there) else 0.0
    if cpus is None:
        fit = [m for m in there if m.cpus >= 1 and m.gpus >= gpus] or [m for m in there if m.cpus >= 1]
        if gpus:
            cpus = min((int(m.cpus * min(1.0, gpus / max(m.gpus, gpus))) for m in fit), default=1)
        else:
            cpus = min(int(min(m.cpus for m in fit)), int(sum(m.cpus for m in fit)) // scenes) if fit else 1
    return Share(max(1, cpus), float(gpus))


def wait_for_room(share: Share, address: str, progress: Reporter) -> None:
    """Wait until the cluster has room for a worker; one that grows by demand may begin without.

    Raises:
        GagsError: If it gets none.
    """
    offered = ", ".join(f"{m.address}: {m.cpus:g} cores, {m.gpus:g} GPUs" for m in machines()) or "none"
    message = f"no machine of the cluster offers {share} ({offered})"
    until = time.monotonic() + (0.0 if address == LOCAL else ROOM_SECONDS)
    told = False
    while not shares_now(share):
        if time.monotonic() >= until:
            raise GagsError(f"{message}; ask for less with --gpus-per-scene and --cpus-per-scene")
        if not told:
            progress.warn(f"{message}; waiting for one, at most {seconds(ROOM_SECONDS)}")
            told = True
        time.sleep(POLL_SECONDS)


def check_machines(share: Share, settings: RunSettings, progress: Reporter) -> None:
    """Make sure before the work starts that each machine with room has the same gags, and the models.

    Raises:
        GagsError: If one has not; names it, and what to do.
    """
    ray = load_ray()
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    probe = ray.remote(num_cpus=0, max_retries=2)(check_of(settings, share))
    asked = {
        machine: probe.options(
            scheduling_strategy=NodeAffinitySchedulingStrategy(machine.node, soft=False),
            runtime_env={"env_vars": share.environment()},
        ).remote()
        for machine in machines()
        if share.fitting(machine.cpus, machine.gpus)
    }
    problems = []
    for machine, answer in asked.items():
        try:
            problem = ray.get(answer, timeout=PROBE_SECONDS)
        except ray.exceptions.RayError as error:
            if machine.node not in {other.node for other in machines()}:
                continue  # it has left the cluster meanwhile
            problem = f"it does not answer ({str(error).strip().splitlines()[0]})"
        if problem:
            problems.append(f"{machine.address}: {problem}")
    if problems:
        raise GagsError("not all machines of the cluster can do the work: " + "; ".join(problems))
    progress.say(f"{len(asked)} machine{'s' if len(asked) > 1 else ''}, {share} a worker")


def check_of(settings: RunSettings, share: Share) -> Callable[[], str]:
    """A function that says what is wrong with the machine it runs on; "" if nothing is."""
    return _probe(__version__, _models_to_check(settings, share))


def _models_to_check(settings: RunSettings, share: Share) -> list[tuple[Kind, str]]:
    """Models that every machine must have: those that were named, and what "auto" comes down to at least."""
    encoder = SMALL_ENCODER if settings.encoder == AUTO else settings.encoder
    segmenter = SMALL_SEGMENTER if settings.segmenter == AUTO else settings.segmenter
    on_gpu = settings.segmenter == AUTO and share.gpus  # there, "auto" may do without the small one
    return [("encoder", encoder)] if on_gpu else [("encoder", encoder), ("segmenter", segmenter)]


def _probe(version: str, names: list[tuple[Kind, str]]) -> Callable[[], str]:
    """A function that says what is wrong with the machine it runs on; it is sent whole, not by its name."""

    def probe() -> str:
        try:
            from gags import models
            from gags._version import __version__
            from gags.errors import GagsError
        except ImportError as error:
            return f"gags cannot be imported ({error}); install version {version} there"
        if __version__ != version:
            return f"gags {__version__} is installed, and {version} here; install the same version"
        problems = []
        for kind, name in names:
            try:
                models.find(name, kind)
                models.ensure(name)
            except GagsError as error:
                problems.append(" ".join(str(error).split()))
        return "; ".join(problems)

    return probe
