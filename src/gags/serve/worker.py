"""One thread that answers all questions; those that wait for the same scene are answered together.

A question uses all cores, or the GPU, by itself: several at once would only stand in each other's way. But
texts that are embedded and located together cost less than one after the other.
"""

import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from gags.errors import GagsError
from gags.models.device import out_of_memory
from gags.query.relevancy import Queries
from gags.scene import Scene
from gags.serve.pool import ScenePool

MOST_TOGETHER = 64  # texts


class TooManyWaiting(GagsError):  # noqa: N818  # what happened, as clients read it
    """More questions wait than the service allows."""


@dataclass(eq=False)
class _Job:
    scene: str | None
    texts: tuple[str, ...]
    work: Callable[..., Any]
    answer: Future = field(default_factory=Future)


class Worker:
    """Answers questions in the order in which they came, those of one scene together.

    Args:
        pool: The scenes.
        most_waiting: Further questions are refused.
        told: Called with the number of questions of every batch.
    """

    def __init__(
        self, pool: ScenePool, most_waiting: int, told: Callable[[int], None] = lambda count: None
    ) -> None:
        self._pool, self._most, self._told = pool, most_waiting, told
        self._jobs: deque[_Job] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="answers", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Questions that nobody works on yet."""
        return len(self._jobs)

    def ask(self, scene: str, texts: Sequence[str], work: Callable[[Scene, Queries], Any]) -> Future:
        """Have a question about texts answered.

        Args:
            scene: Name of the scene.
            texts: What to look for, at least one text.
            work: Called with the scene and the texts made ready; may be called in any thread.

        Returns:
            What `work` will have returned or raised.

        Raises:
            TooManyWaiting: If more questions wait than are allowed.
        """
        return self._put(_Job(scene, tuple(texts), work))

    def do(self, scene: str | None, work: Callable[..., Any]) -> Future:
        """Have something else done: `work` gets the scene, or nothing if None is named. See `ask`."""
        return self._put(_Job(scene, (), work))

    def _put(self, job: _Job) -> Future:
        with self._changed:
            if self._closed or len(self._jobs) >= self._most:
                raise TooManyWaiting(f"{len(self._jobs)} questions wait already; come back in a moment")
            self._jobs.append(job)
            self._changed.notify()
        return job.answer

    def close(self) -> None:
        """Stop; questions that wait are given up."""
        with self._changed:
            self._closed = True
            for job in self._jobs:
                job.answer.cancel()
            self._jobs.clear()
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        while batch := self._next():
            # A client that has left cancels its question, which is then not begun.
            batch = [job for job in batch if job.answer.set_running_or_notify_cancel()]
            if batch:
                self._told(len(batch))
                self._answer(batch)

    def _next(self) -> list[_Job]:
        """The first question, and those that can be answered with it; none once closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._jobs or self._closed)
            if self._closed:
                return []
            first = self._jobs.popleft()
            batch, texts = [first], len(first.texts)
            if first.texts:
                for job in [job for job in self._jobs if job.texts and job.scene == first.scene]:
                    texts += len(job.texts)
                    if texts > MOST_TOGETHER:
                        break
                    batch.append(job)
                    self._jobs.remove(job)
            return batch

    def _answer(self, batch: list[_Job]) -> None:
        again: list[_Job] = []  # with the memory of other scenes, once the error has let go of its own
        try:
            scene = None if batch[0].scene is None else self._pool.get(batch[0].scene)
            texts = list(dict.fromkeys(text for job in batch for text in job.texts))
            queries = None
            if scene is not None and texts:
                queries = scene.queries(texts)
                scene.locate(queries)  # remembered by the scene, so that each job finds its own done
        except Exception as error:
            if self._has_room_now(error, batch[0].scene):
                again = batch
            elif len(batch) > 1:  # one of them may be to blame, and fails alone
                for job in batch:
                    self._answer([job])
            else:
                batch[0].answer.set_exception(error)
        else:
            again = self._finish(batch, scene, texts, queries)
        if again:
            self._answer(again)

    def _finish(
        self, batch: list[_Job], scene: Scene | None, texts: list[str], queries: Queries | None
    ) -> list[_Job]:
        """Do the rest of each job alone; returns those for which memory was made meanwhile."""
        again = []
        for job in batch:
            given: list[Any] = [] if scene is None else [scene]
            if queries is not None:
                given.append(queries.subset([texts.index(text) for text in job.texts]))
            try:
                job.answer.set_result(job.work(*given))
            except Exception as error:
                if self._has_room_now(error, job.scene):
                    again.append(job)
                else:
                    job.answer.set_exception(error)
        return again

    def _has_room_now(self, error: Exception, scene: str | None) -> bool:
        """Whether memory ran out, and other scenes could be dropped."""
        return out_of_memory(error) and self._pool.make_room(scene)
