"""HTTP connections whose clients may neither take for ever to say what they want nor say it at any length, nor leave
unread what they are answered.
"""

import contextlib
import socket
import struct
from asyncio import TimerHandle
from collections.abc import Callable
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from service.http.joined_writes import JoinedWrites
from service.settings import Settings

_TOO_SLOW: Final = b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
_TOO_LONG: Final = b"HTTP/1.1 431 Request Header Fields Too Large\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
_AT_ONCE: Final = struct.pack("ii", 1, 0)
MOST_HEAD: Final = 65_536
"""Bytes of a head after its first piece, which is at most what a socket gives at once (256 KiB)."""


class PatientConnection(HttpToolsProtocol):
    """A connection that is closed if the head of a request does not arrive in time, or does not end, and if the client
    stops taking the answer.

    uvicorn waits for ever for a head of which a first byte has come, and for the rest of a body that was refused
    unread: a client that sends a byte now and then ("slow loris") holds a connection, and a thousand of them the
    service. The body of a request that is being read has a limit of its own, HAL_UPLOAD_TIMEOUT_S. Nor has uvicorn a
    limit for a head's length: it would be parsed in the event loop, at a cost that grows faster than it, before any key
    is looked at. And it keeps for ever what a client does not take, up to all the answers of a pipeline.

    What is refused here never reaches the application, so it is counted here.
    """

    head_timeout_s: float
    answer_timeout_s: float
    count: Callable[[int], None]

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._patience: TimerHandle | None = None
        self._heads = 0
        self._in_head = False
        self._head_bytes = 0
        self._watching: TimerHandle | None = None
        self._not_taken = 0

    def connection_made(self, transport: Any) -> None:
        super().connection_made(JoinedWrites(transport, self.loop, closed=self._watch))  # type: ignore[arg-type]
        self._begin_to_wait()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        self._stop_watching()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """More is written than the client takes (asyncio's own word for it)."""
        super().pause_writing()
        self._watch()

    def resume_writing(self) -> None:
        """The client has taken most of it."""
        super().resume_writing()
        self._stop_watching()
        if self.transport.is_closing():
            self._watch()

    def _watch(self) -> None:
        """From now on the client must take something of what is written, every now and then, until it has all."""
        self._stop_watching()
        self._not_taken = self.transport.get_write_buffer_size()
        self._watching = self.loop.call_later(self.answer_timeout_s, self._look_at_what_was_taken)

    def _look_at_what_was_taken(self) -> None:
        left = self.transport.get_write_buffer_size()
        if left and left >= self._not_taken:
            # With what the system still holds of it, which it would offer the client for minutes.
            with contextlib.suppress(OSError):  # Windows has another form of it
                self.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
            self.transport.abort()
        else:
            self._watch()

    def _stop_watching(self) -> None:
        if self._watching is not None:
            self._watching.cancel()
            self._watching = None

    def on_message_begin(self) -> None:
        self._heads += 1
        self._in_head = True
        self._head_bytes = 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._in_head = False
        self._stop_waiting()
        super().on_headers_complete()

    def data_received(self, data: bytes) -> None:
        heads = self._heads
        super().data_received(data)
        if self._in_head and self._heads == heads:
            self._head_bytes += len(data)
            if self._head_bytes > MOST_HEAD and not self.transport.is_closing():
                self._stop_waiting()
                self.count(431)
                self.transport.write(_TOO_LONG)
                self.transport.close()
        if self._nothing_under_way() and not self.transport.is_closing():
            self._begin_to_wait()

    def send_400_response(self, msg: str) -> None:
        """What uvicorn answers to something that is no HTTP."""
        # A request of which only the body is broken is one that the application counts.
        if self._nothing_under_way():
            self.count(400)
        super().send_400_response(msg)

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
        if self._in_head:
            # A browser opens connections that it may need; only one that began to ask was refused something.
            self.count(408)
        if self._in_head or self.cycle is None:
            self.transport.write(_TOO_SLOW)
        self.transport.close()


def patient(settings: Settings, count: Callable[[int], None]) -> type[PatientConnection]:
    """Connections with the patience of ``settings``; for ``uvicorn.Config(http=...)``.

    Args:
        settings: of the service.
        count: is told the status of what is refused before it reaches the application.
    """
    patience = {
        "head_timeout_s": settings.header_timeout_s,
        "answer_timeout_s": settings.answer_timeout_s,
        "count": staticmethod(count),
    }
    return type("PatientConnection", (PatientConnection,), patience)
