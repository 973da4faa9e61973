"""How a job ends: its exit codes, and errors as one message."""

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType
from typing import Any, NoReturn

import typer
from typer.core import TyperCommand

from service.errors import UserError

ALL_CLASSIFIED, NOT_DONE, SOME_REFUSED, STOPPED = 0, 1, 2, 130


class JobError(UserError):
    """The work of a job cannot be done as asked."""


class JobCommand(TyperCommand):
    """A wrong option ends with 1, as every usage error here does: 2 means that some images were refused."""

    def make_context(self, *arguments: Any, **options: Any) -> Any:
        try:
            return super().make_context(*arguments, **options)
        except Exception as error:
            # click's UsageError, which newer releases of typer have under a private name.
            if getattr(error, "exit_code", None) == SOME_REFUSED:
                error.exit_code = NOT_DONE  # type: ignore[attr-defined]
            raise


@contextlib.contextmanager
def explained(command: str, *, stopped: str) -> Iterator[None]:
    """Errors that a user can do something about, as one message and exit code 1; ``stopped`` is said after Ctrl-C."""
    try:
        yield
    except KeyboardInterrupt:
        typer.echo(f"{command}: stopped; {stopped}", err=True)
        raise typer.Exit(STOPPED) from None
    except (UserError, OSError) as error:
        fail(command, str(error))
    except Exception as error:
        # It brings NumPy and pydantic, which --help does not wait for.
        from contract.bundle import BundleError

        if not isinstance(error, BundleError):
            raise
        fail(command, str(error))


def fail(command: str, message: str) -> NoReturn:
    typer.echo(f"{command}: {message}", err=True)
    raise typer.Exit(NOT_DONE)


def stop_by_sigterm() -> None:
    """From now on SIGTERM, a batch system's way of stopping, is Ctrl-C; a second one disturbs no tidying up."""

    def stop(number: int, _: FrameType | None) -> None:
        signal.signal(number, signal.SIG_IGN)
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, stop)
