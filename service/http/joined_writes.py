"""One system call for an answer instead of two.

uvicorn writes the head of an answer and its body one after the other, and uvloop hands each to the kernel at once: some
50 microseconds each on a virtual machine (loopback), with the interpreter's lock held, and two packets that wake the
client twice.
"""

import asyncio
from collections.abc import Callable
from typing import Any, Final

_HEAD: Final = b"HTTP/1."


class JoinedWrites:
    """A transport that keeps the head of an answer until the body comes, at most to the loop's next turn.

    Args:
        transport: the real one.
        loop: its event loop.
        closed: called when it is closed before its client has taken all: it would wait for that for ever.
    """

    def __init__(
        self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop, closed: Callable[[], None] = lambda: None
    ) -> None:
        self._transport = transport
        self._closed = closed
        self._loop = loop
        self._head: bytes | None = None

    def write(self, data: bytes) -> None:
        """Write ``data``, behind a head that was kept; a head is kept."""
        if self._head is not None:
            data, self._head = self._head + data, None
        elif data.startswith(_HEAD):
            self._head = data
            self._loop.call_soon(self._flush)
            return
        self._transport.write(data)

    def close(self) -> None:
        """Write what was kept, and close once the client has taken it."""
        self._flush()
        self._transport.close()
        if self._transport.get_write_buffer_size():
            self._closed()

    def _flush(self) -> None:
        if self._head is not None:
            head, self._head = self._head, None
            self._transport.write(head)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)
