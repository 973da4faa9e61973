"""The base of every error that a user of the training half can mend, and how the command line shows it."""

import contextlib
import io
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType

import typer

from contract.bundle import BundleError


class TrainingError(Exception):
    """The message says what was wrong, what was expected and what to do; ``hal`` prints it and exits with 1."""


class MemoryShortError(TrainingError):
    """A device has too little memory."""


@contextlib.contextmanager
def explained(advice: Callable[[], str] | None = None) -> Iterator[None]:
    """Print an error that the user can mend, without a traceback, and exit with 1; end at SIGTERM as at Ctrl-C.

    Where there is advice on how to go on, a command that was stopped gives it and exits with 130. A pipe that its
    reader closed is left to the command line, which ends quietly.
    """
    # Without a GPU TensorFlow calls it an error that there is none; with one its errors are worth reading.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2" if Path("/dev/nvidiactl").exists() else "3")
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # names of files need not be UTF-8
    try:
        with _tidying_up_at_sigterm():
            yield
    except (TrainingError, BundleError) as error:
        typer.secho(str(error), fg="red", err=True)
        raise typer.Exit(1) from error
    except KeyboardInterrupt:
        if advice is None:
            raise
        typer.secho(f"\nstopped; {advice()}", err=True)
        raise typer.Exit(130) from None
    except BrokenPipeError:
        raise
    except OSError as error:
        about = "standard output, or a file," if error.filename is None else error.filename
        typer.secho(
            f"{about} cannot be read or written: {error.strerror or error}; give another path, or make room there",
            fg="red",
            err=True,
        )
        raise typer.Exit(1) from error


@contextlib.contextmanager
def _tidying_up_at_sigterm() -> Iterator[None]:
    """What is half written, such as a bundle's folder, goes when a batch system stops the command, too."""

    def stop(number: int, _frame: FrameType | None) -> None:
        signal.signal(number, signal.SIG_IGN)
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
