"""Questions are answered by one thread, those of one scene together."""

import threading
from types import SimpleNamespace

import pytest
import torch

pytest.importorskip("fastapi")
from gags.errors import QueryError
from gags.serve.worker import TooManyWaiting, Worker


class Queries:
    def __init__(self, texts):
        self.texts = tuple(texts)

    def subset(self, rows):
        return Queries(self.texts[row] for row in rows)


class StandIn:
    """A scene that remembers which texts came together."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.room: list[str] = []  # what other scenes could leave

    def queries(self, texts):
        self.batches.append(list(texts))
        if "bad" in texts:
            raise QueryError("bad text")
        return Queries(texts)

    def locate(self, queries):
        if "large" in queries.texts and self.room:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return [[] for _ in queries.texts]


@pytest.fixture
def scenes():
    return {"a": StandIn(), "b": StandIn()}


@pytest.fixture
def worker(scenes):
    pool = SimpleNamespace(
        get=scenes.__getitem__, make_room=lambda keep: bool(scenes[keep].room and scenes[keep].room.pop())
    )
    worker = Worker(pool, 6)  # type: ignore[arg-type]
    yield worker
    worker.close()


def texts_of(scene, queries):
    return queries.texts


def held(worker):
    """Keeps the worker busy until the event that it returns is set."""
    begun, go_on = threading.Event(), threading.Event()

    def wait():
        begun.set()
        go_on.wait(10)

    worker.do(None, wait)
    assert begun.wait(10)
    return go_on


def test_what_waits_for_one_scene_is_asked_together(worker, scenes):
    go_on = held(worker)
    answers = [
        worker.ask(name, texts, texts_of) for name, texts in zip("abab", ["xy", "z", "yw", "x"], strict=True)
    ]
    go_on.set()
    assert [answer.result(10) for answer in answers] == [("x", "y"), ("z",), ("y", "w"), ("x",)]
    assert scenes["a"].batches == [["x", "y", "w"]]
    assert scenes["b"].batches == [["z", "x"]]


def test_more_than_may_wait_are_refused(worker):
    go_on = held(worker)
    for _ in range(6):
        worker.ask("a", ["x"], texts_of)
    with pytest.raises(TooManyWaiting, match="6 questions wait"):
        worker.ask("a", ["x"], texts_of)
    go_on.set()


def test_a_question_that_fails_leaves_the_others(worker):
    def fails(scene, queries):
        raise QueryError("no")

    go_on = held(worker)
    first, second = worker.ask("a", ["x"], fails), worker.ask("a", ["y"], texts_of)
    go_on.set()
    with pytest.raises(QueryError, match="no"):
        first.result(10)
    assert second.result(10) == ("y",)


def test_a_text_that_cannot_be_asked_fails_for_its_own_question_alone(worker):
    go_on = held(worker)
    first, second = worker.ask("a", ["bad"], texts_of), worker.ask("a", ["y"], texts_of)
    go_on.set()
    with pytest.raises(QueryError, match="bad text"):
        first.result(10)
    assert second.result(10) == ("y",)


def test_a_question_whose_client_has_left_is_not_begun(worker, scenes):
    go_on = held(worker)
    answer = worker.ask("a", ["x"], texts_of)
    assert answer.cancel()
    go_on.set()
    worker.do(None, int).result(10)
    assert scenes["a"].batches == []


def test_a_scene_that_is_not_there_fails(worker):
    with pytest.raises(KeyError):
        worker.do("c", len).result(10)


def test_after_the_end_nothing_is_taken(worker):
    worker.close()
    with pytest.raises(TooManyWaiting):
        worker.ask("a", ["x"], texts_of)


def test_a_question_that_runs_out_of_memory_is_asked_again_without_other_scenes(worker, scenes):
    scenes["a"].room = ["b"]
    go_on = held(worker)
    answers = [worker.ask("a", ["large"], texts_of), worker.ask("a", ["x"], texts_of)]
    go_on.set()
    assert [answer.result(10) for answer in answers] == [("large",), ("x",)]
    assert scenes["a"].room == []

    tried: list[str] = []

    def work(scene, queries):
        tried.extend(queries.texts)
        raise torch.cuda.OutOfMemoryError("CUDA out of memory")

    scenes["b"].room = ["a", "c"]
    with pytest.raises(torch.cuda.OutOfMemoryError):
        worker.ask("b", ["y"], work).result(10)
    assert tried == ["y"] * 3  # as long as there is something to drop


def test_other_errors_drop_no_scenes(worker, scenes):
    scenes["a"].room = ["b"]
    with pytest.raises(QueryError):
        worker.ask("a", ["bad"], texts_of).result(10)
    assert scenes["a"].room == ["b"]
