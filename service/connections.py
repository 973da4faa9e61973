"""HTTP connections whose clients may neither take for ever to say what they want nor say it at any length."""

from asyncio import TimerHandle
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from service.joined_writes import JoinedWrites

_TOO_SLOW: Final = b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
_TOO_LONG: Final = b"HTTP/1.1 431 Request Header Fields Too Large\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
MOST_HEAD: Final = 65_536
"""Bytes of a head after its first piece, which is at most what a socket gives at once (256 KiB)."""


class PatientConnection(HttpToolsProtocol):
    """A connection that is closed if the head of a request does not arrive in time, or does not end.

    uvicorn waits for ever for a head of which a first byte has come, and for the rest of a body that was refused
    unread: a client that sends a byte now and then ("slow loris") holds a connection, and a thousand of them the
    service. The body of a request that is being read has a limit of its own, HAL_UPLOAD_TIMEOUT_S. Nor has uvicorn a
    limit for a head's length: it would be parsed in the event loop, at a cost that grows faster than it, before any key
    is looked at.
    """

    head_timeout_s: float = 10.0

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._patience: TimerHandle | None = None
        self._heads = 0
        self._in_head = False
        self._head_bytes = 0

    def connection_made(self, transport: Any) -> None:  # noqa: D102
        super().connection_made(JoinedWrites(transport, self.loop))  # type: ignore[arg-type]
        self._begin_to_wait()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: D102
        self._stop_waiting()
        super().connection_lost(exc)

    def on_message_begin(self) -> None:  # noqa: D102
        self._heads += 1
        self._in_head = True
        self._head_bytes = 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:  # noqa: D102
        self._in_head = False
        self._stop_waiting()
        super().on_headers_complete()

    def data_received(self, data: bytes) -> None:  # noqa: D102
        heads = self._heads
        super().data_received(data)
        if self._in_head and self._heads == heads:
            self._head_bytes += len(data)
            if self._head_bytes > MOST_HEAD and not self.transport.is_closing():
                self._stop_waiting()
                self.transport.write(_TOO_LONG)
                self.transport.close()
        if self._nothing_under_way() and not self.transport.is_closing():
            self._begin_to_wait()

    def _nothing_under_way(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _begin_to_wait(self) -> None:
        if self._patience is None:
            self._patience = self.loop.call_later(self.head_timeout_s, self._give_up)

    def _stop_waiting(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None

    def _give_up(self) -> None:
        self._patience = None
        if self.transport.is_closing() or not self._nothing_under_way():
            return
        if self.cycle is None:
            self.transport.write(_TOO_SLOW)
        self.transport.close()


def patient(head_timeout_s: float) -> type[PatientConnection]:
    """Connections that wait so many seconds for the head of a request; for ``uvicorn.Config(http=...)``."""
    return type("PatientConnection", (PatientConnection,), {"head_timeout_s": head_timeout_s})
