"""One end of the connection between a worker and the engine process.

What is sent in one turn of the event loop goes out as one frame, with one system call, and wakes the other side once.
"""

import asyncio
import socket
from collections.abc import Callable
from typing import Any, Final, Generic, TypeVar

from msgspec import msgpack

from service.workers.messages import encoder

_LENGTH: Final = 4

Out = TypeVar("Out")
In = TypeVar("In")


class Link(asyncio.Protocol, Generic[Out, In]):
    """Sends and receives messages until the other process closes the connection, dies, or :meth:`close` is called.

    Args:
        decoder: of what comes in.
        received: called with each message.
        lost: called once at the end.

    Attributes:
        lost: whether the end has come.
    """

    def __init__(
        self, decoder: msgpack.Decoder[list[In]], received: Callable[[In], None], lost: Callable[[], None]
    ) -> None:
        self._decoder = decoder
        self._received = received
        self._on_lost = lost
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._buffer = bytearray()
        self._outgoing: list[Out] = []
        self.lost = False

    async def connect(self, end: socket.socket) -> None:
        """Use a connected socket, which is the link's own from then on."""
        end.setblocking(False)
        await self._loop.create_unix_connection(lambda: self, sock=end)

    def send(self, message: Out) -> None:
        """Send a message at the end of this turn of the loop; after the end it is dropped."""
        if self.lost:
            return
        if not self._outgoing:
            self._loop.call_soon(self.flush)
        self._outgoing.append(message)

    def flush(self) -> None:
        """Send what waits now."""
        if self._outgoing and self._transport is not None:
            frame = encoder.encode(self._outgoing)
            self._outgoing.clear()
            self._transport.write(len(frame).to_bytes(_LENGTH, "big") + frame)

    def close(self) -> None:
        """Send what waits and end the connection."""
        self.flush()
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: Any) -> None:  # noqa: D102
        self._transport = transport
        self.flush()

    def data_received(self, data: bytes) -> None:  # noqa: D102
        buffer = self._buffer
        buffer += data
        start = 0
        while len(buffer) - start >= _LENGTH:
            end = start + _LENGTH + int.from_bytes(buffer[start : start + _LENGTH], "big")
            if len(buffer) < end:
                break
            with memoryview(buffer) as view:
                messages = self._decoder.decode(view[start + _LENGTH : end])
            for message in messages:
                self._received(message)
            start = end
        del buffer[:start]

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: D102, ARG002
        self.lost = True
        self._transport = None
        self._outgoing.clear()
        self._on_lost()
