"""What the parent tells a process of its own: one packet a command, with a socket where one belongs to it.

The other end closing means that the parent is gone.
"""

import asyncio
import contextlib
import logging
import socket
from collections.abc import Callable
from enum import StrEnum
from typing import Final

logger = logging.getLogger("hal.workers")

_PACKET: Final = 16


class Command(StrEnum):
    """What is to be done; a place and a socket may belong to it."""

    CONNECT = "c"
    """Here is an end of a connection to the worker of that place, or to the engine process."""
    RELOAD = "r"
    """Read the bundle again."""
    STOP = "s"
    """Finish what was accepted and end; also said by the parent's death."""


Obey = Callable[[Command, int, socket.socket | None], None]


def control_pair() -> tuple[socket.socket, socket.socket]:
    """The parent's end and the process's."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.setblocking(False)
    return ours, theirs


def tell(end: socket.socket, command: Command, place: int = 0, connection: socket.socket | None = None) -> None:
    """Give a command to the process at the other end, if it still lives."""
    packet = f"{command}{place}".encode()
    with contextlib.suppress(OSError):
        socket.send_fds(end, [packet], [] if connection is None else [connection.fileno()])


def listen(end: socket.socket, obey: Obey) -> None:
    """Call ``obey`` in the running loop with each command that comes."""
    loop = asyncio.get_running_loop()
    end.setblocking(False)

    def read() -> None:
        try:
            packet, descriptors, _, _ = socket.recv_fds(end, _PACKET, 1)
        except BlockingIOError:
            return
        except OSError:
            packet, descriptors = b"", []
        if not packet:
            loop.remove_reader(end.fileno())
            obey(Command.STOP, 0, None)
            return
        connection = socket.socket(fileno=descriptors[0]) if descriptors else None
        obey(Command(chr(packet[0])), int(packet[1:]), connection)

    loop.add_reader(end.fileno(), read)
