"""A process that takes requests: uvicorn and the application, around a :class:`service.workers.worker.Worker`."""

import asyncio
import gc
import logging
import os
import socket
from collections.abc import Iterator
from types import FrameType

import uvicorn
from prometheus_client import ProcessCollector
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample

from contract.bundle import Bundle
from service.allocator import give_large_blocks_back
from service.http.app import create_app_for
from service.http.server import config_for
from service.observe import logs
from service.observe.exposition import Exposition
from service.settings import Settings
from service.workers.board import Field
from service.workers.control import Command, listen
from service.workers.ledger import Ledger
from service.workers.loops import ignore_signals, runner
from service.workers.memory import Memory
from service.workers.worker import Worker

logger = logging.getLogger("hal.workers")


def run(
    settings: Settings, bundle: Bundle, memory: Memory, control: socket.socket, listener: socket.socket, place: int
) -> None:
    """Live until the parent says stop or is gone.

    Args:
        settings: of the service.
        bundle: what is served, as far as the parent knows.
        memory: shared with all processes.
        control: where the parent's commands come from.
        listener: where requests come from; all workers have it.
        place: of this one, counted from 0.
    """
    ignore_signals()
    give_large_blocks_back()
    logs.configure(settings.log_level, f"http-{place}")
    with runner() as loop_runner:
        loop_runner.run(_live(settings, bundle, memory, control, listener, place))


async def _live(
    settings: Settings, bundle: Bundle, memory: Memory, control: socket.socket, listener: socket.socket, place: int
) -> None:
    worker = Worker(settings, bundle, memory, place)
    app = create_app_for(worker, Exposition(worker.read, AllProcesses(worker.ledger)))
    server = _Server(config_for(app, settings))
    connecting: set[asyncio.Task[None]] = set()

    def obey(command: Command, _: int, connection: socket.socket | None) -> None:
        if command is Command.STOP:
            server.should_exit = True
            # Said by the parent's death, too, and then nobody else says it.
            memory.board[Field.STOPPING] = 2
        elif connection is not None:
            task = asyncio.get_running_loop().create_task(worker.connect(connection))
            connecting.add(task)
            task.add_done_callback(connecting.discard)

    listen(control, obey)
    gc.collect()
    gc.freeze()
    await server.serve(sockets=[listener])


class _Server(uvicorn.Server):
    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Signals are the parent's."""


class AllProcesses(Collector):
    """The ``process_*`` metrics of a service of several processes: what they use together.

    Memory that they share counts for each of them.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def collect(self) -> Iterator[Metric]:  # noqa: D102
        families: dict[str, list[Metric]] = {}
        for pid in self._ledger.pids():
            collector = ProcessCollector(pid=lambda pid=pid: pid or os.getpid(), registry=None)  # type: ignore[misc]
            for family in collector.collect() if pid else ():
                families.setdefault(family.name, []).append(family)
        for name, same in families.items():
            values = [family.samples[0].value for family in same]
            if name == "process_start_time_seconds":
                total = min(values)
            elif name == "process_max_fds":
                total = max(values)
            else:
                total = sum(values)
            if name == "process_cpu_seconds":
                total += self._ledger.lost_cpu_s
            (sample, *_) = same[0].samples
            same[0].samples = [Sample(sample.name, sample.labels, total)]
            yield same[0]
