"""Who may ask for what, and on which addresses the service listens without asking.

Without ``HAL_KEYS_FILE`` everybody who reaches the service may use it; so it then listens on this machine only, unless
``HAL_ALLOW_ANONYMOUS`` says otherwise, and changes of the service itself are taken from this machine only.
"""

import ipaddress
import re
import socket
from pathlib import Path
from typing import Final

from starlette.datastructures import Headers
from starlette.types import Scope

from service.auth.keys import KeyStore, Role
from service.errors import RequestError, UserError
from service.settings import Settings

_OPEN: Final = frozenset({"/", "/docs", "/openapi.json", "/v2"})
_OPEN_BELOW: Final = ("/health/", "/v2/health/", "/static/", "/docs/")
_METRICS: Final = "/metrics"
_PORT: Final = re.compile(r":\d*$")


def is_open(path: str) -> bool:
    return path in _OPEN or path.startswith(_OPEN_BELOW)


class ExposedError(UserError):
    """The service would answer a network without asking for keys."""


def check_exposure(settings: Settings, listener: socket.socket) -> None:
    """Raise :class:`ExposedError` if others can reach ``listener`` and neither keys nor HAL_ALLOW_ANONYMOUS are set."""
    if settings.keys_file is not None or settings.allow_anonymous:
        return
    host = str(listener.getsockname()[0])
    if not is_loopback(host):
        raise ExposedError(
            f"{host} can be reached from other machines, and no keys are asked for. Make a key ('hal keys add --file "
            "keys.json --role classify --name analyser-1') and set HAL_KEYS_FILE=keys.json; or listen on this machine "
            "only (HAL_HOST=127.0.0.1); or say that everybody may use it with HAL_ALLOW_ANONYMOUS=true"
        )


def is_loopback(host: str) -> bool:
    address = _address(host)
    mapped = getattr(address, "ipv4_mapped", None)
    return address is not None and bool((mapped or address).is_loopback)


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return None


class Authorisation:
    """Decides whether a request may pass, before its body is read.

    Open to all: the page, the documentation and ``/health``. ``/admin`` needs an admin key. ``/metrics`` needs a key
    of any role, but none on this machine, where Prometheus often runs. Everything else, known or not, needs a key of
    the role classify.

    Raises:
        KeysError: see :class:`~service.auth.keys.KeyStore`.
    """

    def __init__(self, keys_file: Path | None) -> None:
        self.keys = None if keys_file is None else KeyStore(keys_file)

    def check(self, scope: Scope) -> str | None:
        """The name of the key that a request came with, ``None`` where none is needed; or :class:`RequestError`."""
        path = str(scope["path"])
        if is_open(path):
            return None
        needed = Role.METRICS if path == _METRICS else Role.ADMIN if path.startswith("/admin/") else Role.CLASSIFY
        if self.keys is None:
            if needed is Role.ADMIN and not (_is_local(scope) and _is_asked_by_its_own(scope)):
                raise RequestError(
                    403,
                    "admin_key_needed",
                    "Without keys the service is changed from its own machine only, by its address or as localhost, "
                    "and by no page of another site; make an admin key ('hal keys add --role admin') and set "
                    "HAL_KEYS_FILE.",
                )
            return None
        presented = _presented(scope)
        if not presented:
            if path == _METRICS and _is_local(scope):
                return None
            raise RequestError(
                401, "key_missing", "A key is needed: send it as 'Authorization: Bearer KEY' or 'X-API-Key: KEY'."
            )
        key = self.keys.find(presented)
        if key is None:
            raise RequestError(
                401, "key_unknown", "The key is not known here or was revoked; ask whoever runs this service for one."
            )
        if not key.role.covers(needed):
            raise RequestError(403, "key_not_for_this", f"This needs a key of the role {needed}, yours is {key.role}.")
        return key.name


def _is_local(scope: Scope) -> bool:
    client = scope.get("client")
    return client is not None and is_loopback(str(client[0]))


def _is_asked_by_its_own(scope: Scope) -> bool:
    """Whether no other site's page makes a browser of this machine send the request.

    A browser says what site a page is of, unless the site has made its own name one of this machine (DNS rebinding).
    Then that name is the request's ``Host``, which an address or ``localhost`` cannot be made.
    """
    headers = Headers(scope=scope)
    host = headers.get("host", "")
    name = _PORT.sub("", host).strip("[]").lower()
    if name != "localhost" and not name.endswith(".localhost") and _address(name) is None:
        return False
    if headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
        return False
    origin = headers.get("origin")
    return origin is None or origin.partition("://")[2] == host


def _presented(scope: Scope) -> str:
    headers = Headers(scope=scope)
    scheme, _, token = headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else headers.get("x-api-key", "").strip()
