"""The parts between an HTTP worker and the engine process, both ends in one event loop."""

import asyncio
import contextlib
import multiprocessing.context
import os
import signal
import socket
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from msgspec import msgpack

from contract.bundle import Bundle
from contract.classes import CLASS_NAMES
from service.batching.counts import Counts
from service.batching.queue import Priority
from service.engine.tuning import BatchTime, Tuning
from service.images.refusals import DeadlineExceededError, DrainingError, QueueFullError
from service.observe.audit import AuditFullError
from service.observe.metrics import Metrics
from service.serving.answers import ClassifiedImage
from service.serving.lifecycle import Hal
from service.serving.states import BundleRefusedError, NotReadyError, ReloadUnderWayError, State
from service.settings import Settings
from service.workers.accounts import Account, sum_of
from service.workers.board import Board, Field
from service.workers.child import cause_of
from service.workers.endings import error_of, refusal, reload_error_of, reload_refusal
from service.workers.memory import SharedMemoryError, shared
from service.workers.messages import Model, Revised, Taken, encoder, to_worker
from service.workers.parent import serve
from service.workers.publisher import Publisher
from service.workers.relay import Relay
from service.workers.slots import SLOTS, Slots
from service.workers.worker import Worker
from tests.service.slow_device import SlowDevice
from tests.service.tiny_bundle import coloured, encoded

MANY = 3 * SLOTS


@dataclass(frozen=True)
class Pair:
    """A worker and the service without HTTP that it uses."""

    worker: Worker
    hal: Hal
    publisher: Publisher
    relay: Relay
    connect: Callable[[], "asyncio.Task[Relay]"]


@contextlib.asynccontextmanager
async def pair(
    bundle: Bundle, device: SlowDevice, *, until_it_serves: bool = True, **settings: object
) -> AsyncIterator[Pair]:
    """Both at work, connected once."""
    given = Settings(bundle=bundle.root, http_workers=2, **settings)  # type: ignore[arg-type]
    with shared(1) as memory:
        hal = Hal(given, bundle, open_engine=lambda *_: device)
        publisher = Publisher(hal, memory.board, memory.engine_place)
        worker = Worker(given, bundle, memory, 0)
        memory.board[Field.ENGINES] = 1

        async def connect() -> Relay:
            one, other = socket.socketpair()
            relay = Relay(hal, Slots(memory.images, 0), reload=lambda *_: None, changed=publisher.changed)
            relay.announce(1, hal.model)
            await relay.connect(one)
            await worker.connect(other)
            if until_it_serves:
                await relay.until_it_serves()
            else:
                await until(lambda: worker.state is State.READY)
            return relay

        await hal.open()
        publisher.write()
        relay = await connect()
        try:
            yield Pair(worker, hal, publisher, relay, lambda: asyncio.ensure_future(connect()))
        finally:
            device.let_go()
            relay.close()
            await worker.close()
            await hal.close()


def cells(count: int) -> list[bytes]:
    """Images of which :class:`SlowDevice` sees the class ``index % 20``."""
    return [encoded(coloured([index % 20] * 3)) for index in range(count)]


def test_more_images_than_slots_each_have_their_own_answer(bundle: Bundle) -> None:
    async def classify() -> list[str]:
        async with pair(bundle, SlowDevice(), max_batch=4, queue_limit=16) as both:
            done = await both.worker.classify(both.worker.batcher, cells(MANY))
            assert both.hal.observed_batcher is not None
            assert both.hal.observed_batcher.counts.answered == MANY
            return [result.predicted_class for result in done.results if isinstance(result, ClassifiedImage)]

    assert asyncio.run(classify()) == [CLASS_NAMES[index % 20] for index in range(MANY)]


def test_a_limit_that_was_chosen_again_is_told_to_a_worker(bundle: Bundle) -> None:
    revised = Tuning(8, 500, (BatchTime(8, 100.0),), revised=True)

    async def revise() -> tuple[Tuning | None, Tuning | None]:
        async with pair(bundle, SlowDevice()) as both:
            both.relay.send(Revised(2, revised))
            both.relay.send(Revised(1, revised))
            await until(lambda: both.worker.tuning is not None)
            now = both.worker.tuning
            both.relay.send(Revised(2, Tuning(1, 500, ())))
            await both.worker.classify(both.worker.batcher, cells(1))
            return now, both.worker.tuning

    assert asyncio.run(revise()) == (revised, revised)


def test_a_worker_that_leaves_takes_its_images_with_it(bundle: Bundle) -> None:
    async def leave() -> tuple[int, int]:
        device = SlowDevice(held=True)
        async with pair(bundle, device, max_batch=2, queue_limit=8) as both:
            request = asyncio.ensure_future(both.worker.classify(both.worker.batcher, cells(20)))
            batcher = both.hal.observed_batcher
            assert batcher is not None
            await until(lambda: batcher.seats.taken == 4 and batcher.waiting == 2)
            assert both.worker._link is not None
            both.worker._link.close()
            await until(lambda: batcher.seats.taken == 0)
            with pytest.raises(NotReadyError) as lost:
                await request
            assert lost.value.state is State.ENGINE_LOST
            return batcher.waiting, batcher.counts.withdrawn

    assert asyncio.run(leave()) == (0, 4)


def test_a_new_engine_process_may_be_there_before_the_end_of_the_former_one_is_seen(bundle: Bundle) -> None:
    async def replace() -> str:
        device = SlowDevice(held=True)
        async with pair(bundle, device, max_batch=2, queue_limit=8) as both:
            request = asyncio.ensure_future(both.worker.classify(both.worker.batcher, cells(3)))
            await asyncio.to_thread(device.wait_until_busy)
            relay = await both.connect()
            with pytest.raises(NotReadyError):
                await request
            device.let_go()
            done = await both.worker.classify(both.worker.batcher, cells(1))
            relay.close()
            (result,) = done.results
            assert isinstance(result, ClassifiedImage)
            return result.predicted_class

    assert asyncio.run(replace()) == CLASS_NAMES[0]


def test_what_a_former_engine_process_still_says_is_not_heard(bundle: Bundle) -> None:
    """It would give slots back that the present one has not read, and two images would be written into one."""

    async def replace() -> tuple[int, str]:
        device = SlowDevice(held=True)
        async with pair(bundle, device, max_batch=2, queue_limit=8) as both:
            former = both.relay
            relay = await both.connect()
            former.send(Taken((0, 1, 2)))
            former.send(Model(1, "nowhere", "{}", "cpu", 1, None))
            former.close()
            await former.gone.wait()
            free = both.worker._intake._free.qsize()
            device.let_go()
            (result,) = (await both.worker.classify(both.worker.batcher, cells(1))).results
            relay.close()
            assert isinstance(result, ClassifiedImage)
            return free, result.predicted_class

    assert asyncio.run(replace()) == (SLOTS, CLASS_NAMES[0])


def test_a_worker_does_not_collect_requests_for_an_engine_process_that_stands_still(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Relay, "_received", lambda *_: None)

    async def ask() -> list[int]:
        async with pair(bundle, SlowDevice(), until_it_serves=False, max_batch=1, queue_limit=4) as both:
            worker = both.worker
            requests = [asyncio.ensure_future(worker.classify(worker.batcher, cells(2))) for _ in range(4)]
            await until(lambda: worker.batcher.requests == 4)
            with pytest.raises(QueueFullError) as refused:
                await worker.classify(worker.batcher, cells(1))
            for request in requests:
                request.cancel()
            await asyncio.wait(requests)
            worker.batcher.seats.check_room()
            return [refused.value.taken, worker.batcher.counts.refused]

    assert asyncio.run(ask()) == [4, 1]


async def until(condition: Callable[[], bool]) -> None:
    """Let the loop turn until something is so."""
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0)


def test_an_image_is_copied_out_of_its_slot() -> None:
    with shared(2) as memory:
        worker, engine = Slots(memory.images, 1), Slots(memory.images, 1)
        image = np.arange(256 * 256 * 3, dtype=np.uint8).reshape(256, 256, 3)
        worker.write(SLOTS - 1, image)
        read = engine.read(SLOTS - 1)
        worker.write(SLOTS - 1, np.zeros_like(image))
        assert (read == image).all()
        assert not Slots(memory.images, 0).read(SLOTS - 1).any(), "another worker's is another"
        with pytest.raises(ValueError, match="there is no slot 32"):
            worker.write(SLOTS, image)


def test_an_account_stays_whole_and_survives_its_process() -> None:
    metrics = Metrics()
    metrics.request("/classify", 200, 0.02, 3)
    metrics.decoded(0.001)
    metrics.ran(0.01, [0.002, 0.003])
    metrics.classified(4, 0.75, flagged=True)
    metrics.refused("corrupt_image")
    with shared(1) as memory:
        board = memory.board
        assert Account.read(board, 0) == Account()
        for lost_lines in range(3):
            Account.of(metrics, Counts(disconnected=2), pid=7, lost_lines=lost_lines).write(board, 0)
            read = Account.read(Board(memory.numbers, 2), 0)
            assert (read.lost_lines, read.pid, read.counts) == (lost_lines, 7, Counts(disconnected=2))
        with pytest.raises(ValueError, match="at most 65536"):
            board.write_account(0, bytes(70_000))
        assert Account.read(board, 0) == read
        successor = Metrics()
        successor.add(read.metrics())
        successor.request("/classify", 200, 0.04, 1)
        assert successor.requests["/classify", 200] == 2
        assert (successor.request_s.total, sum(successor.queue_s.counts)) == (pytest.approx(0.06), 2)
        assert [list(map(str, family.samples)) for family in metrics.families()] == [
            list(map(str, family.samples)) for family in read.metrics().families()
        ]
    assert sum_of(Counts(expired=1), Counts(expired=2, withdrawn=3)) == Counts(expired=3, withdrawn=3)


def test_too_little_shared_memory_is_one_clear_message_and_leaves_nothing() -> None:
    with pytest.raises(SharedMemoryError, match=r"MiB of shared memory .* lower HAL_HTTP_WORKERS"), shared(10**9):
        pass
    assert [*Path("/dev/shm").glob(f"hal-{os.getpid()}-*")] == []  # noqa: S108


@pytest.mark.parametrize(
    ("code", "said"),
    [(-9, "killed by SIGKILL"), (-40, "killed by signal 40"), (70, "exit code 70")],
)
def test_the_log_says_how_a_process_ended(code: int, said: str) -> None:
    assert cause_of(code) == said


def test_where_no_process_can_be_started_it_is_tried_again(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    tries: list[float] = []

    def start(_: object) -> None:
        tries.append(time.monotonic())
        if len(tries) == 6:
            os.kill(os.getpid(), signal.SIGTERM)
        raise BlockingIOError("Resource temporarily unavailable")

    monkeypatch.setattr(multiprocessing.context.SpawnProcess, "start", start)
    with shared(1):
        pass  # What multiprocessing opens once is open.
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    with socket.create_server(("127.0.0.1", 0)) as listener:
        assert serve(Settings(bundle=bundle.root, http_workers=2), bundle, listener) == 0
    assert len(tries) == 6, "engine and both workers, and all of them again"
    assert caplog.messages.count("no process can be started: Resource temporarily unavailable") == 6
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208


@pytest.mark.parametrize(
    "error",
    [
        QueueFullError(7, Priority.BULK, 3),
        DeadlineExceededError("2 s (HAL_DEADLINE_MS)"),
        DeadlineExceededError(None),
        DrainingError(),
        AuditFullError(),
        *(NotReadyError(state) for state in State if state is not State.READY),
    ],
    ids=str,
)
def test_an_error_is_the_same_on_the_other_side(error: Exception) -> None:
    (sent,) = to_worker.decode(encoder.encode([refusal(1, error)]))
    arrived = error_of(sent)  # type: ignore[arg-type]
    assert (type(arrived), str(arrived), vars(arrived)) == (type(error), str(error), vars(error))


@pytest.mark.parametrize(
    "error", [ReloadUnderWayError(), BundleRefusedError("why\n - because"), NotReadyError(State.STALLED)], ids=str
)
def test_the_refusal_of_a_reload_is_the_same_on_the_other_side(error: Exception) -> None:
    (sent,) = to_worker.decode(msgpack.encode([reload_refusal(5, error)]))
    arrived = reload_error_of(sent)  # type: ignore[arg-type]
    assert (type(arrived), str(arrived), vars(arrived)) == (type(error), str(error), vars(error))
