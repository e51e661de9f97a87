"""The crew: workers on the machines of a cluster that take one job after the other. Imports Ray.

A worker is an actor with a share of a machine. It is hired when jobs wait, keeps its models, and leaves when
there is nothing to do. If it is lost, with its machine or alone, another one gets its job.
"""

import contextlib
import queue
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from gags import errors
from gags.errors import GagsError
from gags.scale.cluster import Share, load_ray, shares_now
from gags.scale.events import Event, Failed, Finished, NeedsFiles
from gags.scale.jobs import Job, JobRunner

ATTEMPTS = 5  # workers that a job may lose: one that needs too much memory kills every one of them
IDLE_SECONDS = 5.0  # a worker without a job keeps its share so long: the next job need not load models anew
AHEAD = 1  # workers to ask for beyond the room there is, so that a cluster that grows by demand grows
MOST_WORKERS = 512  # each has a thread in the driver
POLL_SECONDS = 0.5


class WorkerLostError(Exception):
    """A worker ended in the middle of a job."""


class WorkerError(Exception):
    """A fault of the program on a worker; its note is the traceback there."""

    def __init__(self, message: str, details: str) -> None:
        super().__init__(message)
        self.add_note(details)


class Worker:
    """What runs on the cluster: a `JobRunner` that can be called from elsewhere."""

    def __init__(self) -> None:
        self._runner = JobRunner(load_ray().get)

    def ready(self, check: Callable[[], str]) -> str:
        """Say what is wrong with this machine, if anything is: it may have joined after all were checked."""
        return check()

    def do(self, job: Job) -> Iterator[list[Event]]:
        """Do a job, and tell about it."""
        yield from self._runner.run(job)

    def close(self) -> None:
        """Remove files that only this worker knows."""
        self._runner.close()


@dataclass(eq=False)
class Task:
    """A job on its way.

    Attributes:
        job: The job.
        hear: Takes its events; those of one task come one after the other.
        files: Gives `Job.files` as of now, once a worker needs them.
        rank: Jobs of a lower rank are done first.
        lost: Called when a worker is lost with this job.
        result: What the job comes to.
        losses: Workers that it has lost.
    """

    job: Job
    hear: Callable[[Event], None]
    files: Callable[[], dict[str, tuple[str, Any]]]
    rank: int
    lost: Callable[[WorkerLostError], None] = lambda lost: None
    result: "Future[Any]" = field(default_factory=Future)
    losses: int = 0


class Crew:
    """Workers that come and go as jobs need them.

    Args:
        share: What each takes of a machine.
        check: Says on a worker's machine what is wrong with it, see `gags.scale.cluster.check_of`.
    """

    def __init__(self, share: Share, check: Callable[[], str]) -> None:
        self._share, self._check = share, check
        self._waiting: queue.PriorityQueue[tuple[int, int, Task]] = queue.PriorityQueue()
        self._numbers = iter(range(1 << 62))
        self._lock = threading.Lock()
        self._members: set[threading.Thread] = set()
        self._busy = 0  # members whose worker does a job
        self._actors: set[Any] = set()
        self._ended = threading.Event()
        self._ray = load_ray()
        self._actor = self._ray.remote(Worker)

    def __enter__(self) -> "Crew":
        return self

    def __exit__(self, *_: object) -> None:
        """Dismiss all workers; jobs that are not done are dropped."""
        self._ended.set()
        self._drop_all(GagsError("the run has ended before"))
        with self._lock:
            members, actors, busy = list(self._members), list(self._actors), self._busy
        for actor in actors if busy else []:
            self._kill(actor)
        for member in members:
            member.join(timeout=2 * IDLE_SECONDS)

    def submit(self, task: Task) -> "Future[Any]":
        """Have a job done; its events are heard in another thread."""
        self._waiting.put((task.rank, next(self._numbers), task))
        if self._ended.is_set():
            self._drop_all(GagsError("the run has ended before"))
        else:
            self._hire()
        return task.result

    def _hire(self) -> None:
        room = min(MOST_WORKERS, max(1, shares_now(self._share)) + AHEAD)
        with self._lock:
            free = len(self._members) - self._busy
            wanted = min(self._waiting.qsize() - free, room - len(self._members))
            for _ in range(wanted):
                member = threading.Thread(target=self._member, name="gags-crew", daemon=True)
                self._members.add(member)
                member.start()

    def _member(self) -> None:
        """The life of one worker after the other, seen from the driver."""
        actor = None
        try:
            while not self._ended.is_set():
                actor = actor or self._arrived()
                task = self._next() if actor is not None else None
                if task is None:
                    break
                if not self._done(actor, task):
                    actor = None
        except Exception as error:  # no job may wait for ever, whatever happens here
            self._drop_all(error)
        finally:
            with self._lock:
                self._members.discard(threading.current_thread())
            self._dismiss(actor)
        if not self._ended.is_set() and not self._waiting.empty():
            self._hire()  # a job came when this one was about to leave

    def _arrived(self) -> Any:
        """A new worker that is there; None if no job waits for it any more."""
        failures = 0
        while True:
            actor = self._actor.options(
                num_cpus=self._share.cpus,
                num_gpus=self._share.gpus,
                max_restarts=0,
                scheduling_strategy="SPREAD",
                runtime_env={"env_vars": self._share.environment()},
            ).remote()
            with self._lock:
                self._actors.add(actor)
            answer = actor.ready.remote(self._check)
            try:
                while not self._ray.wait([answer], timeout=POLL_SECONDS)[0]:
                    if self._ended.is_set() or self._waiting.empty():
                        self._kill(actor)
                        return None
                problem = self._ray.get(answer)
                if not problem:
                    return actor
            except self._ray.exceptions.RayError as error:
                problem = _first_line(error)
            failures += 1
            self._kill(actor)
            if self._ended.is_set():
                return None
            if failures >= ATTEMPTS:
                raise GagsError(f"workers cannot start: {problem}")
            time.sleep(POLL_SECONDS)

    def _next(self) -> Task | None:
        """The next job; None if there is none for some time."""
        until = time.monotonic() + IDLE_SECONDS
        while not self._ended.is_set():
            try:
                task = self._waiting.get(timeout=POLL_SECONDS)[2]
            except queue.Empty:
                if time.monotonic() >= until:
                    return None
                continue
            if task.losses or task.result.set_running_or_notify_cancel():
                return task
        return None

    def _done(self, actor: Any, task: Task) -> bool:
        """Have a worker do a job; False if the worker can do no other."""
        with self._lock:
            self._busy += 1
        try:
            task.result.set_result(self._ending(actor, task))
            return True
        except WorkerLostError as lost:
            self._forget(actor)
            self._lose(task, lost)
        except (GagsError, WorkerError) as error:
            task.result.set_exception(error)
            return True
        except Exception as error:  # of the driver, such as a full disk; the worker is still at the job
            self._kill(actor)
            task.result.set_exception(error)
        finally:
            with self._lock:
                self._busy -= 1
        return False

    def _ending(self, actor: Any, task: Task) -> Any:
        """What a job comes to on this worker."""
        job = task.job
        while True:
            last = None
            for last in self._events(actor, job):
                task.hear(last)
            if isinstance(last, Finished):
                return last.result
            if isinstance(last, Failed):
                raise _error(last)
            if not isinstance(last, NeedsFiles):
                raise WorkerLostError("it ended without a word")
            job = replace(task.job, files=task.files())

    def _events(self, actor: Any, job: Job) -> Iterator[Event]:
        lost = self._ray.exceptions
        try:
            for message in actor.do.options(num_returns="streaming").remote(job):
                yield from self._ray.get(message)
        except lost.RayTaskError as error:
            raise WorkerError(_first_line(error), str(error)) from error
        except lost.RayError as error:
            raise WorkerLostError(_first_line(error)) from error

    def _lose(self, task: Task, lost: WorkerLostError) -> None:
        if self._ended.is_set():
            task.result.set_exception(lost)
            return
        task.losses += 1
        task.lost(lost)
        if task.losses >= ATTEMPTS:
            what = f"{task.losses} workers were lost at it, the last one since {lost}"
            task.result.set_exception(GagsError(f"{what}; do the machines have enough memory?"))
        else:
            self.submit(task)

    def _drop_all(self, error: Exception) -> None:
        """Let no job wait where no worker can come."""
        while True:
            try:
                task = self._waiting.get_nowait()[2]
            except queue.Empty:
                return
            if task.losses or task.result.set_running_or_notify_cancel():
                task.result.set_exception(error)

    def _dismiss(self, actor: Any) -> None:
        if actor is None:
            return
        with contextlib.suppress(Exception):  # it may be gone, and Ray with it
            self._ray.get(actor.close.remote(), timeout=IDLE_SECONDS)
        self._kill(actor)

    def _kill(self, actor: Any) -> None:
        self._forget(actor)
        with contextlib.suppress(Exception):
            self._ray.kill(actor)

    def _forget(self, actor: Any) -> None:
        with self._lock:
            self._actors.discard(actor)

    def put(self, content: np.ndarray) -> Any:
        """Make the content of a file available to all workers."""
        return self._ray.put(content)


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def _error(failed: Failed) -> Exception:
    """The exception that a job failed with, as far as it is one of ours."""
    if not failed.expected:
        return WorkerError(failed.message, failed.details)
    kind = getattr(errors, failed.kind, GagsError)
    error = kind.__new__(kind, failed.message)  # some kinds are made of more than a message
    error.args = (failed.message,)
    return error
