"""How a command that works through many images ends: its exit codes, and errors as one message."""

import contextlib
import sys
from collections.abc import Iterator
from typing import Any, Final, NoReturn

import typer
from typer.core import TyperCommand

ALL_CLASSIFIED, NOT_DONE, SOME_REFUSED, STOPPED = 0, 1, 2, 130
_KINDS: Final = (
    ("service.environment", "SettingsError"),
    ("service.engine.onnx", "EngineError"),
    ("client.errors", "HalError"),
)


class ManyImagesCommand(TyperCommand):
    """A wrong option ends with 1, as every usage error here does: 2 means that some images were refused."""

    def make_context(self, *arguments: Any, **options: Any) -> Any:
        """Parse the arguments."""
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
    from contract.bundle import BundleError
    from service.jobs.folders.errors import FoldersError

    try:
        yield
    except KeyboardInterrupt:
        typer.echo(f"{command}: stopped; {stopped}", err=True)
        raise typer.Exit(STOPPED) from None
    except (FoldersError, BundleError, OSError) as error:
        fail(command, str(error))
    except Exception as error:
        if not isinstance(error, _explained_elsewhere()):
            raise
        fail(command, str(error))


def _explained_elsewhere() -> tuple[type[Exception], ...]:
    """Those of modules that are loaded, and so may have raised: neither half needs the other's libraries."""
    return tuple(getattr(sys.modules[module], name) for module, name in _KINDS if module in sys.modules)


def fail(command: str, message: str) -> NoReturn:
    """End with a message and exit code 1."""
    typer.echo(f"{command}: {message}", err=True)
    raise typer.Exit(NOT_DONE)
