"""Processes of the system that a test has started, by a mark in their environment, which their children inherit."""

import contextlib
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.paths import ROOT


def marked(mark: str) -> list[int]:
    """The processes with this text in their environment, this one left out; needs ``/proc``."""
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):
            if mark.encode() in path.read_bytes():
                found.append(int(path.parts[2]))
    return found


@dataclass(frozen=True, slots=True)
class Command:
    """A command of HAL's that runs in a terminal of its own.

    Attributes:
        process: itself; what it says on standard error can be read.
        mark: in the environment of all that it starts.
    """

    process: "subprocess.Popen[str]"
    mark: str

    def running(self) -> int:
        """How many processes it has, itself included."""
        return len(marked(self.mark))

    def has_come_to(self, condition: Callable[[], bool], seconds: float = 120, every_s: float = 0.1) -> bool:
        """Whether the condition holds in time, while the command runs."""
        holds = comes_true(lambda: condition() or self.process.poll() is not None, seconds, every_s)
        assert self.process.poll() is None, self.process.communicate()[1]
        return holds

    def stop(self, sent: signal.Signals) -> str:
        """What it has said once it has ended; Ctrl-C goes to all processes of a terminal."""
        (os.killpg if sent is signal.SIGINT else os.kill)(self.process.pid, sent)
        return self.process.communicate(timeout=60)[1]


@contextlib.contextmanager
def command(*arguments: str, environment: Mapping[str, str] | None = None) -> Iterator[Command]:
    """Start Python with these arguments, heeding Ctrl-C as it would in a terminal."""
    mark = uuid.uuid4().hex
    inherited = os.environ if environment is None else environment
    with subprocess.Popen(
        [sys.executable, *arguments],
        cwd=ROOT,
        env={**inherited, "PYTHONPATH": str(ROOT), "TEST_MARK": mark},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        start_new_session=True,
    ) as process:
        try:
            yield Command(process, mark)
        finally:
            process.kill()


def comes_true(condition: Callable[[], bool], seconds: float = 120, every_s: float = 0.1) -> bool:
    """Whether it holds before so many seconds are over."""
    give_up = time.monotonic() + seconds
    while not (holds := condition()) and time.monotonic() < give_up:
        time.sleep(every_s)
    return holds
