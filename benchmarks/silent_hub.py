"""How long a model of the hub is waited for where the hub takes connections and never answers.

Some firewalls make such a hub of the real one. `huggingface_hub` alone is compared with `gags.models.ensure`,
which first asks whether the hub answers at all.

    python benchmarks/silent_hub.py [--seconds 600]
"""

import argparse
import os
import socket
import tempfile
import threading
import time
from collections.abc import Callable

REPO = "facebook/sam-vit-base"


def main() -> None:
    """Measure and print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=600.0, help="wait no longer than this")
    limit = parser.parse_args().seconds
    silent = socket.create_server(("127.0.0.1", 0), backlog=64)  # connects, and that is all
    os.environ["HF_ENDPOINT"] = f"http://127.0.0.1:{silent.getsockname()[1]}"
    os.environ["HF_HUB_CACHE"] = tempfile.mkdtemp()
    os.environ.pop("HF_HUB_OFFLINE", None)

    import huggingface_hub

    from gags import models

    for name, fetch in (("gags", models.ensure), ("huggingface_hub", huggingface_hub.snapshot_download)):
        took = waited(lambda fetch=fetch: fetch(REPO), limit)
        print(
            f"{name}: {'gave up after' if took < limit else 'still waiting after'} {took:.1f} s", flush=True
        )
    os._exit(0)  # whoever still waits is not waited for


def waited(fetch: Callable[[], object], limit: float) -> float:
    """Seconds until a function fails, or the limit."""

    def attempt() -> None:
        try:
            fetch()
        except Exception as error:
            print(f"  {type(error).__name__}: {str(error)[:100]}")

    start = time.monotonic()
    thread = threading.Thread(target=attempt, daemon=True)
    thread.start()
    thread.join(limit)
    return time.monotonic() - start


if __name__ == "__main__":
    main()
