"""Threads that are started before they are needed: where the system gives no more, that is found out at the start."""

import threading
from collections.abc import Callable
from typing import Any, Final

from service.errors import UserError

_GONE_S: Final = 0.01
"""Until the system has seen the end of a thread that Python has seen."""


class NoThreadError(UserError):
    """The system gives this process no more threads."""

    def __init__(self) -> None:
        super().__init__(
            "the system gives this process no more threads; raise its limit (docker run --pids-limit, podPidsLimit of "
            "the kubelet, TasksMax of systemd, ulimit -u) or lower HAL_DECODE_THREADS and HAL_ENGINE_THREADS"
        )


def start_thread(work: Callable[..., object], name: str, *arguments: Any) -> threading.Thread:
    """A thread that does ``work`` and never keeps the process from ending; or :class:`NoThreadError`."""
    thread = threading.Thread(target=work, args=arguments, name=name, daemon=True)
    try:
        thread.start()
    except RuntimeError as error:
        raise NoThreadError from error
    return thread


def require_threads(count: int) -> None:
    """Raise if a library could not start ``count`` threads of its own, which is found out by starting as many.

    ONNX Runtime waits for ever for those that it could start if it cannot start them all.

    Raises:
        NoThreadError: it cannot.
    """
    end = threading.Event()
    started: list[threading.Thread] = []
    try:
        for _ in range(count):
            started.append(start_thread(end.wait, "hal-probe"))  # noqa: PERF401 - those before a failure have to be ended
    finally:
        end.set()
        for thread in started:
            thread.join()
    threading.Event().wait(_GONE_S)
