"""The board as other cores may see it: in another order than it was written, and while it is being written."""

import asyncio
import itertools
import multiprocessing
import time
from collections.abc import Callable
from dataclasses import replace
from multiprocessing.shared_memory import SharedMemory

import pytest

from contract.bundle import Bundle
from service.settings import Settings
from service.workers import board as boards
from service.workers.board import Board, DamagedAccountError, Field
from service.workers.memory import Memory, shared
from service.workers.worker import Worker

WRITTEN = 500
FIRST, SECOND = b"the first account", b"the second account"


class Arriving(Board):
    """A board of which the rest arrives after somebody has seen that it is not whole."""

    rest: Callable[[], None] | None = None

    def _whole(self, place: int, edition: int) -> bytes | None:
        account = super()._whole(place, edition)
        if account is None and self.rest is not None:
            self.rest()
        return account


def board_with(memory: Memory, *accounts: bytes) -> Arriving:
    """A board on which the engine process has written these, one after the other."""
    board = Arriving(memory.numbers, 2)
    for account in accounts:
        board.write_account(1, account)
    return board


@pytest.mark.parametrize("byte", [0, 8, 16, 32], ids=["edition", "size", "digest", "account"])
def test_a_torn_record_is_noticed_and_read_again(byte: int) -> None:
    with shared(1) as memory:
        board = board_with(memory, FIRST, SECOND)
        board._record(1, 2)[byte] ^= 0xFF
        looks = itertools.count(1)

        def rest() -> None:
            if next(looks) == 3:
                board._record(1, 2)[byte] ^= 0xFF

        board.rest = rest
        assert board.read_account(1) == SECOND
        assert next(looks) == 4
        board.close()


def test_an_edition_that_is_seen_before_its_record_is_waited_for() -> None:
    with shared(1) as memory:
        board = board_with(memory, FIRST, SECOND)
        board._edition(1)[0] = 3

        def rest() -> None:
            board._edition(1)[0] = 2
            board.write_account(1, b"the third account")

        board.rest = rest
        assert board.read_account(1) == b"the third account"
        board.close()


def test_an_account_that_stays_damaged_is_an_error_and_not_an_endless_wait() -> None:
    with shared(1) as memory:
        board = board_with(memory, FIRST)
        board._record(1, 1)[-1] = 1
        assert board.read_account(1) == FIRST, "what is behind the account is not looked at"
        board._record(1, 1)[boards._HEADER.size] ^= 1
        with pytest.raises(DamagedAccountError, match=r"process 1 .* edition 1 .* restart it"):
            board.read_account(1)
        board.close()


def test_accounts_are_read_whole_and_in_order_while_another_process_writes_them() -> None:
    with shared(1) as memory:
        board = memory.board
        writer = multiprocessing.get_context("spawn").Process(target=write_many, args=(memory.numbers,))
        writer.start()
        last = 0
        while last < WRITTEN:
            assert writer.exitcode in (None, 0)
            account = board.read_account(0)
            if account:
                number = int.from_bytes(account[:4], "big")
                assert account == account_of(number)
                assert number >= last
                last = number
        writer.join()
        assert writer.exitcode == 0


def write_many(numbers: SharedMemory) -> None:
    """As a process of the service does, without a pause."""
    board = Board(numbers, 2)
    for number in range(1, WRITTEN + 1):
        board.write_account(0, account_of(number))
    board.close()


def account_of(number: int) -> bytes:
    """An account of which all bytes tell its number, each of another length than the one before."""
    return number.to_bytes(4, "big") * (1 + number * 7919 % (boards._ACCOUNT // 4))


def test_every_word_is_aligned_so_that_it_is_written_whole() -> None:
    assert [size % 8 for size in (boards._HEAD, boards._RECORD, boards._PLACE)] == [0, 0, 0]
    places = itertools.chain.from_iterable(
        (boards._HEAD + place * boards._PLACE, boards.bytes_for(place)) for place in range(4)
    )
    assert [place % 8 for place in places] == [0] * 8


class BatchEnds(Board):
    """The device's batch ends when somebody has just seen that there is one."""

    def __getitem__(self, field: Field) -> float:
        value = super().__getitem__(field)
        if field is Field.BUSY_SINCE:
            self[field] = 0
        return value


def test_a_batch_that_ends_while_it_is_looked_at_does_not_make_a_hung_device(bundle: Bundle) -> None:
    def busy(board: Board) -> None:
        board[Field.BUSY_SINCE] = time.monotonic()

    assert stalled(bundle, busy, BatchEnds) is False


def test_seats_that_are_seen_before_the_engine_process_is_do_not_make_it_stand_still(bundle: Bundle) -> None:
    long_ago = time.monotonic() - 1000

    def begins(board: Board) -> None:
        board[Field.SEEN_AT] = -long_ago
        board[Field.ROUTINE_TAKEN] = 1

    def stands_still(board: Board) -> None:
        board[Field.SEEN_AT] = long_ago
        board[Field.ROUTINE_TAKEN] = 1

    assert stalled(bundle, begins) is False
    assert stalled(bundle, stands_still) is True


def stalled(bundle: Bundle, write: Callable[[Board], None], kind: type[Board] = Board) -> bool:
    """What a worker says of an engine process that has written so."""

    async def ask() -> bool:
        with shared(1) as memory:
            board = kind(memory.numbers, 2)
            worker = Worker(Settings(bundle=bundle.root, http_workers=2), bundle, replace(memory, board=board), 0)
            write(board)
            said = worker.stalled
            await worker.close()
            board.close()
            return said

    return asyncio.run(ask())
