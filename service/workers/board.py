"""What every process of the service must know at once, in shared memory: numbers, and what each process has counted.

There is no lock, which a process that is killed would never let go of, and no memory fence, which Python has not. What
one core writes another sees soon, but on ARM, unlike x86, neither in the order in which it was written nor in the order
in which it is asked for. So nothing here depends on order:

- A number is one aligned word of 64 bits, which the processor writes and reads whole. Each has one writer at a time.
  Nothing follows from two of them as of one moment: what must be known together is one number (:attr:`Field.SEEN_AT`
  says both whether there is work and when the engine process was last seen), and a number that is needed twice is read
  once. Only the process numbers of an engine process are compared with each other, and they are written some
  milliseconds apart.
- An account is a record with its edition and a digest of all of it. Whoever finds another edition or another digest
  than was to be expected has met a record that is being written, or of which not all has arrived yet, and reads again.
  There are two records for each process, written by turns, so that the last whole one stays readable while the next is
  written and after the process has died.

What goes from process to process by socket (:mod:`service.workers.messages`, and with it the images of
:mod:`service.workers.slots`) is put in order by the kernel, on all machines.
"""

import hashlib
import struct
from enum import IntEnum, auto
from multiprocessing.shared_memory import SharedMemory
from typing import Final

_NUMBER: Final = 8
_NUMBERS: Final = 64
_HEAD: Final = _NUMBER * _NUMBERS
_ACCOUNT: Final = 64 * 1024
"""Bytes of an account at most: all routes with all outcomes fit several times."""
_HEADER: Final = struct.Struct("=QQ16s")
"""Of a record: edition, bytes of the account, digest."""
_RECORD: Final = _HEADER.size + _ACCOUNT
_PLACE: Final = _NUMBER + 2 * _RECORD
"""The edition of the last whole record, and both."""
_TRIES: Final = 10_000
"""The first is enough but for once in a blue moon."""


class Field(IntEnum):
    """A number on the board, and who writes it."""

    STOPPING = 0
    """Parent: 1 while the service is not ready but still serves, 2 when it turns requests away."""
    ENGINES = auto()
    """Parent: engine processes that were started so far."""
    ENGINE_STARTED_AT = auto()
    """Parent: when the last one was, by ``time.monotonic``."""
    ENGINES_LOST = auto()
    """Parent: those that ended by themselves."""
    ENGINES_RUNNING = auto()
    """Parent."""
    WORKERS_LOST = auto()
    """Parent."""
    WORKERS_RUNNING = auto()
    """Parent."""
    LOST_CPU_S = auto()
    """Parent: processor time of processes that have ended."""
    STATE = auto()
    """Engine: the place of its state in :class:`service.serving.states.State`; parent: that it was lost."""
    START_S = auto()
    """Engine: seconds that it took to become ready."""
    BUSY_SINCE = auto()
    """Engine: when the device began its present batch, by ``time.monotonic``; 0: it is free."""
    SEEN_AT = auto()
    """Engine: when it last wrote here, by ``time.monotonic``; negative: no seat was taken then. While one is, it writes
    at least every :data:`HEARTBEAT_S`."""
    ROUTINE_TAKEN = auto()
    """Engine: seats."""
    BULK_TAKEN = auto()
    """Engine: seats."""
    ROUTINE_RETRY_S = auto()
    """Engine: what ``Retry-After`` should say."""
    BULK_RETRY_S = auto()
    """Engine."""
    AUDIT_FULL = auto()
    """Engine: 1 if no row of the audit trail finds a place."""
    AUDIT_AWAY = auto()
    """Engine: 1 if the audit trail's database is away."""
    BROKEN = auto()
    """Engine: 1 if its batcher broke."""


HEARTBEAT_S: Final = 0.25


class DamagedAccountError(Exception):
    """What a process has counted cannot be read; the message says what to do."""


def bytes_for(processes: int) -> int:
    """Bytes of a board for so many processes that count."""
    return _HEAD + processes * _PLACE


class Board:
    """The numbers and the accounts.

    Args:
        memory: of :func:`bytes_for` bytes, zero at first.
        processes: that count.
    """

    def __init__(self, memory: SharedMemory, processes: int) -> None:
        assert memory.buf is not None  # noqa: S101 - it is open
        self._buffer = memory.buf
        self._numbers = self._buffer[:_HEAD].cast("d")
        self.processes = processes

    def __getitem__(self, field: Field) -> float:
        return self._numbers[field]

    def __setitem__(self, field: Field, value: float) -> None:
        self._numbers[field] = value

    def add(self, field: Field, value: float = 1) -> None:
        """Add to a number that only this process writes."""
        self._numbers[field] += value

    def write_account(self, place: int, account: bytes) -> None:
        """Replace the account of a process.

        Raises:
            ValueError: it is too long; the former one stays.
        """
        if len(account) > _ACCOUNT:
            raise ValueError(f"an account of {len(account)} bytes, at most {_ACCOUNT} find room on the board")
        edition = self._edition(place)[0] + 1
        header = _HEADER.pack(edition, len(account), _digest(edition, account))
        self._record(place, edition)[: len(header) + len(account)] = header + account
        self._edition(place)[0] = edition

    def read_account(self, place: int) -> bytes:
        """The last account of a process; empty if it has written none.

        Raises:
            DamagedAccountError: no whole one is there, however often it is read.
        """
        for _ in range(_TRIES):
            edition = self._edition(place)[0]
            if edition == 0:
                return b""
            account = self._whole(place, edition)
            if account is not None:
                return account
        raise DamagedAccountError(
            f"what process {place} has counted is damaged in shared memory: no record of edition {edition} with its "
            "digest; something other than this service has written there, restart it"
        )

    def _whole(self, place: int, edition: int) -> bytes | None:
        """The account of that edition if all of it is there now."""
        record = self._record(place, edition)
        found, size, digest = _HEADER.unpack_from(record)
        account = bytes(record[_HEADER.size :][:size])
        return account if found == edition and digest == _digest(edition, account) else None

    def _edition(self, place: int) -> "memoryview[int]":
        start = _HEAD + place * _PLACE
        return self._buffer[start : start + _NUMBER].cast("Q")

    def _record(self, place: int, edition: int) -> "memoryview[int]":
        start = _HEAD + place * _PLACE + _NUMBER + edition % 2 * _RECORD
        return self._buffer[start : start + _RECORD]

    def close(self) -> None:
        """Let go of the memory."""
        self._numbers.release()


def _digest(edition: int, account: bytes) -> bytes:
    return hashlib.blake2b(account, digest_size=16, salt=edition.to_bytes(16, "little")).digest()
