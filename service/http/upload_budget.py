"""How many bytes of request bodies are in the service at once.

Each body has a limit of its own, but any number of them can be on their way; each stays in memory until its request is
answered.
"""

from typing import Final

from starlette.types import Message, Receive

from service.errors import ServiceError

SMALL: Final = 1 << 20
"""Bytes of a body that takes its room as a whole. A larger one, or one of unknown length, takes it as it arrives, so
that one that is announced and never sent keeps nobody out."""


class UploadsFullError(ServiceError):
    """There is no room for more of a body."""

    status, code = 429, "uploads_full"
    retry_after_s = 1

    def __init__(self, most_bytes: int) -> None:
        super().__init__(
            f"The bodies that are being received or worked on have {most_bytes} bytes already, the most that are kept "
            f"(HAL_MAX_UPLOADS_BYTES); send this one again in {self.retry_after_s} s, or fewer at the same time.",
        )


class UploadRoom:
    """The room of one process. To be used in one event loop.

    Args:
        most_bytes: of all bodies together.

    Attributes:
        taken: how many of them are taken now.
    """

    def __init__(self, most_bytes: int) -> None:
        self._most = most_bytes
        self.taken = 0

    def take(self, size: int) -> None:
        """Take so many bytes.

        Raises:
            UploadsFullError: there are not so many.
        """
        if self.taken + size > self._most:
            raise UploadsFullError(self._most)
        self.taken += size

    def give_back(self, size: int) -> None:
        """Give back what was taken."""
        self.taken -= size


class Share:
    """What one request has taken of the room."""

    __slots__ = ("_room", "_size")

    def __init__(self, room: UploadRoom) -> None:
        self._room = room
        self._size = 0

    def of(self, declared: bytes, receive: Receive) -> Receive:
        """Take room for a body of the ``declared`` length, or as it arrives by what is returned.

        Raises:
            UploadsFullError: see :meth:`UploadRoom.take`; from what is returned, too.
        """
        if declared and int(declared) <= SMALL:
            self._take(int(declared))
            return receive

        async def counted() -> Message:
            message = await receive()
            self._take(len(message.get("body", b"")))
            return message

        return counted

    def give_back(self) -> None:
        """Give back all of it."""
        self._room.give_back(self._size)
        self._size = 0

    def _take(self, size: int) -> None:
        self._room.take(size)
        self._size += size
