import asyncio
import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.refusals import ImageRefusedError, RefusalCode
from service.batching.queue import Priority
from service.images.pool import Decoders, Pixels

PIXELS = np.zeros((1, 1, 3), np.uint8)
LARGE = bytes(1 << 17)
"""Goes alone, so that the order of the hops is the order of the images."""
ROUTINE, BULK = Priority.ROUTINE, Priority.BULK


class Held:
    """Decoding of which the test decides when it begins in earnest, and that remembers its order."""

    def __init__(self) -> None:
        self.begun, self.carry_on = threading.Event(), threading.Event()
        self.order: list[bytes] = []

    def __call__(self, data: bytes) -> Pixels:
        self.begun.set()
        assert self.carry_on.wait(60)
        self.order.append(data[-1:])
        return PIXELS


def test_routine_images_are_decoded_before_bulk_ones_and_every_fourth_turn_is_bulks() -> None:
    held = Held()

    async def test() -> None:
        decoders = Decoders(1, held)
        decoders.start()
        answers = [decoders.decode(LARGE + b"b", BULK)]
        await asyncio.to_thread(held.begun.wait)
        answers += [decoders.decode(LARGE + b"b", BULK) for _ in range(4)]
        answers += [decoders.decode(LARGE + b"r", ROUTINE) for _ in range(7)]
        held.carry_on.set()
        await asyncio.gather(*answers)
        decoders.close()

    asyncio.run(test())
    assert b"".join(held.order) == b"brrbrrrbrrbb"


JOBS = st.lists(st.tuples(st.sampled_from(Priority), st.integers(0, 3), st.booleans()), max_size=60)


@given(jobs=JOBS, threads=st.integers(1, 4))
def test_every_image_is_decoded_once_whatever_the_threads_and_sizes(
    jobs: list[tuple[Priority, int, bool]], threads: int
) -> None:
    def decode(data: bytes) -> Pixels:
        if data[:1] == b"x":
            raise ImageRefusedError(RefusalCode.CORRUPT, "damaged")
        return np.full((1, 1, 3), int(data[-3:]) % 256, np.uint8)

    async def test() -> None:
        decoders = Decoders(threads, decode)
        decoders.start()
        answers = []
        for place, (priority, size, bad) in enumerate(jobs):
            data = (b"x" if bad else b"y") + bytes(size * 50_000) + b"%03d" % place
            answers.append(decoders.decode(data, priority))
        for place, ((_, _, bad), answer) in enumerate(zip(jobs, await asyncio.gather(*answers), strict=True)):
            assert isinstance(answer.outcome, ImageRefusedError) if bad else answer.outcome[0, 0, 0] == place
        decoders.close()

    asyncio.run(asyncio.wait_for(test(), 60))


def test_a_mistake_of_the_decoder_reaches_who_waits_and_the_thread_goes_on() -> None:
    def decode(data: bytes) -> Pixels:
        if data == b"bad":
            raise LookupError
        return PIXELS

    async def test() -> None:
        decoders = Decoders(1, decode)
        decoders.start()
        with pytest.raises(LookupError):
            await decoders.decode(b"bad")
        assert (await decoders.decode(b"good")).outcome is PIXELS
        decoders.close()

    asyncio.run(test())
