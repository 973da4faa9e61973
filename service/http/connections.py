"""HTTP connections whose clients may neither take for ever to say what they want nor say it at any length, nor leave
unread what they are answered.

uvicorn waits for ever for a head of which a first byte has come, and for the rest of a body that was refused unread: a
client that sends a byte now and then ("slow loris") holds a connection, and a thousand of them the service. The body of
a request that is being read has a limit of its own, HAL_UPLOAD_TIMEOUT_S. Nor has uvicorn a limit for a head's length:
it would be parsed in the event loop, at a cost that grows faster than it, before any key is looked at. And it keeps for
ever what a client does not take, up to all the answers of a pipeline.
"""

import asyncio
import contextlib
import socket
import struct
from asyncio import TimerHandle
from collections.abc import Callable
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from service.settings import Settings

_TOO_SLOW: Final = b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
_TOO_LONG: Final = b"HTTP/1.1 431 Request Header Fields Too Large\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
_AT_ONCE: Final = struct.pack("ii", 1, 0)
_HEAD: Final = b"HTTP/1."
MOST_HEAD: Final = 65_536
"""Bytes of a head after its first piece, which is at most what a socket gives at once (256 KiB)."""
_STILL_THERE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
_LOOK_S: Final = 0.05


class JoinedWrites:
    """A transport that keeps the head of an answer until the body comes, at most to the loop's next turn.

    uvicorn writes the two one after the other, and uvloop hands each to the kernel at once: some 50 microseconds each
    on a virtual machine (loopback), with the interpreter's lock held, and two packets that wake the client twice.

    ``closed`` is called when it is closed before its client has taken all: it would wait for that for ever.
    """

    def __init__(
        self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop, closed: Callable[[], None]
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


class LimitedConnection(HttpToolsProtocol):
    """A connection that is closed if the head of a request does not arrive in time, or does not end, and if the client
    stops taking the answer. What is refused here never reaches the application, so ``count`` is told its status here.
    """

    settings: Settings
    count: Callable[[int], None]

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._header_timeout: TimerHandle | None = None
        self._answer_timeout: TimerHandle | None = None
        self._look: TimerHandle | None = None
        self._heads = 0
        self._in_head = False
        self._head_bytes = 0
        self._not_taken = 0

    def connection_made(self, transport: Any) -> None:
        joined = JoinedWrites(transport, self.loop, self._start_answer_timeout)
        super().connection_made(joined)  # type: ignore[arg-type]
        self._start_header_timeout()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_header_timeout()
        self._stop_answer_timeout()
        if self._look is not None:
            self._look.cancel()
        super().connection_lost(exc)

    def eof_received(self) -> bool:  # type: ignore[override]
        """The client sends no more: a whole request is answered all the same (RFC 9112, section 9.6).

        One that went away says no more than that. An interim response, which clients leave unread, tells the two apart:
        the system of one that went away answers it with a reset. HTTP/1.0 has no interim responses; such a client is
        answered as if it were there.
        """
        cycle = self.cycle
        if self._is_idle() or cycle.more_body:
            return False
        cycle.keep_alive = False
        if not (cycle.response_started or self.pipeline) and cycle.scope["http_version"] == "1.1":
            self.transport.write(_STILL_THERE)
            self._look = self.loop.call_later(_LOOK_S, self._look_whether_there)
        return True

    def _look_whether_there(self) -> None:
        if self.transport.is_closing():
            return
        if self.transport.get_extra_info("socket").getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            self.transport.abort()
        else:
            self._look = self.loop.call_later(_LOOK_S, self._look_whether_there)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._start_answer_timeout()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._stop_answer_timeout()
        if self.transport.is_closing():
            self._start_answer_timeout()

    def _start_answer_timeout(self) -> None:
        """From now on the client must take something of what is written, every now and then, until it has all."""
        self._stop_answer_timeout()
        self._not_taken = self.transport.get_write_buffer_size()
        self._answer_timeout = self.loop.call_later(self.settings.answer_timeout_s, self._answer_timed_out)

    def _answer_timed_out(self) -> None:
        left = self.transport.get_write_buffer_size()
        if left and left >= self._not_taken:
            # With what the system still holds of it, which it would offer the client for minutes.
            with contextlib.suppress(OSError):  # Windows has another form of it
                self.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
            self.transport.abort()
        else:
            self._start_answer_timeout()

    def _stop_answer_timeout(self) -> None:
        if self._answer_timeout is not None:
            self._answer_timeout.cancel()
            self._answer_timeout = None

    def on_message_begin(self) -> None:
        self._heads += 1
        self._in_head = True
        self._head_bytes = 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._in_head = False
        self._stop_header_timeout()
        super().on_headers_complete()

    def data_received(self, data: bytes) -> None:
        heads = self._heads
        super().data_received(data)
        if self._in_head and self._heads == heads:
            self._head_bytes += len(data)
            if self._head_bytes > MOST_HEAD and not self.transport.is_closing():
                self._stop_header_timeout()
                self.count(431)
                self.transport.write(_TOO_LONG)
                self.transport.close()
        if self._is_idle() and not self.transport.is_closing():
            self._start_header_timeout()

    def send_400_response(self, msg: str) -> None:
        # A request of which only the body is broken is one that the application counts.
        if self._is_idle():
            self.count(400)
        super().send_400_response(msg)

    def _is_idle(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _start_header_timeout(self) -> None:
        if self._header_timeout is None:
            self._header_timeout = self.loop.call_later(self.settings.header_timeout_s, self._header_timed_out)

    def _stop_header_timeout(self) -> None:
        if self._header_timeout is not None:
            self._header_timeout.cancel()
            self._header_timeout = None

    def _header_timed_out(self) -> None:
        self._header_timeout = None
        if self.transport.is_closing() or not self._is_idle():
            return
        if self._in_head:
            # A browser opens connections that it may need; only one that began to ask was refused something.
            self.count(408)
        if self._in_head or self.cycle is None:
            self.transport.write(_TOO_SLOW)
        self.transport.close()


def connections(settings: Settings, count: Callable[[int], None]) -> type[LimitedConnection]:
    """Connections with the limits of ``settings``; for ``uvicorn.Config(http=...)``."""
    return type("LimitedConnection", (LimitedConnection,), {"settings": settings, "count": staticmethod(count)})
