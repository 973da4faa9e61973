"""Ten times more than the service can do; docs/reliability.md has what it answers in a minute."""

import asyncio
import collections
import logging
import math
import os
import re
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.conftest import WriteBundle
from tests.service.load_clients import ROUNDS, becomes, post
from tests.service.process import Process, running, seconds
from tests.service.tiny_bundle import TinyNetwork

pytestmark = pytest.mark.serial

OVERLOAD_S = float(os.environ.get("OVERLOAD_S", "3"))
"""How long the overload lasts; OVERLOAD_S=60 for the full minute."""
KEPT_S = 2
"""The service closes connections that nobody has used for 5 s."""

logger = logging.getLogger(__name__)


async def offer(port: int, body: bytes, rate: float, duration_s: float) -> list[tuple[int, float, int]]:
    """Requests on a schedule, whatever becomes of them: status, seconds until the answer, Retry-After."""
    loop = asyncio.get_running_loop()
    idle: list[tuple[float, asyncio.StreamReader, asyncio.StreamWriter]] = []
    begin = loop.time()

    async def one(place: int) -> tuple[int, float, int]:
        await asyncio.sleep(begin + place / rate - loop.time())
        rested, reader, writer = idle.pop() if idle else (-math.inf, None, None)
        if reader is None or writer is None or loop.time() - rested > KEPT_S:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
        sent = loop.time()
        writer.write(body)
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        length = re.search(r"(?i)content-length: (\d+)", head)
        assert length is not None
        await reader.readexactly(int(length[1]))
        idle.append((loop.time(), reader, writer))
        retry = re.search(r"(?i)retry-after: (\d+)", head)
        return int(head.split()[1]), loop.time() - sent, int(retry[1]) if retry else 0

    try:
        return await asyncio.gather(*(one(place) for place in range(int(rate * duration_s))))
    finally:
        for *_, writer in idle:
            writer.close()


def test_ten_times_too_much_is_answered_with_200_or_429_and_nothing_else(
    tmp_path: Path, write_bundle: WriteBundle, network: TinyNetwork, cell: bytes
) -> None:
    # So slow that the load generator, which has the other core, keeps up.
    very_slow = write_bundle(tmp_path, graph=network.graph(rounds=8 * ROUNDS)).root
    limits = {"HAL_QUEUE_LIMIT": "16", "HAL_MAX_BATCH": "4", "HAL_LOG_LEVEL": "warning", "HAL_DEADLINE_MS": "600000"}
    head = f"POST /classify HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\nContent-Length: {len(cell)}\r\n\r\n"
    request = head.encode() + cell
    with running(very_slow, **limits) as served, ThreadPoolExecutor(1) as pool:
        begin, capacity_images = time.monotonic(), 24
        assert becomes(post(served, *[cell] * capacity_images)) == "200"
        capacity = capacity_images / seconds(begin)
        probing = threading.Event()
        probes = pool.submit(probe, served, probing)
        at_work_before, begin = device_s(served), time.monotonic()
        try:
            answers = asyncio.run(offer(served.port, request, 10 * capacity, OVERLOAD_S))
        finally:
            probing.set()
        lasted_s, at_work_s = seconds(begin), device_s(served) - at_work_before
        statuses = collections.Counter(status for status, _, _ in answers)
        assert set(statuses) == {200, 429}
        assert at_work_s > 0.5 * lasted_s, "it goes on working"
        assert all(1 <= retry <= 60 for status, _, retry in answers if status == 429)
        waits = sorted(wait for status, wait, _ in answers if status == 200)
        refusals = sorted(wait for status, wait, _ in answers if status == 429)
        logger.info(
            "%d requests in %g s, ten times the capacity of %.1f/s: 200 to %d (median %.2f s, p99 %.2f s), 429 to %d "
            "(median %.4f s, p99 %.4f s)",
            *(len(answers), OVERLOAD_S, capacity, statuses[200], waits[len(waits) // 2], waits[len(waits) * 99 // 100]),
            *(statuses[429], refusals[len(refusals) // 2], refusals[len(refusals) * 99 // 100]),
        )
        # A full queue before it and the batch that runs, at the pace that the machine has meanwhile.
        assert waits[len(waits) // 2] < 20 * lasted_s / statuses[200] + 1
        assert set(probes.result()) == {(200, 200)}, "a full queue is no reason to restart it or to route around it"
        assert becomes(post(served, cell)) == "200", "and afterwards it is as before"
        assert served.stop() == 0


def probe(served: Process, enough: threading.Event) -> list[tuple[int, int]]:
    found = []
    with served.http() as http:
        while not enough.wait(0.1):
            found.append((http.get("/health/live").status_code, http.get("/health/ready").status_code))
    return found


def device_s(served: Process) -> float:
    """Seconds that the device has worked so far."""
    with served.http() as http:
        found = re.search(r"^hal_device_seconds_sum (\S+)", http.get("/metrics").text, re.MULTILINE)
    assert found is not None
    return float(found[1])
