"""HTTP connections whose clients may not take for ever to say what they want."""

from asyncio import TimerHandle
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from service.joined_writes import JoinedWrites

_TOO_SLOW: Final = b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"


class PatientConnection(HttpToolsProtocol):
    """A connection that is closed if the head of a request does not arrive in time.

    uvicorn waits for ever for a head of which a first byte has come, and for the rest of a body that was refused
    unread: a client that sends a byte now and then ("slow loris") holds a connection, and a thousand of them the
    service. The body of a request that is being read has a limit of its own, HAL_UPLOAD_TIMEOUT_S.
    """

    head_timeout_s: float = 10.0

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._patience: TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:  # noqa: D102
        super().connection_made(JoinedWrites(transport, self.loop))  # type: ignore[arg-type]
        self._begin_to_wait()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: D102
        self._stop_waiting()
        super().connection_lost(exc)

    def on_headers_complete(self) -> None:  # noqa: D102
        self._stop_waiting()
        super().on_headers_complete()

    def data_received(self, data: bytes) -> None:  # noqa: D102
        super().data_received(data)
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
