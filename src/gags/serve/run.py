"""Start a service."""

import importlib.util
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gags.errors import GagsError, WorkspaceError
from gags.progress import SILENT, Reporter
from gags.serve.settings import LOCAL_ADDRESSES, ServeSettings
from gags.workspace import Workspace

NEEDED = ("fastapi", "uvicorn", "prometheus_client")


def serve(
    folders: Sequence[Path | str] | Path | str,
    settings: ServeSettings | None = None,
    *,
    progress: Reporter = SILENT,
) -> None:
    """Answer questions about scenes and libraries over HTTP until Ctrl-C; the address is printed.

    Args:
        folders: Folders of scenes, or libraries of scenes.
        settings: Where to listen, who may ask, and how much.
        progress: Told what keeps scenes from a GPU that is there.

    Raises:
        GagsError: If the extra `serve` is not installed, the address cannot be listened on, or a folder is
            neither a scene nor a library.
    """
    settings = settings or ServeSettings()
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise GagsError(
            f"serving needs the extra `serve` ({missing[0]} is missing); pip install 'gags[serve]'"
        )
    folders = [folders] if isinstance(folders, str | Path) else list(folders)
    scenes, libraries = scenes_and_libraries([str(folder) for folder in folders])
    import uvicorn

    from gags.serve.app import Service

    with _listening(settings.host, settings.port) as listener:
        service = Service(scenes, libraries, settings, progress=progress)
        server = uvicorn.Server(uvicorn.Config(service.app, log_level="warning", access_log=False))
        _greet(settings, listener.getsockname()[1], service.token, len(scenes), len(libraries))
        try:
            server.run(sockets=[listener])
        except KeyboardInterrupt:
            pass
        finally:
            service.close()
        print("closed")


def scenes_and_libraries(folders: Sequence[str]) -> tuple[dict[str, Path], dict[str, Any]]:
    """What folders are, by name: the name of the folder; with a number behind it if another has it already.

    Raises:
        GagsError: If one is neither a scene nor a library, or there is none.
    """
    if not folders:
        raise GagsError("nothing to serve; give the folder of a scene or of a library")
    scenes: dict[str, Path] = {}
    libraries: dict[str, Any] = {}
    for folder in folders:
        name = _new_name(Path(folder).resolve().name or "scene", {*scenes, *libraries})
        workspace = Workspace(folder)
        if workspace.config.is_file():
            Workspace.open(folder)
            if not workspace.field.exists():
                raise WorkspaceError(
                    f"{folder} is not finished, it has no {workspace.field.name}; `gags run` goes on"
                )
            scenes[name] = Path(folder)
        else:
            libraries[name] = _library(folder)
    return scenes, libraries


def _library(folder: str) -> Any:
    if "://" not in folder and not Path(folder).is_dir():
        raise WorkspaceError(f"{folder} is not there; give the folder of a scene or of a library")
    from gags.library.library import Library

    library = Library(folder)
    library.names()  # which is an error if there is none
    return library


def _new_name(name: str, taken: set[str]) -> str:
    number, new = 1, name
    while new in taken:
        number += 1
        new = f"{name}-{number}"
    return new


def _listening(host: str, port: int) -> socket.socket:
    """A socket that listens."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(1024)
    except OSError as error:
        reason = error.strerror or str(error)
        raise GagsError(f"cannot listen on {host}, port {port} ({reason}); choose another --port") from error
    return listener


def _greet(settings: ServeSettings, port: int, token: str, scenes: int, libraries: int) -> None:
    """Say where the service is, and with which token."""
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    counts = f"{scenes} {'scene' if scenes == 1 else 'scenes'}"
    counts += f", {libraries} {'library' if libraries == 1 else 'libraries'}" if libraries else ""
    print(f"{counts} at http://{host}:{port} (routes: http://{host}:{port}/docs; Ctrl-C ends)")
    print(f"token: {token}" if token else "no token: everybody who reaches this address may ask", flush=True)
    if settings.host not in LOCAL_ADDRESSES:
        warning = "other machines reach it, and there is no encryption: put a proxy with TLS before it"
        print(f"warning: listening on {settings.host}: {warning}", file=sys.stderr)
