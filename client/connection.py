"""How a client is set up, and what keeps it from its service: the address, proxies, certificates, another's answer."""

import os
from collections.abc import Callable, Iterable
from typing import Any, ClassVar, Final, Generic, TypeVar

import httpx

from .retry import Retries

READY: Final = "/health/ready"
_LARGEST_PORT: Final = 65535
_PROXIES: Final = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")
_CERTIFICATES: Final = ("SSL_CERT_FILE", "SSL_CERT_DIR")
FAILURES: Final = (httpx.TransportError, OverflowError, ExceptionGroup)
"""Of an attempt: those beside httpx's own are raised for a proxy's port that is out of range."""

Http = TypeVar("Http", httpx.Client, httpx.AsyncClient)


class Connection(Generic[Http]):
    """A connection to one service.

    Args:
        url: where the service is, such as ``http://127.0.0.1:8000``.
        api_key: sent as ``Authorization: Bearer``.
        timeout: seconds or an :class:`httpx.Timeout`, for each attempt.
        retries: when to send again.
        priority: ``routine`` or ``bulk``; bulk work waits for routine work.
        deadline_s: seconds after which the service drops a request.
        options: further arguments of :class:`httpx.Client`, such as ``verify`` or ``proxy``.

    Raises:
        ValueError: the address, a proxy's or the certificates cannot be used.
    """

    _kind: ClassVar[Callable[..., Any]]

    def __init__(
        self,
        url: str,
        *,
        api_key: str | None = None,
        timeout: float | httpx.Timeout = httpx.Timeout(60.0, connect=5.0),  # noqa: B008 - never changed
        retries: Retries | None = None,
        priority: str | None = None,
        deadline_s: float | None = None,
        **options: Any,
    ) -> None:
        headers = {"Accept": "application/json"}
        if api_key is not None:
            headers["Authorization"] = f"Bearer {api_key}"
        if priority is not None:
            headers["X-Priority"] = priority
        if deadline_s is not None:
            headers["X-Request-Timeout-Ms"] = str(max(1, round(deadline_s * 1000)))
        _check_address(url)
        try:
            self._http: Http = self._kind(base_url=url, timeout=timeout, headers=headers, **options)
        except (httpx.InvalidURL, ValueError, ImportError, OSError) as error:
            variables = _CERTIFICATES if isinstance(error, OSError) else _PROXIES
            raise ValueError(f"no connection can be set up: {error}{_environment(variables)}") from error
        self._retries = retries or Retries()


def _check_address(url: str) -> None:
    example = "expected for example http://127.0.0.1:8000"
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise ValueError(f"{url!r} is not the address of a service ({error}); {example}") from error
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise ValueError(f"{url!r} is not the address of a service; {example}")
    if (parsed.port or 0) > _LARGEST_PORT:
        raise ValueError(f"{url!r} has the port {parsed.port}, expected at most {_LARGEST_PORT}; {example}")


def _environment(names: Iterable[str]) -> str:
    """The variables among these that are set, without passwords, as a hint."""
    found = []
    for name in names:
        for written in dict.fromkeys((name, name.upper())):
            if value := os.environ.get(written):
                head, at, host = value.rpartition("@")
                found.append(f"{written}={(head.partition('//')[0] + '//...@' if at else '') + host!r}")
    return f" (look at {', '.join(found)})" if found else ""


def why_not_ready(url: httpx.URL, response: httpx.Response | Exception) -> str | None:
    """What an answer to ``GET /health/ready``, or its absence, says against sending images; ``None``: nothing."""
    asked = f"GET {str(url).rstrip('/')}{READY}"
    if isinstance(response, Exception):
        parts = response.exceptions if isinstance(response, ExceptionGroup) else (response,)
        said = "; ".join(f"{type(part).__name__}: {part}".rstrip(": ") for part in parts)
        return f"{asked} failed: {said}{_environment(_PROXIES)}"
    if response.status_code == httpx.codes.OK:
        return None
    said = f"{asked} was answered {response.status_code} {response.reason_phrase}"
    if "location" in response.headers:
        said += f" to {response.headers['location']}"
    if response.status_code == httpx.codes.SERVICE_UNAVAILABLE:
        return said
    return f"{said}, by another server or a proxy{_environment(_PROXIES)}"
