import asyncio
from collections.abc import Iterator, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.batching.queue import BULK_PART, BULK_TURN, Image, Lines, Logits, Priority, Ticket
from tests.service.slow_device import image

ROUTINE, BULK = Priority.ROUTINE, Priority.BULK
PIXELS = image(0)


class Sized:
    """A network of which only the batch limit matters."""

    def __init__(self, max_batch: int) -> None:
        self.max_batch = max_batch

    async def run(self, images: Sequence[Image]) -> Logits:
        raise AssertionError(f"forming a batch runs no network, not even on {len(images)} images")


@pytest.fixture(scope="module", autouse=True)
def _loop() -> Iterator[None]:
    with asyncio.Runner() as runner:
        asyncio.set_event_loop(runner.get_loop())
        yield


def tickets(network: Sized, priority: Priority, count: int) -> list[Ticket]:
    return [Ticket(PIXELS, network, priority, asyncio.Future()) for _ in range(count)]


def lines_of(*groups: list[Ticket]) -> Lines:
    lines = Lines()
    for group in groups:
        for ticket in group:
            lines.add(ticket)
    return lines


def test_routine_goes_first_and_bulk_has_the_places_that_are_left() -> None:
    network = Sized(4)
    bulk, routine = tickets(network, BULK, 5), tickets(network, ROUTINE, 2)
    lines = lines_of(bulk, routine)
    assert lines.next_batch(4) == [*routine, *bulk[:2]]
    assert lines.next_batch(4) == bulk[2:]
    assert lines.next_batch(4) == []


def test_bulk_has_a_quarter_of_every_fourth_batch_under_endless_routine_load() -> None:
    network = Sized(8)
    lines = lines_of(tickets(network, BULK, 6), tickets(network, ROUTINE, 200))
    carried = [sum(ticket.priority is BULK for ticket in lines.next_batch(8)) for _ in range(12)]
    assert carried == [0, 0, 0, 2] * 3


def test_a_batch_of_one_is_bulks_every_fourth_time() -> None:
    network = Sized(1)
    lines = lines_of(tickets(network, BULK, 2), tickets(network, ROUTINE, 20))
    carried = [lines.next_batch(1)[0].priority for _ in range(9)]
    assert carried == [ROUTINE, ROUTINE, ROUTINE, BULK] * 2 + [ROUTINE]


def test_batches_that_pass_while_no_bulk_waits_give_it_no_claim() -> None:
    network = Sized(2)
    lines = lines_of(tickets(network, ROUTINE, 40))
    for _ in range(10):
        lines.next_batch(2)
    for ticket in tickets(network, BULK, 1):
        lines.add(ticket)
    carried = [sum(ticket.priority is BULK for ticket in lines.next_batch(2)) for _ in range(4)]
    assert carried == [0, 0, 0, 1]


def test_a_batch_never_mixes_networks_and_the_older_is_not_left_behind() -> None:
    old, new = Sized(4), Sized(2)
    lines = lines_of(
        tickets(old, ROUTINE, 1), tickets(new, ROUTINE, 3), tickets(old, ROUTINE, 2), tickets(old, BULK, 1)
    )
    sizes = []
    while batch := lines.next_batch(4):
        (network,) = {ticket.network for ticket in batch}
        sizes.append(("old" if network is old else "new", len(batch)))
    assert sizes == [("old", 4), ("new", 2), ("new", 1)]


ARRIVALS = st.lists(st.tuples(st.integers(0, 8), st.integers(0, 8)), min_size=1, max_size=30)


@given(arrivals=ARRIVALS, max_batch=st.integers(1, 6))
def test_whatever_arrives_both_guarantees_hold(arrivals: list[tuple[int, int]], max_batch: int) -> None:
    """Routine images wait for no bulk ones but in bulk's turn, and bulk has its part of one batch in four."""
    network = Sized(max_batch)
    lines = Lines()
    without_bulk = 0
    for routine, bulk in [*arrivals, *[(0, 0)] * sum(map(sum, arrivals))]:
        for ticket in [*tickets(network, ROUTINE, routine), *tickets(network, BULK, bulk)]:
            lines.add(ticket)
        before = {priority: lines.waiting(priority) for priority in Priority}
        batch = lines.next_batch(max_batch)
        carried = {priority: sum(ticket.priority is priority for ticket in batch) for priority in Priority}
        assert len(batch) == min(max_batch, sum(before.values())), "no place stays empty"
        if before[BULK] and not carried[BULK]:
            without_bulk += 1
        else:
            left_behind = before[ROUTINE] - carried[ROUTINE]
            if left_behind and carried[BULK]:
                assert without_bulk == BULK_TURN - 1
                assert carried[BULK] == min(before[BULK], max(1, max_batch // BULK_PART))
            without_bulk = 0
        assert without_bulk < BULK_TURN
    assert len(lines) == 0
