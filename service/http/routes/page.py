"""The page at ``/`` and the API reference at ``/docs``; both load no file from another host."""

import functools
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Final

from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import Response

router = APIRouter(include_in_schema=False)

_TYPES: Final = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
_SWAGGER: Final = ("swagger-ui-bundle.js", "swagger-ui.css")


@dataclass(frozen=True, slots=True)
class Asset:
    """A file of the page, held in memory, so that no path of a request reaches the disk."""

    content: bytes
    media_type: str
    tag: str

    @classmethod
    def of(cls, file: Traversable) -> "Asset":
        """The asset in ``file``."""
        content = file.read_bytes()
        suffix = file.name[file.name.rindex(".") :]
        return cls(content, _TYPES[suffix], f'"{hashlib.sha256(content).hexdigest()[:20]}"')

    def response(self, request: Request) -> Response:
        """The asset, or 304 if the browser has it."""
        headers = {"ETag": self.tag}
        if request.headers.get("if-none-match") == self.tag:
            return Response(status_code=304, headers=headers)
        return Response(self.content, media_type=self.media_type, headers=headers)


@functools.cache
def assets() -> Mapping[str, Asset]:
    """All files by name, read once."""
    found = {}
    for file in files("service").joinpath("static").iterdir():
        if file.name[file.name.rfind(".") :] in _TYPES:
            found[file.name] = Asset.of(file)
    # The files of Swagger UI as packaged by fastapi-offline; FastAPI's own page of them would load them from a CDN.
    for name in _SWAGGER:
        found[name] = Asset.of(files("fastapi_offline").joinpath("static", name))
    return found


@router.get("/")
async def page(request: Request) -> Response:
    """The page."""
    return assets()["index.html"].response(request)


@router.get("/docs")
async def docs(request: Request) -> Response:
    """The API reference."""
    return assets()["docs.html"].response(request)


@router.get("/static/{name}")
async def static(name: str, request: Request) -> Response:
    """A file of the page or of the API reference."""
    if name not in assets():
        raise HTTPException(404)
    return assets()[name].response(request)
