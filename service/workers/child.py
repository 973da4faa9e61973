"""A process of the service as its parent has it: started, told what to do, killed, reaped."""

import multiprocessing
import signal
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from typing import Any, Final, Self

from contract.bundle import Bundle
from service.settings import Settings
from service.workers.control import Command, control_pair, tell
from service.workers.loops import signals_held
from service.workers.memory import Memory
from service.workers.parcel import parcel

_spawn: Final = multiprocessing.get_context("spawn")


@dataclass(frozen=True, slots=True, eq=False)
class Child:
    """A process that was started.

    Attributes:
        process: as Python has it.
        control: our end of what it is told through.
        started_at: when, by ``time.monotonic``.
    """

    process: BaseProcess
    control: socket.socket
    started_at: float

    @classmethod
    def start(
        cls, target: Callable[..., None], settings: Settings, bundle: Bundle | None, memory: Memory, *arguments: Any
    ) -> Self:
        """Let ``target`` run in a process of its own, with these arguments and its end of the control socket.

        Raises:
            OSError: the system gives no process, or not what it needs.
        """
        ours, theirs = control_pair()
        try:
            with theirs, signals_held(), parcel(bundle) as packed:
                process = _spawn.Process(target=target, args=(settings, packed, memory, theirs, *arguments))
                process.start()
        except OSError:
            ours.close()
            raise
        return cls(process, ours, time.monotonic())

    @property
    def pid(self) -> int | None:
        """Of the process."""
        return self.process.pid

    @property
    def sentinel(self) -> int:
        """Can be read from once the process has ended."""
        return self.process.sentinel

    def tell(self, command: Command, place: int = 0, connection: socket.socket | None = None) -> None:
        """Give it a command, if it still lives."""
        tell(self.control, command, place, connection)

    def kill(self) -> None:
        """SIGKILL.

        Raises:
            ValueError: it was reaped.
        """
        self.process.kill()

    def reap(self) -> int:
        """Take note of its end, which has come, and give back what was held for it; the exit code."""
        self.process.join()
        code = self.process.exitcode or 0
        self.process.close()
        self.control.close()
        return code


def cause_of(code: int) -> str:
    """What an exit code of Python's says of the end of a process."""
    if code < 0:
        # Real-time signals have no names.
        names = {number.value: number.name for number in signal.Signals}
        return f"killed by {names.get(-code, f'signal {-code}')}"
    return f"exit code {code}"
