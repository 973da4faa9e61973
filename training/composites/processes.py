"""Processes that make images, and that never outlive the command that started them, however it ends."""

import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor


@contextlib.contextmanager
def pool(processes: int | None) -> Iterator[ProcessPoolExecutor]:
    """So many processes, one a core by default, until the block ends; after an error what is waiting is not begun."""
    # Numeric libraries would start a thread a core in every process; the variable is read when they are loaded.
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, "1")
    workers = ProcessPoolExecutor(
        processes or os.cpu_count() or 1,
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_live_and_die_with_the_command,
    )
    try:
        yield workers
    finally:
        workers.shutdown(cancel_futures=True)


def _live_and_die_with_the_command() -> None:
    # Ctrl-C reaches every process of a terminal; the command alone decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    command = multiprocessing.parent_process()
    if command is not None:
        threading.Thread(target=_end_after, args=(command,), name="hal-parent", daemon=True).start()


def _end_after(command: "multiprocessing.process.BaseProcess") -> None:
    """A command that is killed ends nobody, and its processes would wait for work for ever."""
    command.join()
    os._exit(1)
