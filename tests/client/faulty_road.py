"""A TCP road between a client and the real service that can be blocked, cut and watched."""

import contextlib
import re
import socket
import threading
from types import TracebackType
from typing import Self

REQUEST_ID = re.compile(rb"x-request-id: ([^\r\n]+)", re.IGNORECASE)


class FaultyRoad:
    """Passes bytes on to ``upstream``; without one it hangs up on whoever comes.

    Attributes:
        upstream: port of the service, or ``None``.
        cuts: for the next connections, after how many bytes of the answer the road breaks.
        hung_up: connections that found no service.
        received: all bytes that clients sent.
    """

    def __init__(self) -> None:
        self.upstream: int | None = None
        self.cuts: list[int] = []
        self.hung_up = 0
        self.connections = 0
        self.received = bytearray()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._sockets: list[socket.socket] = []
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> Self:
        self._start(self._accept)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for end in self._sockets:
            _hang_up(end)
        for thread in self._threads:
            thread.join(10)

    @property
    def request_ids(self) -> list[str]:
        """Of every request that was sent, in order."""
        return [found.decode() for found in REQUEST_ID.findall(bytes(self.received))]

    def _start(self, target: object, *arguments: object) -> None:
        thread = threading.Thread(target=target, args=arguments)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            self._sockets.append(near)
            if self.upstream is None:
                self.hung_up += 1
                _hang_up(near)
                continue
            try:
                far = socket.create_connection(("127.0.0.1", self.upstream))
            except ConnectionRefusedError:
                self.hung_up += 1
                _hang_up(near)
                continue
            self._sockets.append(far)
            cut = self.cuts.pop(0) if self.cuts else None
            self._start(self._carry, near, far, None, self.received)
            self._start(self._carry, far, near, cut, bytearray())

    def _carry(self, source: socket.socket, target: socket.socket, cut: int | None, seen: bytearray) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                seen += data
                target.sendall(data if cut is None else data[: max(0, cut - len(seen) + len(data))])
                if cut is not None and len(seen) >= cut:
                    break
        _hang_up(source)
        _hang_up(target)


def _hang_up(end: socket.socket) -> None:
    with contextlib.suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
    end.close()
