"""A server that does nothing: reads a request and answers bytes made beforehand. ``python -m loadtest.trivial BYTES``.

What the generator reaches against it is the generator's own ceiling on this machine.
"""

import asyncio
import re
import sys
from typing import Final

_LENGTH: Final = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)


class Trivial(asyncio.Protocol):
    """Counts the bytes of a request and answers when they are there."""

    def __init__(self, answer: bytes) -> None:
        self._answer = answer
        self._head = b""
        self._missing = 0
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:  # noqa: D102
        assert isinstance(transport, asyncio.Transport)  # noqa: S101
        self._transport = transport

    def data_received(self, data: bytes) -> None:  # noqa: D102
        if self._missing:
            self._missing -= len(data)
        else:
            self._head += data
            head, end, body = self._head.partition(b"\r\n\r\n")
            if not end:
                return
            length = _LENGTH.search(head)
            self._missing = (int(length[1]) if length else 0) - len(body)
            self._head = b""
        if self._missing <= 0 and self._transport is not None:
            self._missing = 0
            self._transport.write(self._answer)


async def serve(answer_bytes: int) -> None:
    """Serve on a free port, print it, and end with standard input."""
    body = b'{"results":[],"filler":"' + b"x" * max(0, answer_bytes - 26) + b'"}'
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body)
    server = await asyncio.get_running_loop().create_server(lambda: Trivial(head + body), "127.0.0.1", 0)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await asyncio.to_thread(sys.stdin.read)
    server.close()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1])))
