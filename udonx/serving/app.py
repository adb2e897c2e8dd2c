"""The page and the HTTP API over an index."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import attrs
from fastapi import FastAPI, HTTPException, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse, Response
from pydantic import BaseModel, Field
from starlette.datastructures import MutableHeaders
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from udonx.data.errors import DataError
from udonx.data.images import TooLargeError
from udonx.serving import searcher as search
from udonx.serving.batches import Batcher
from udonx.serving.limits import Limits
from udonx.serving.pictures import LARGE, SMALL, Pictures
from udonx.serving.traffic import Traffic

BATCH = 32
"""Pictures that are embedded at once."""
_DECODERS = 2  # each may hold a picture of `max_pixels`
_STATIC = Path(__file__).with_name("static")
_PAGES = {
    "/": "index.html",
    "/docs": "docs.html",
    "/static/page.css": "page.css",
    "/static/page.js": "page.js",
    "/static/docs.js": "docs.js",
}
_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; img-src 'self' blob: data:; style-src 'self'; script-src 'self';"
        " connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}
_PICTURE: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": "The bytes of an image file: JPEG, PNG, WEBP, BMP, GIF or TIFF.",
        "content": {"image/*": {"schema": {"type": "string", "format": "binary"}}},
    }
}


class Refusal(BaseModel):
    """Why a request was refused, in one sentence."""

    detail: str


_REFUSALS: dict[int | str, dict[str, Any]] = {
    status: {"model": Refusal, "description": description}
    for status, description in {
        408: "The upload took too long.",
        413: "The upload has too many bytes, or the picture too many pixels.",
        415: "It is no image that can be decoded.",
        422: "A parameter is not allowed.",
        503: "Too many requests are under way, or the answer took too long.",
    }.items()
}


class Neighbour(BaseModel):
    """An image of the index."""

    row: int = Field(description="Its place in the index.")
    score: float = Field(description="Cosine similarity to the picture.")
    domain: str = Field(description="The folder that it lies in.")
    path: str = Field(description="Its path below the index's root.")
    image: str = Field(description="Where it is shown.")


class SearchAnswer(BaseModel):
    """The images of the index that are nearest to a picture, best first."""

    neighbours: list[Neighbour]
    seconds: float = Field(description="From the end of the upload on.")


class EmbedAnswer(BaseModel):
    """The vector of a picture."""

    vector: list[float] = Field(description="Of unit length: inner products are cosines.")
    model: str = Field(description="What embedded it.")


class Health(BaseModel):
    """What is served, and how much so far."""

    status: Literal["ok"]
    model: str
    kind: str = Field(description="How the index is searched: exact, hnsw or ivfpq.")
    images: int
    dim: int
    domains: dict[str, int] = Field(description="Images of each domain.")
    requests: int = Field(description="Pictures that were answered.")
    refused: int


Size = Literal["small", "large"]
_SIDES: dict[Size, int] = {"small": SMALL, "large": LARGE}


@attrs.define
class _Service:
    """What the routes share.

    Attributes:
        searcher: the index with its model.
        limits: of requests.
        traffic: counts them.
    """

    searcher: search.Searcher
    limits: Limits
    traffic: Traffic
    batcher: Batcher[search.Query, search.Found] = attrs.field(init=False)
    pictures: Pictures = attrs.field(init=False)
    decoders: ThreadPoolExecutor = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        vectors = self.searcher.index.vectors
        self.batcher = Batcher(self.searcher.answer, BATCH)
        self.pictures = Pictures(vectors.root, vectors.paths, self.limits.max_pixels)
        self.decoders = ThreadPoolExecutor(_DECODERS, thread_name_prefix="udonx-decode")

    def close(self) -> None:
        """End the threads."""
        self.batcher.close()
        self.decoders.shutdown(wait=False, cancel_futures=True)

    async def found(
        self, request: Request, k: int | None = None, domain: str | None = None
    ) -> tuple[search.Found, float]:
        """What came of the picture in a request, and the seconds that it took after the upload."""
        with self._under_way():
            content = await self._upload(request)
            began = time.monotonic()
            try:
                async with asyncio.timeout(self.limits.max_seconds):
                    image_3HW = await self._in_thread(
                        self.searcher.prepare, content, self.limits.max_pixels
                    )
                    found = await self.batcher.submit(search.Query(image_3HW, k, domain))
            except TimeoutError:
                raise HTTPException(
                    503,
                    f"the answer took longer than {self.limits.max_seconds:g} seconds; try again"
                    " when fewer pictures are searched",
                ) from None
            except TooLargeError as error:
                raise HTTPException(413, f"the picture has {error.why}; scale it down") from error
            except DataError as error:
                why = getattr(error, "why", error)
                raise HTTPException(415, f"the upload is no image ({why})") from error
            self.traffic.answered += 1
            return found, time.monotonic() - began

    @contextmanager
    def _under_way(self) -> Iterator[None]:
        """A place among the requests that are under way."""
        if self.traffic.under_way >= self.limits.max_requests:
            raise HTTPException(
                503,
                f"{self.limits.max_requests} requests are under way, more are not taken; try again"
                " in a second",
                {"Retry-After": "1"},
            )
        with self.traffic.request():
            yield

    async def _upload(self, request: Request) -> bytes:
        """The body of a request, never more of it than is allowed."""
        most = self.limits.max_bytes
        too_many = HTTPException(
            413,
            f"the upload is larger than {self.limits.max_megabytes:g} MB; scale the picture down",
            {"Connection": "close"},
        )
        length = request.headers.get("content-length", "")
        if length.isdecimal() and int(length) > most:
            raise too_many
        content = bytearray()
        try:
            async with asyncio.timeout(self.limits.max_seconds):
                async for chunk in request.stream():
                    content += chunk
                    if len(content) > most:
                        raise too_many
        except TimeoutError:
            raise HTTPException(
                408,
                f"the upload took longer than {self.limits.max_seconds:g} seconds; send it again",
                {"Connection": "close"},
            ) from None
        except ClientDisconnect:
            raise HTTPException(400, "the upload broke off") from None
        if not content:
            raise HTTPException(415, "the upload is empty; send the bytes of an image file")
        return bytes(content)

    async def _in_thread(self, function: Any, *arguments: Any) -> Any:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self.decoders, partial(function, *arguments))

    async def jpeg(self, row: int, size: Size) -> bytes:
        """An image of the index."""
        try:
            return await self._in_thread(self.pictures.jpeg, row, _SIDES[size])
        except DataError as error:
            raise HTTPException(404, _sentence(error)) from error

    def to_answer(self, found: search.Found, seconds: float) -> SearchAnswer:
        """Neighbours as the API gives them."""
        return SearchAnswer(
            neighbours=[
                Neighbour(
                    row=each.row,
                    score=each.score,
                    domain=self.searcher.domains[each.row],
                    path=self.searcher.path(each.row),
                    image=f"/images/{each.row}",
                )
                for each in found.neighbours
            ],
            seconds=seconds,
        )

    def check_domain(self, domain: str | None) -> None:
        """Refuse a domain that the index has not."""
        if domain is not None and domain not in self.searcher.counts:
            there = ", ".join(self.searcher.counts)
            raise HTTPException(422, f"domain: got '{domain}', allowed are {there}")


def make_app(
    searcher: search.Searcher, limits: Limits, traffic: Traffic, hosts: list[str]
) -> FastAPI:
    """The page and the API as an ASGI application.

    Args:
        searcher: the index with its model.
        limits: of requests.
        traffic: counts them.
        hosts: the names under which it is reached; "*" for any. A page of another site could
            else give itself the address of this one, and read it.
    """
    service = _Service(searcher, limits, traffic)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        service.close()

    app = FastAPI(
        title="udonx serve",
        description=f"Searches {len(searcher.index):,} images by {searcher.index.model}.",
        version="1",
        docs_url=None,  # these load scripts from the network
        redoc_url=None,
        lifespan=lifespan,
    )
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=hosts)
    app.add_middleware(_WithHeaders)
    _add_refusals(app, traffic)
    _add_pages(app)
    _add_routes(app, service)
    return app


class _WithHeaders:
    """Adds headers to every answer."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(_HEADERS)
            await send(message)

        await self._app(scope, receive, send_with_headers)


def _add_refusals(app: FastAPI, traffic: Traffic) -> None:
    """Every refusal is one sentence, and is counted."""

    @app.exception_handler(HTTPException)
    async def refused(_: Request, error: HTTPException) -> JSONResponse:
        traffic.refused += 1
        return JSONResponse({"detail": error.detail}, error.status_code, error.headers)

    @app.exception_handler(RequestValidationError)
    async def not_allowed(_: Request, error: RequestValidationError) -> JSONResponse:
        traffic.refused += 1
        sentences = [
            f"{each['loc'][-1]}: got {json.dumps(each['input'])}, but {each['msg'].lower()}"
            for each in error.errors()
        ]
        return JSONResponse({"detail": "; ".join(sentences)}, 422)


def _add_pages(app: FastAPI) -> None:
    for path, name in _PAGES.items():
        app.add_route(path, partial(_page, name))


async def _page(name: str, _: Request) -> Response:
    return FileResponse(_STATIC / name)


def _add_routes(app: FastAPI, service: _Service) -> None:
    searcher = service.searcher

    @app.get("/health")
    async def health() -> Health:
        """What is served, and how much so far."""
        index = searcher.index
        return Health(
            status="ok",
            model=str(index.model),
            kind=index.kind,
            images=len(index),
            dim=index.model.dim,
            domains=searcher.counts,
            requests=service.traffic.answered,
            refused=service.traffic.refused,
        )

    @app.post("/search", responses=_REFUSALS, openapi_extra=_PICTURE)
    async def search_images(
        request: Request,
        k: Annotated[int, Query(ge=1, le=1000, description="How many neighbours.")] = 10,
        domain: Annotated[str | None, Query(description="Of this domain alone.")] = None,
    ) -> SearchAnswer:
        """The images that are nearest to the picture in the body."""
        service.check_domain(domain)
        return service.to_answer(*await service.found(request, k, domain))

    @app.post("/embed", responses=_REFUSALS, openapi_extra=_PICTURE)
    async def embed(request: Request) -> EmbedAnswer:
        """The vector of the picture in the body."""
        found, _ = await service.found(request)
        return EmbedAnswer(vector=found.vector_D.tolist(), model=str(searcher.index.model))

    @app.get(
        "/images/{row}",
        response_class=Response,
        responses={200: {"content": {"image/jpeg": {}}}, 404: {"model": Refusal}},
    )
    async def image(
        row: int, size: Annotated[Size, Query(description="Of its longer side.")] = "small"
    ) -> Response:
        """An image of the index, as JPEG, by its place."""
        content = await service.jpeg(row, size)
        return Response(content, media_type="image/jpeg", headers={"Cache-Control": "no-cache"})


def _sentence(error: DataError) -> str:
    return str(error).removesuffix(".")
