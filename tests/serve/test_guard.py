"""What is refused before a question is read."""

import pytest

pytest.importorskip("fastapi")
from fastapi import FastAPI, Request
from fastapi.testclient import TestClient

from gags.serve import guard
from gags.serve.guard import Guard, Rates


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def guarded(**given) -> TestClient:
    app = FastAPI()

    @app.post("/length")
    async def length(request: Request) -> int:
        return len(await request.body())

    given = {"rates": Rates(1e6), "largest": 100} | given
    return TestClient(Guard(app, **given))


def test_a_bucket_fills_at_the_rate_and_holds_two_seconds():
    clock = Clock()
    rates = Rates(5, clock)
    assert [rates.wait("a") for _ in range(10)] == [0.0] * 10
    assert rates.wait("a") == pytest.approx(0.2)
    assert rates.wait("b") == 0.0  # another address
    clock.now = 0.3
    assert rates.wait("a") == 0.0
    assert rates.wait("a") == pytest.approx(0.1)
    clock.now = 1000
    assert sum(rates.wait("a") == 0 for _ in range(20)) == 10


def test_addresses_are_forgotten_in_time(monkeypatch):
    monkeypatch.setattr(guard, "MOST_ADDRESSES", 3)
    rates = Rates(1, Clock())
    for address in "abcdefg":
        rates.wait(address)
    assert list(rates._left) == ["e", "f", "g"]


def test_too_many_requests_are_told_when_to_come_back():
    client = guarded(rates=Rates(0.5, Clock()))
    assert client.post("/length").status_code == 200
    answer = client.post("/length")
    assert answer.status_code == 429
    assert answer.headers["retry-after"] == "2"


def test_a_body_is_as_large_as_allowed_and_no_larger():
    client = guarded()
    assert client.post("/length", content=b"x" * 100).json() == 100
    assert client.post("/length", content=b"x" * 101).status_code == 413


def test_a_body_that_does_not_say_its_length_is_counted():
    client = guarded()

    def pieces(count):
        for _ in range(count):
            yield b"x" * 50

    assert client.post("/length", content=pieces(2)).json() == 100
    answer = client.post("/length", content=pieces(3))
    assert answer.status_code == 413
    assert "100 bytes" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200),
        ("localhost:8090", 200),
        ("127.0.0.1:8090", 200),
        ("[::1]:8090", 200),
        ("evil.example", 421),
        ("localhost.evil.example:8090", 421),
        ("", 421),
    ],
)
def test_only_its_own_names_are_answered(host, status):
    client = guarded(hosts=("localhost", "127.0.0.1", "::1"))
    assert client.post("/length", headers={"host": host}).status_code == status
