"""The page at ``/`` and the API reference at ``/docs``; both load no file from another host."""

import functools
import hashlib
from collections.abc import Mapping
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Final

from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import Response

from service.http.requests import service_of

router = APIRouter(include_in_schema=False)

_TYPES: Final = {
    ".css": "text/css; charset=utf-8",
    ".csv": "text/csv; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".jpg": "image/jpeg",
    ".js": "text/javascript; charset=utf-8",
    ".png": "image/png",
    ".svg": "image/svg+xml",
}
_CELLS: Final = "cells/"
_SWAGGER: Final = ("swagger-ui-bundle.js", "swagger-ui.css")


class Asset:
    """A file of the page, held in memory, so that no path of a request reaches the disk."""

    def __init__(self, file: Traversable) -> None:
        self.content = file.read_bytes()
        self.media_type = _TYPES[Path(file.name).suffix]
        self.tag = f'"{hashlib.sha256(self.content).hexdigest()[:20]}"'

    def response(self, request: Request) -> Response:
        headers = {"ETag": self.tag}
        if request.headers.get("if-none-match") == self.tag:
            return Response(status_code=304, headers=headers)
        return Response(self.content, media_type=self.media_type, headers=headers)


def _found(folder: Traversable, prefix: str = "") -> dict[str, Asset]:
    """All files of known types in a folder and below it, by their path."""
    found: dict[str, Asset] = {}
    for entry in folder.iterdir():
        if entry.is_dir():
            found |= _found(entry, f"{prefix}{entry.name}/")
        elif Path(entry.name).suffix in _TYPES:
            found[prefix + entry.name] = Asset(entry)
    return found


@functools.cache
def assets() -> Mapping[str, Asset]:
    """All files by their path, read once."""
    found = _found(files("service").joinpath("static"))
    # The files of Swagger UI as packaged by fastapi-offline; FastAPI's own page of them would load them from a CDN.
    for name in _SWAGGER:
        found[name] = Asset(files("fastapi_offline").joinpath("static", name))
    return found


@functools.lru_cache(maxsize=2)
def _own_cells(bundle: Path) -> Mapping[str, Asset]:
    """The reference cells of a bundle that brings its own, in its folder ``cells``."""
    return _found(bundle / "cells", _CELLS) if (bundle / "cells").is_dir() else {}


@router.get("/")
async def page(request: Request) -> Response:
    return assets()["index.html"].response(request)


@router.get("/docs")
async def docs(request: Request) -> Response:
    return assets()["docs.html"].response(request)


@router.get("/static/{path:path}")
async def static(path: str, request: Request) -> Response:
    """A file of the page or of the API reference."""
    own = _own_cells(service_of(request).bundle.root) if path.startswith(_CELLS) else {}
    if path not in (found := own or assets()):
        raise HTTPException(404)
    return found[path].response(request)
