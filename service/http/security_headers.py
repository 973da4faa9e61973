"""What every answer tells a browser."""

from typing import Final

_POLICY: Final = (
    "default-src 'none'; script-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'; "
)
_PAGE_POLICY: Final = _POLICY + "style-src 'self'; img-src 'self' blob:"
_DOCS_POLICY: Final = _POLICY + "style-src 'self' 'unsafe-inline'; img-src 'self' data:"
"""Swagger UI sets style attributes and draws its icons from data URLs."""


def _headers(policy: str, cache: str = "no-store") -> tuple[tuple[bytes, bytes], ...]:
    return (
        (b"x-content-type-options", b"nosniff"),
        (b"x-frame-options", b"DENY"),
        (b"referrer-policy", b"no-referrer"),
        (b"cross-origin-resource-policy", b"same-origin"),
        (b"cache-control", cache.encode()),
        (b"content-security-policy", policy.encode()),
    )


_PAGE_HEADERS: Final = _headers(_PAGE_POLICY)
_DOCS_HEADERS: Final = _headers(_DOCS_POLICY)
_STATIC_HEADERS: Final = _headers(_PAGE_POLICY, "no-cache")


def headers_for(path: str) -> tuple[tuple[bytes, bytes], ...]:
    """What every answer tells a browser: take nothing from elsewhere, show it in no frame, keep no copy.

    Copies of the page's own files are kept, but asked about each time, so that an update shows at once.
    """
    if path.startswith("/static/"):
        return _STATIC_HEADERS
    return _DOCS_HEADERS if path.startswith("/docs") else _PAGE_HEADERS
