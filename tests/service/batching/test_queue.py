import asyncio
from collections.abc import Iterator, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.batching.queue import BULK_PART, BULK_TURN, Image, Logits, Priority, Queue, QueuedImage
from tests.service.slow_device import image

ROUTINE, BULK = Priority.ROUTINE, Priority.BULK
PIXELS = image(0)


class Sized:
    """A network of which only the batch limit matters."""

    def __init__(self, max_batch: int) -> None:
        self.max_batch = max_batch

    async def run(self, images: Sequence[Image]) -> Logits:
        raise AssertionError(f"forming a batch runs no network, not even on {len(images)} images")

    def results(self, rows: Logits) -> Sequence[Logits]:
        raise AssertionError(f"nor does it give results, not even of {len(rows)} rows")


@pytest.fixture(scope="module", autouse=True)
def _loop() -> Iterator[None]:
    with asyncio.Runner() as runner:
        asyncio.set_event_loop(runner.get_loop())
        yield


def images(network: Sized, priority: Priority, count: int) -> list[QueuedImage]:
    return [QueuedImage(PIXELS, network, priority, asyncio.Future()) for _ in range(count)]


def queue_of(*groups: list[QueuedImage]) -> Queue:
    queue = Queue()
    for group in groups:
        for queued in group:
            queue.add(queued)
    return queue


def test_routine_goes_first_and_bulk_has_the_places_that_are_left() -> None:
    network = Sized(4)
    bulk, routine = images(network, BULK, 5), images(network, ROUTINE, 2)
    queue = queue_of(bulk, routine)
    assert queue.next_batch(4) == [*routine, *bulk[:2]]
    assert queue.next_batch(4) == bulk[2:]
    assert queue.next_batch(4) == []


def test_bulk_has_a_quarter_of_every_fourth_batch_under_endless_routine_load() -> None:
    network = Sized(8)
    queue = queue_of(images(network, BULK, 6), images(network, ROUTINE, 200))
    carried = [sum(queued.priority is BULK for queued in queue.next_batch(8)) for _ in range(12)]
    assert carried == [0, 0, 0, 2] * 3


def test_a_batch_never_mixes_networks_and_the_older_is_not_left_behind() -> None:
    old, new = Sized(4), Sized(2)
    queue = queue_of(images(old, ROUTINE, 1), images(new, ROUTINE, 3), images(old, ROUTINE, 2), images(old, BULK, 1))
    sizes = []
    while batch := queue.next_batch(4):
        (network,) = {queued.network for queued in batch}
        sizes.append(("old" if network is old else "new", len(batch)))
    assert sizes == [("old", 4), ("new", 2), ("new", 1)]


ARRIVALS = st.lists(st.tuples(st.integers(0, 8), st.integers(0, 8)), min_size=1, max_size=30)


@given(arrivals=ARRIVALS, max_batch=st.integers(1, 6))
def test_whatever_arrives_both_guarantees_hold(arrivals: list[tuple[int, int]], max_batch: int) -> None:
    """Routine images wait for no bulk ones but in bulk's turn, and bulk has its part of one batch in four."""
    network = Sized(max_batch)
    queue = Queue()
    without_bulk = 0
    for routine, bulk in [*arrivals, *[(0, 0)] * sum(map(sum, arrivals))]:
        for queued in [*images(network, ROUTINE, routine), *images(network, BULK, bulk)]:
            queue.add(queued)
        before = {priority: queue.waiting(priority) for priority in Priority}
        batch = queue.next_batch(max_batch)
        carried = {priority: sum(queued.priority is priority for queued in batch) for priority in Priority}
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
    assert len(queue) == 0
