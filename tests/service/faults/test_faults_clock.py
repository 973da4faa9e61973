"""A wall clock that jumps under a service that is a process of its own; see docs/reliability.md."""

import http.client
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.service.load_clients import becomes, code_of, post
from tests.service.process import running

LIBFAKETIME = next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"), None)


@pytest.mark.skipif(LIBFAKETIME is None, reason="libfaketime is missing")
def test_a_wall_clock_that_jumps_moves_no_deadline(slow: Path, cell: bytes, tmp_path: Path) -> None:
    clock = tmp_path / "clock"
    jumps = [f"{days * 24 * 3600:+}" for days in (0, 400, -400)]
    variables = {
        "LD_PRELOAD": str(LIBFAKETIME),
        "FAKETIME_TIMESTAMP_FILE": str(clock),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "DONT_FAKE_MONOTONIC": "1",
    }
    put(clock, jumps[0])
    # Longer than any machine needs, and a ten-thousandth of what the clock jumps.
    limits = {
        "HAL_DEADLINE_MS": "55000",
        "HAL_UPLOAD_TIMEOUT_S": "55",
        "HAL_HEADER_TIMEOUT_S": "55",
        "HAL_STALL_S": "55",
    }
    with running(slow, **limits, **variables) as served, ThreadPoolExecutor(1) as clients:
        for jump in (jumps[1], jumps[2], jumps[0]):
            waiting = clients.submit(post, served, *[cell] * 60)
            half_sent = served.connect()
            half_sent.sendall(
                b"POST /classify HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\nContent-Length: %d\r\n\r\n"
                % len(cell)
            )
            put(clock, jump)
            assert becomes(waiting.result()) == "200"
            half_sent.sendall(cell)
            response = http.client.HTTPResponse(half_sent)
            response.begin()
            assert response.status == 200
            half_sent.close()
            assert served.answers("/health/live") == served.answers("/health/ready") == 200
            late = post(served, *[cell] * 60, **{"X-Request-Timeout-Ms": "100"})
            assert (late.status_code, code_of(late)) == (504, "deadline_exceeded"), "and each deadline still comes"
        days = {line["time"][:10] for line in served.lines()}
        assert len(days) >= 3, "the clock has really jumped"
        assert served.stop() == 0


def put(file: Path, text: str) -> None:
    """Replace a file's text at once, so that nobody reads half of it."""
    fresh = file.with_suffix(".new")
    fresh.write_text(text)
    fresh.rename(file)
