"""Many clients at once: python -m benchmarks.serve SCENE [--clients 50] [--requests 10]

Starts `gags serve` on this machine and lets so many clients ask at once, each one question after the other:
locate, query in one photo, and pictures of answers, with texts that come back and texts that are new. Prints
errors, and the median and the 95th percentile of the time to an answer by kind of question.
"""

import argparse
import json
import random
import statistics
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections import defaultdict
from pathlib import Path

COMMON = ("laptop", "coffee mug", "bottle", "table", "chair", "keyboard")
ADJECTIVES = ("red", "small", "old", "wooden", "shiny", "green", "round", "empty")
TOKEN = "benchmark"


def ask(url: str, path: str, body: dict | None = None) -> bytes:
    """One request; the body of the answer."""
    data = None if body is None else json.dumps(body).encode()
    headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
    with urllib.request.urlopen(urllib.request.Request(url + path, data, headers), timeout=300) as answer:
        return answer.read()


def client(url: str, scene: str, views: list[str], seed: int, requests: int, log: list) -> None:
    """A client's questions, one after the other; appends kind, seconds and error."""
    rng = random.Random(seed)
    for _ in range(requests):
        text = rng.choice(COMMON)
        if rng.random() < 0.5:
            text = f"{rng.choice(ADJECTIVES)} {text} {rng.randrange(1000)}"  # nobody has asked for it yet
        view, kind = rng.choice(views), rng.choice(("locate", "query", "answer"))
        start, error = time.perf_counter(), ""
        try:
            if kind == "answer":
                asked = urllib.parse.urlencode({"view": view, "text": text, "longest": 640})
                ask(url, f"/scenes/{scene}/answer?{asked}")
            else:
                body = {"texts": [text]} | ({"views": [view]} if kind == "query" else {})
                ask(url, f"/scenes/{scene}/{kind}", body)
        except (urllib.error.URLError, OSError) as problem:
            error = str(problem)
        log.append((kind, time.perf_counter() - start, error))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("scene", type=Path)
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--requests", type=int, default=10)
    given = parser.parse_args()
    command = [sys.executable, "-m", "gags.cli", "serve", str(given.scene), "--port", "0", "--token", TOKEN]
    service = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert service.stdout
        url = service.stdout.readline().split(" at ")[1].split()[0]
        (scene,) = (row["name"] for row in json.loads(ask(url, "/scenes")))
        views = [view["name"] for view in json.loads(ask(url, f"/scenes/{scene}"))["views"]]
        ask(url, f"/scenes/{scene}/locate", {"texts": ["warm up"]})
        print("| clients | question | asked | errors | median, s | p95, s |\n|---|---|---|---|---|---|")
        for clients in (1, given.clients):
            measure(url, scene, views, clients, given.requests)
        batches = ask(url, "/metrics").decode().splitlines()
        print("\n".join(line for line in batches if line.startswith("gags_batch_questions_")))
    finally:
        service.terminate()
        service.wait()


def measure(url: str, scene: str, views: list[str], clients: int, requests: int) -> None:
    """Let so many clients ask at once, and print a row a kind of question."""
    log: list[tuple[str, float, str]] = []
    threads = [
        threading.Thread(target=client, args=(url, scene, views, seed, requests, log))
        for seed in range(clients)
    ]
    start = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    took = time.perf_counter() - start
    by_kind = defaultdict(list)
    for kind, seconds, error in log:
        by_kind[kind].append((seconds, error))
    for kind, rows in sorted(by_kind.items()):
        seconds = sorted(second for second, _ in rows)
        p95 = seconds[min(len(seconds) - 1, int(0.95 * len(seconds)))]
        errors = sum(bool(error) for _, error in rows)
        print(
            f"| {clients} | {kind} | {len(rows)} | {errors} | {statistics.median(seconds):.2f} | {p95:.2f} |"
        )
    print(f"| {clients} | all | {len(log)} | | {len(log) / took:.1f} a second | |")


if __name__ == "__main__":
    main()
