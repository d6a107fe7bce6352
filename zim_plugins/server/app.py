"""The application: routes, the page, errors as one line."""

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from importlib.resources import files
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from zim_plugins import __version__
from zim_plugins.core.predictor import Predictor
from zim_plugins.errors import CheckpointError, MissingPackage, ZimError
from zim_plugins.server import results
from zim_plugins.server.bodies import describe
from zim_plugins.server.extensions import Register, installed_extensions, register_all
from zim_plugins.server.routes import BODY_SCHEMAS, build_router
from zim_plugins.server.schemas import MAX_OBJECTS, MAX_POINTS, Limits, Problem, ServerInfo
from zim_plugins.server.security import Guard
from zim_plugins.server.services import Services
from zim_plugins.server.settings import ServerSettings
from zim_plugins.server.store import ImageGone, StoreFull, UnknownImage
from zim_plugins.server.work import Busy

PAGE_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".jpg": "image/jpeg",
}
RETRY_SECONDS = 3
DESCRIPTION = """Alpha mattes of objects that are pointed at. Images are kept for the session that a cookie names:
use a client that keeps cookies, or `POST /api/matte`, which keeps nothing."""


def create_app(
    predictor: Predictor, settings: ServerSettings | None = None, *, extensions: Sequence[Register] | None = None
) -> FastAPI:
    """Make the application.

    Args:
        predictor: the model.
        settings: bounds; those of a server that only this machine can reach by default.
        extensions: what adapters add; by default all that are installed.
    """
    settings = settings or ServerSettings()
    services = Services(predictor, settings)
    registers, unavailable = (list(extensions), []) if extensions is not None else installed_extensions()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        services.close()

    app = FastAPI(
        title="zim serve", version=__version__, description=DESCRIPTION, lifespan=lifespan,
        docs_url=None, redoc_url=None, openapi_url="/api/openapi.json",
    )  # fmt: skip
    app.state.services = services
    app.include_router(build_router(services))
    added, failed = register_all(registers, services)
    for extension in added:
        app.include_router(extension.router)
    info = ServerInfo(
        version=__version__,
        model=services.engine.name,
        outputs=["alpha", "cutout", "overlay", "json", "coco", "labelme", *(["exr"] if results.has_exr() else [])],
        limits=Limits(
            upload_bytes=settings.max_upload_bytes,
            pixels=settings.max_pixels,
            memory_bytes=settings.memory_bytes,
            images=settings.max_images,
            objects=MAX_OBJECTS,
            points=MAX_POINTS,
        ),
        actions=[action for extension in added for action in extension.actions],
        openers=[opener for extension in added for opener in extension.openers],
        galleries=[gallery for extension in added for gallery in extension.galleries],
        unavailable=[*unavailable, *failed],
    )

    @app.get("/api/info")
    async def show_info() -> ServerInfo:
        """Say what this server is, what it can do and what it bounds."""
        return info

    _add_page(app)
    _add_error_answers(app)
    _complete_openapi(app)
    app.add_middleware(Guard, settings=settings)
    return app


def page_files() -> dict[str, bytes]:
    """Return the page's files, and the sample that it offers, by name."""
    folder = files("zim_plugins.server").joinpath("page")
    found = {one.name: one.read_bytes() for one in folder.iterdir() if one.is_file()}
    return found | {"sample.jpg": files("zim_plugins.imaging").joinpath("samples").joinpath("dogs.jpg").read_bytes()}


def problem(status: int, detail: str, headers: dict[str, str] | None = None) -> Response:
    """Return an answer that says in one line why a request failed."""
    body = json.dumps({"detail": " ".join(detail.split())})  # ASCII, whatever a client sent
    return Response(body, status_code=status, media_type="application/json", headers=headers)


def _add_page(app: FastAPI) -> None:
    """Serve the page from memory: no path of a request ever becomes a path of a file."""
    for name, content in page_files().items():
        kind = PAGE_TYPES.get("." + name.rpartition(".")[2])
        if kind is None:
            continue
        place = "/" if name == "index.html" else f"/{name}"
        app.add_api_route(place, _page_route(content, kind), methods=["GET", "HEAD"], include_in_schema=False)


def _page_route(content: bytes, kind: str) -> Any:
    async def show() -> Response:
        return Response(content, media_type=kind, headers={"cache-control": "no-cache"})

    return show


def _add_error_answers(app: FastAPI) -> None:
    retry = {"retry-after": str(RETRY_SECONDS)}
    answers: list[tuple[type[Exception], int, dict[str, str] | None]] = [
        (UnknownImage, 404, None),
        (ImageGone, 410, None),
        (StoreFull, 413, None),
        (Busy, 503, retry),
        (MemoryError, 503, retry),
        (MissingPackage, 501, None),
        (CheckpointError, 501, None),
        (ZimError, 422, None),
        (ValueError, 422, None),
    ]
    for kind, status, headers in answers:

        async def answer(
            request: Request, error: Exception, status: int = status, headers: dict[str, str] | None = headers
        ) -> Response:
            return problem(status, str(error) or type(error).__name__, headers)

        app.add_exception_handler(kind, answer)

    async def answer_http(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        return problem(error.status_code, str(error.detail), dict(error.headers or {}))

    async def answer_invalid(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        return problem(422, describe(error.errors()))

    async def answer_fault(request: Request, error: Exception) -> Response:
        return problem(500, "the server failed, which is a fault of its own: its log says why")

    app.add_exception_handler(Exception, answer_fault)
    app.add_exception_handler(HTTPException, answer_http)
    app.add_exception_handler(RequestValidationError, answer_invalid)


def _complete_openapi(app: FastAPI) -> None:
    """Add the schemas that bodies refer to, which FastAPI cannot see since the bodies may also be forms."""
    make = app.openapi

    def openapi() -> dict[str, Any]:
        schema = make()
        known = schema.setdefault("components", {}).setdefault("schemas", {})
        for name, one in {**BODY_SCHEMAS, "Problem": Problem.model_json_schema()}.items():
            known.setdefault(name, one)
        return schema

    app.openapi = openapi
