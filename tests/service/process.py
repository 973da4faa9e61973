"""The service as a process of its own, with its log."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from tests.paths import ROOT
from tests.service.live_server import until

PATIENCE_S = 60
GREETING_LINES = 4


def environment(**variables: str) -> dict[str, str]:
    """The test's environment without settings of the service."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("HAL_", "PORT"))}
    return inherited | {"PYTHONPATH": str(ROOT), "HAL_ENGINE_THREADS": "1"} | variables


@dataclass(frozen=True)
class Process:
    """A service that runs."""

    process: "subprocess.Popen[str]"
    greeting: str
    log: Path

    @property
    def url(self) -> str:
        return self.greeting.rsplit(" ", 1)[-1].strip().removesuffix("/classify")

    @property
    def port(self) -> int:
        return int(self.url.rsplit(":", 1)[-1])

    def http(self) -> httpx.Client:
        return httpx.Client(base_url=self.url, timeout=PATIENCE_S)

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE_S)

    def send(self, sig: signal.Signals) -> None:
        self.process.send_signal(sig)

    def wait(self) -> int:
        """The exit code."""
        return self.process.wait(PATIENCE_S)

    def kill(self) -> None:
        """SIGKILL, and wait for the end."""
        self.process.kill()
        self.process.wait(PATIENCE_S)

    def stop(self) -> int:
        """SIGTERM; the exit code."""
        self.send(signal.SIGTERM)
        return self.wait()

    def lines(self) -> list[dict[str, Any]]:
        """The log so far; what is not JSON is ONNX Runtime's."""
        lines = []
        for line in self.log.read_text(errors="replace").splitlines():
            with contextlib.suppress(ValueError):
                lines.append(json.loads(line))
        return lines

    def logged(self, message: str) -> bool:
        return any(message in line["message"] for line in self.lines())

    def answers(self, path: str) -> int:
        """The status of a GET, 0 if nobody listens."""
        with self.http() as http:
            return status(http, path)


def status(http: httpx.Client, path: str) -> int:
    """The status of a GET, 0 if nobody listens."""
    with contextlib.suppress(httpx.TransportError):
        return http.get(path).status_code
    return 0


def free_port() -> int:
    """A port on which nobody listens now."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@contextlib.contextmanager
def running(
    bundle: Path,
    *,
    program: Sequence[str] = ("-m", "service"),
    through: Sequence[str] = (),
    port: int = 0,
    wait: bool = True,
    **variables: str,
) -> Iterator[Process]:
    """Run the service on a bundle until the block ends, however it ends; ``wait`` until it is ready.

    ``port`` 0 is any that is free; ``through`` is a command that runs what follows it.
    """
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        with log.open("wb") as stream:
            process = subprocess.Popen(
                [*through, sys.executable, *program],
                env=environment(HAL_BUNDLE=str(bundle), PORT=str(port), **variables),
                stdout=subprocess.PIPE,
                stderr=stream,
                text=True,
                start_new_session=True,  # without the terminal of who runs the tests, for which SIGHUP is the end
            )
        try:
            assert process.stdout is not None
            greeting = "".join(process.stdout.readline() for _ in range(GREETING_LINES))
            assert greeting.endswith("/classify\n"), log.read_text()
            served = Process(process, greeting, log)
            if wait:
                with served.http() as http:
                    until(lambda: status(http, "/health/ready") == 200 or process.poll() is not None, every_s=0.05)
                assert process.poll() is None, log.read_text()
            yield served
        finally:
            process.kill()
            process.communicate()


def failing(*options: str, **variables: str) -> str:
    """What a start that must fail says."""
    finished = subprocess.run(
        [sys.executable, "-m", "service", *options],
        env=environment(**variables),
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert finished.returncode == 1, finished
    assert "Traceback" not in finished.stderr
    return finished.stderr


def seconds(since: float) -> float:
    """Seconds since a reading of the monotonic clock."""
    return time.monotonic() - since
