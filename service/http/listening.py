"""Where the service listens, and what it says to whoever has started it."""

import socket
import sys
from typing import Final

import typer

from contract.bundle import Bundle
from service.settings import Settings

_BACKLOG: Final = 2048
"""Connections that wait for the server."""


class PortError(Exception):
    """The address cannot be listened on."""


def listen(settings: Settings) -> socket.socket:
    """A bound socket, before the model is loaded: a taken port is found out at once.

    Raises:
        PortError: the address cannot be listened on.
    """
    try:
        family, *_, address = socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError as error:
        raise PortError(
            f"cannot listen on {settings.host}:{settings.port}: {error.strerror}; choose another with PORT=8001 or "
            "--port 8001, or stop what listens there"
        ) from error
    return listener


def announce(settings: Settings, bundle: Bundle, listener: socket.socket) -> None:
    """Say where the service is, and let clients wait from then on who would be refused until the server runs."""
    listener.listen(_BACKLOG)
    description, file = bundle.description, bundle.file(settings.precision)
    host, port, *_ = listener.getsockname()
    url = f"http://{f'[{host}]' if ':' in host else host}:{port}"
    typer.echo(
        f"HAL {description.name} {description.version} ({file.precision}, SHA-256 {file.sha256})\n"
        f"HAL_DEVICE={settings.device}. {description.intended_use}\n"
        f"Listening on {url}, where a page takes images; {url}/docs has the API. Try:\n"
        f"  curl -F file=@tests/data/cells/segmented-neutrophil-1.jpg {url}/classify"
    )
    sys.stdout.flush()
