"""What every process of the service must know at once, in shared memory: numbers, and what each process has counted.

Each number has one writer and is written whole. Each process has a place for the account of what it has counted, of
which the last whole one stays readable while the next is written and after the process has died.
"""

from enum import IntEnum, auto
from multiprocessing.shared_memory import SharedMemory
from typing import Final

_NUMBER: Final = 8
_NUMBERS: Final = 64
_HEAD: Final = _NUMBER * _NUMBERS
_ACCOUNT: Final = 64 * 1024
"""Bytes of an account at most: all routes with all outcomes fit several times."""
_PLACE: Final = 3 * _NUMBER + 2 * _ACCOUNT


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
    """Engine: the place of its state in :class:`service.states.State`; parent: that it was lost."""
    START_S = auto()
    """Engine: seconds that it took to become ready."""
    BUSY_SINCE = auto()
    """Engine: when the device began its present batch, by ``time.monotonic``; 0: it is free."""
    SEEN_AT = auto()
    """Engine: when it last wrote here, by ``time.monotonic``; at least every :data:`HEARTBEAT_S` while it has work."""
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
        start = _HEAD + place * _PLACE
        edition = int(self._place(place)[0]) + 1
        half = edition % 2
        begin = start + 3 * _NUMBER + half * _ACCOUNT
        self._buffer[begin : begin + len(account)] = account
        self._place(place)[1 + half] = len(account)
        self._place(place)[0] = edition

    def read_account(self, place: int) -> bytes:
        """The last account of a process; empty if it has written none."""
        while True:
            edition = int(self._place(place)[0])
            half = edition % 2
            begin = _HEAD + place * _PLACE + 3 * _NUMBER + half * _ACCOUNT
            account = bytes(self._buffer[begin : begin + int(self._place(place)[1 + half])])
            # Another edition since then may have been followed by a third, which is written over what was read.
            if int(self._place(place)[0]) == edition:
                return account

    def _place(self, place: int) -> "memoryview[float]":
        start = _HEAD + place * _PLACE
        return self._buffer[start : start + 3 * _NUMBER].cast("d")

    def close(self) -> None:
        """Let go of the memory."""
        self._numbers.release()
