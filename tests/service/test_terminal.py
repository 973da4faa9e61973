"""Standard streams that are closed or full, and terminals that are closed; see docs/reliability.md."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from contract.bundle import Bundle
from tests.paths import ROOT
from tests.service.classify_requests import form
from tests.service.live_server import until
from tests.service.process import PATIENCE_S, environment, free_port
from tests.service.tiny_bundle import TinyNetwork, encoded

fcntl = pytest.importorskip("fcntl", reason="terminals of Unix")
termios = pytest.importorskip("termios")


@pytest.mark.parametrize("redirection", ["<&- >&- 2>&-", "> /dev/full 2>&1", "> >(true) 2>&1"])
def test_closed_full_and_broken_streams_are_no_reason_not_to_serve(
    bundle: Bundle, network: TinyNetwork, redirection: str
) -> None:
    port = free_port()
    process = subprocess.Popen(
        ["bash", "-c", f'exec "$0" -m service {redirection}', sys.executable],
        env=environment(HAL_BUNDLE=str(bundle.root), PORT=str(port)),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        url = f"http://127.0.0.1:{port}"
        until(lambda: answers(f"{url}/health/ready") == 200 or process.poll() is not None, every_s=0.02)
        assert (
            httpx.post(f"{url}/classify", files=form(encoded(network.cell(1))), timeout=PATIENCE_S).status_code == 200
        )
        if "&-" in redirection and sys.platform == "linux":
            opened = {Path(f"/proc/{process.pid}/fd/{number}").readlink() for number in (1, 2)}
            assert opened == {Path("/dev/null")}, "and no client's connection"
        process.send_signal(signal.SIGTERM)
        said = b"".join(process.communicate(timeout=PATIENCE_S))
        assert process.returncode == 0
        assert b"Traceback" not in said
        assert b"ignored" not in said
    finally:
        process.kill()
        process.communicate()


def test_a_terminal_is_told_when_the_printed_command_works_and_ends_the_service_when_it_is_closed(
    bundle: Bundle,
) -> None:
    with terminal(bundle.root) as (process, screen):
        said = read_until(screen, "Ready: ")
        ready = next(line for line in said.splitlines() if line.startswith("Ready: "))
        (curl,) = [line.strip() for line in said.splitlines() if line.startswith("  curl ")]
        assert curl.split()[-1].removesuffix("/classify") in ready
        assert "tiny 1.2.3 float32 on cpu" in ready
        answer = subprocess.run(["bash", "-c", f"{curl} -sS"], cwd=ROOT, capture_output=True, check=True, timeout=60)
        assert len(json.loads(answer.stdout)["results"]) == 1
        os.close(screen)
        assert process.wait(PATIENCE_S) == 0


def test_nohup_outlives_its_terminal(bundle: Bundle) -> None:
    # As nohup does, which would write to a file.
    with terminal(bundle.root, "bash", "-c", 'trap "" HUP; exec "$@"', "nohup") as (process, screen):
        said = read_until(screen, "Ready: ")
        url = said[said.index("Ready: ") :].split()[1]
        os.close(screen)
        time.sleep(0.5)
        assert answers(f"{url}/health/ready") == 200
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_S) == 0


def take_terminal() -> None:
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # Or the tests could not be run by nohup.


@contextlib.contextmanager
def terminal(bundle: Path, *through: str) -> Iterator[tuple["subprocess.Popen[bytes]", int]]:
    """The service on a terminal of its own, and the other side of that."""
    screen, inside = os.openpty()
    process = subprocess.Popen(
        [*through, sys.executable, "-m", "service"],
        cwd=ROOT,
        env=environment(HAL_BUNDLE=str(bundle), PORT="0"),
        stdin=inside,
        stdout=inside,
        stderr=inside,
        start_new_session=True,
        preexec_fn=take_terminal,
    )
    os.close(inside)
    try:
        yield process, screen
    finally:
        process.kill()
        process.wait(PATIENCE_S)
        with contextlib.suppress(OSError):
            os.close(screen)


def read_until(screen: int, words: str) -> str:
    """What is on the screen once a line with ``words`` is there."""
    said = ""
    while words not in said or not said.endswith("\n"):
        said += os.read(screen, 10_000).decode()
    return said


def answers(url: str) -> int:
    """The status of a GET, 0 if nobody listens."""
    with contextlib.suppress(httpx.TransportError):
        return httpx.get(url, timeout=PATIENCE_S).status_code
    return 0
