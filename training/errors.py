"""The base of every error that a user of the training half can mend, and how the command line shows it."""

import contextlib
import os
from collections.abc import Iterator

import typer

from contract.bundle import BundleError


class TrainingError(Exception):
    """The message says what was wrong, what was expected and what to do; ``hal`` prints it and exits with 1."""


@contextlib.contextmanager
def explained() -> Iterator[None]:
    """Print an error that the user can mend, without a traceback, and exit with 1."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    try:
        yield
    except (TrainingError, BundleError) as error:
        typer.secho(str(error), fg="red", err=True)
        raise typer.Exit(1) from error
