"""The routes of a service."""

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Depends, FastAPI, HTTPException, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from gags._version import __version__
from gags.errors import (
    CaptureError,
    FileError,
    GagsError,
    LibraryError,
    LibraryUnreadableError,
    ModelError,
    WorkspaceError,
)
from gags.progress import SILENT, Reporter
from gags.serve import answers
from gags.serve.answers import NothingMatches
from gags.serve.guard import Guard, Rates
from gags.serve.messages import (
    CatalogEntry,
    ExtractRequest,
    FoundThing,
    Health,
    Located,
    LocateRequest,
    Name,
    Problem,
    QueryRequest,
    SceneDetails,
    SceneInfo,
    SearchRequest,
    Side,
    Text,
    ViewAnswer,
    What,
    WhatOfText,
)
from gags.serve.metrics import Metrics
from gags.serve.pool import ScenePool, SceneUnreadable
from gags.serve.settings import LOCAL_ADDRESSES, ServeSettings
from gags.serve.worker import TooManyWaiting, Worker

_View = Annotated[Name, Query(description="Name of a photo.")]
_Longest = Annotated[
    Side, Query(description="Longer side of the picture, px; a mask is as large as the photo.")
]
_PICTURE: dict[int | str, dict[str, Any]] = {200: {"content": {"image/png": {}}, "description": "A picture."}}
_FILE: dict[int | str, dict[str, Any]] = {
    200: {"content": {"application/octet-stream": {}}, "description": "A file of Gaussians."}
}
_PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {"model": Problem, "description": about}
    for status, about in {
        400: "The question cannot be answered as it is.",
        401: "The token is missing or wrong.",
        404: "There is no such scene, view or library, or nothing matches.",
        413: "The request is too large.",
        422: "The question is malformed: too many texts, too long ones, or fields that there are not.",
        429: "Too many requests.",
        500: "The scene or the library cannot be read, or its models are not there.",
        503: "Too many questions wait.",
    }.items()
}


class Service:
    """Scenes and libraries behind one application.

    Args:
        scenes: Folders of scenes by name.
        libraries: Libraries by name: objects with `search`, see `gags.Library`.
        settings: What is allowed.
        progress: Told what keeps scenes from a GPU that is there.

    Attributes:
        app: The ASGI application.
        token: What clients have to send; "" if everybody may ask.
    """

    def __init__(
        self,
        scenes: Mapping[str, Path],
        libraries: Mapping[str, Any],
        settings: ServeSettings,
        *,
        progress: Reporter = SILENT,
    ) -> None:
        self.token = secrets.token_urlsafe(24) if settings.token is None else settings.token
        self._libraries = dict(libraries)
        self._pool = ScenePool(scenes, int(settings.memory_gb * 1e9), progress=progress)
        self._worker = Worker(
            self._pool, settings.waiting, lambda count: self._metrics.batches.observe(count)
        )
        self._metrics = Metrics(lambda: self._worker.waiting, lambda: len(self._pool.loaded))
        self.app = FastAPI(title="gags", version=__version__, description=_ABOUT)
        self.app.include_router(self._routes())
        self.app.middleware("http")(self._measured)
        self.app.add_exception_handler(GagsError, _problem)
        self.app.add_exception_handler(RequestValidationError, _malformed)
        self.app.add_exception_handler(Exception, _fault)
        hosts = (*LOCAL_ADDRESSES, "testserver") if settings.host in LOCAL_ADDRESSES else ()
        self.app.add_middleware(
            Guard,  # type: ignore[arg-type]
            rates=Rates(settings.rate),
            largest=int(settings.largest_body_mb * 1e6),
            hosts=hosts,
            free=("/health",),
        )

    def close(self) -> None:
        """Stop answering."""
        self._worker.close()

    def _routes(self) -> APIRouter:
        router = APIRouter(responses=_PROBLEMS)
        guarded = APIRouter(responses=_PROBLEMS, dependencies=[Depends(self._check_token)])
        router.get("/health", response_model=Health, tags=["service"])(self.health)
        guarded.get("/metrics", response_class=PlainTextResponse, tags=["service"])(self.metrics)
        guarded.get("/scenes", response_model=list[SceneInfo], tags=["scenes"])(self.scenes)
        guarded.get("/scenes/{scene}", response_model=SceneDetails, tags=["scenes"])(self.details)
        guarded.post("/scenes/{scene}/locate", response_model=list[Located], tags=["questions"])(self.locate)
        guarded.post("/scenes/{scene}/query", response_model=list[ViewAnswer], tags=["questions"])(self.query)
        guarded.get("/scenes/{scene}/catalog", response_model=list[CatalogEntry], tags=["questions"])(
            self.catalog
        )
        guarded.get(
            "/scenes/{scene}/picture", responses=_PICTURE, response_class=Response, tags=["pictures"]
        )(self.picture)
        guarded.get("/scenes/{scene}/answer", responses=_PICTURE, response_class=Response, tags=["pictures"])(
            self.answer
        )
        guarded.post("/scenes/{scene}/extract", responses=_FILE, response_class=Response, tags=["files"])(
            self.extract
        )
        guarded.post("/search", response_model=list[FoundThing], tags=["questions"])(self.search)
        router.include_router(guarded)
        return router

    def _check_token(
        self, given: Annotated[HTTPAuthorizationCredentials | None, Depends(HTTPBearer(auto_error=False))]
    ) -> None:
        if not self.token:
            return
        sent = given.credentials if given else ""
        if not secrets.compare_digest(sent.encode(), self.token.encode()):
            raise HTTPException(
                401,
                "the token is missing or wrong; send the header `Authorization: Bearer TOKEN`",
                headers={"WWW-Authenticate": "Bearer"},
            )

    async def health(self) -> Health:
        """That the service works; needs no token."""
        return Health(
            status="ok",
            version=__version__,
            scenes=len(self._pool.folders),
            libraries=len(self._libraries),
            waiting=self._worker.waiting,
        )

    async def metrics(self) -> Response:
        """Figures for Prometheus."""
        return PlainTextResponse(self._metrics.text())

    async def scenes(self) -> list[dict[str, Any]]:
        """The scenes that can be asked."""
        loaded = self._pool.loaded
        return [{"name": name, "loaded": name in loaded} for name in self._pool.folders]

    async def details(self, scene: Name) -> Any:
        """A scene's encoder, photos and cameras."""
        return await self._done(scene, partial(answers.details, name=scene))

    async def locate(self, scene: Name, wanted: LocateRequest) -> Any:
        """Every instance of what texts name: centre, oriented box, score."""
        return await self._asked(scene, wanted.texts, answers.located)

    async def query(self, scene: Name, wanted: QueryRequest) -> Any:
        """Where in photos the things are that texts name: peak, score and rectangle."""
        return await self._asked(scene, wanted.texts, partial(answers.in_views, views=wanted.views))

    async def catalog(self, scene: Name) -> Any:
        """What is in the scene: its things, each with the words that name it best."""
        return await self._done(scene, answers.catalog)

    async def picture(
        self, scene: Name, view: _View, what: What = "color", longest: _Longest = 1024
    ) -> Response:
        """What a photo's camera sees: the photo, or the scene's colours or depth. PNG."""
        content = await self._done(scene, partial(answers.picture, view=view, what=what, longest=longest))
        return Response(content, media_type="image/png")

    async def answer(
        self,
        scene: Name,
        view: _View,
        text: Annotated[Text, Query(description="What to look for.")],
        what: WhatOfText = "relevancy",
        longest: _Longest = 1024,
    ) -> Response:
        """What a text points at in a photo: its relevancy over the photo, or its mask (0 or 255). PNG."""
        made = partial(answers.answer_picture, view=view, what=what, longest=longest)
        return Response(await self._asked(scene, [text], made), media_type="image/png")

    async def extract(self, scene: Name, wanted: ExtractRequest) -> Response:
        """The Gaussians of what texts name, as a file."""
        made = partial(answers.cutout, suffix=wanted.format, invert=wanted.invert)
        content = await self._asked(scene, wanted.texts, made)
        name = f'attachment; filename="cutout.{wanted.format}"'
        headers = {"Content-Disposition": name}
        return Response(content, media_type="application/octet-stream", headers=headers)

    async def search(self, wanted: SearchRequest) -> Any:
        """Things of all scenes of the libraries; `top` of each library and encoder, best first."""
        if not self._libraries:
            raise HTTPException(404, "no library is served; start the service with its folder, too")
        given = [name for name in ("text", "image", "like") if getattr(wanted, name) is not None]
        if len(given) != 1:
            raise HTTPException(400, "give one of text, image and like")
        asked: dict[str, Any] = {given[0]: getattr(wanted, given[0])}
        if wanted.image is not None:
            asked["image"] = await asyncio.to_thread(answers.decoded_image, wanted.image)
        asked |= {"top": wanted.top, "scenes": wanted.scenes}
        rows = []
        for name, library in self._libraries.items():
            rows += await _result(
                self._worker.do(None, partial(answers.found_in_library, library, name, asked))
            )
        return rows

    async def _asked(self, scene: str, texts: list[str], work: Callable[..., Any]) -> Any:
        self._known(scene)
        return await _result(self._worker.ask(scene, texts, work))

    async def _done(self, scene: str, work: Callable[..., Any]) -> Any:
        self._known(scene)
        return await _result(self._worker.do(scene, work))

    def _known(self, scene: str) -> None:
        if scene not in self._pool.folders:
            raise HTTPException(404, f"no scene {scene!r} is served; GET /scenes lists them")

    async def _measured(
        self, request: Request, call_next: Callable[[Request], Awaitable[Response]]
    ) -> Response:
        start = time.perf_counter()
        response = await call_next(request)
        found = request.scope.get("route")
        route = getattr(found, "path", "none")
        self._metrics.requests.labels(route, str(response.status_code)).inc()
        self._metrics.seconds.labels(route).observe(time.perf_counter() - start)
        return response


_STATUS: tuple[tuple[type[Exception], int], ...] = (  # the first that fits
    (TooManyWaiting, 503),
    (SceneUnreadable, 500),
    (WorkspaceError, 500),
    (FileError, 500),
    (LibraryUnreadableError, 500),
    (ModelError, 500),
    (CaptureError, 404),
    (LibraryError, 404),
    (NothingMatches, 404),
)


async def _fault(request: Request, error: Exception) -> Response:
    """One line for a fault of the program; the server logs where it happened."""
    return JSONResponse({"detail": f"unexpected {type(error).__name__}; please report it"}, 500)


async def _malformed(request: Request, error: Exception) -> Response:
    """One line for a question that does not fit its description: the first place that is wrong."""
    assert isinstance(error, RequestValidationError)
    first, *others = error.errors()
    where = ".".join(map(str, first["loc"]))
    more = f" (and {len(others)} more)" if others else ""
    line = f"{where}: {first['msg']}{more}; see /docs"
    return JSONResponse({"detail": " ".join(line.split())}, 422)


async def _result(answer: Future) -> Any:
    return await asyncio.wrap_future(answer)


async def _problem(request: Request, error: Exception) -> Response:
    """One line for what went wrong."""
    status = next((status for kind, status in _STATUS if isinstance(error, kind)), 400)
    headers = {"Retry-After": "1"} if status == 503 else None
    return JSONResponse({"detail": " ".join(str(error).split())}, status, headers)


_ABOUT = """Scenes that answer texts. Routes, but /health, want the header `Authorization: Bearer TOKEN`.

Coordinates and lengths are in the frame and units of each capture. Cameras look along +z, with x to the right
and y down; pixel (0, 0) is the upper left one."""
