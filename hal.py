"""The command line ``hal``: the one place where training, service and bench meet.

Each brings its own commands; one that is not installed is left out. The service's container has no training.
"""

import sys
from importlib import import_module, metadata
from typing import Annotated, Any, Final

import typer
from typer.core import TyperGroup

from contract.streams import open_closed_streams, release_streams, tolerate_full_streams

DISTRIBUTION: Final = "hal-cells"
PANELS: Final = {
    "training": "Train: images to a bundle",
    "service": "Serve: a bundle to answers",
    "bench": "Measure: a service under load",
}
"""Each package with commands in its module ``cli``, and their heading in the help."""


class _Commands(TyperGroup):
    """The commands of all packages, without the packages' names: ``hal train``, not ``hal training train``."""

    def __init__(self, *, commands: dict[str, Any], **options: Any) -> None:
        together: dict[str, Any] = {}
        for package, group in commands.items():
            for name, command in group.commands.items():
                command.rich_help_panel = PANELS[package]
                if name in together:  # 'hal slides' comes from training and from the service
                    command.commands = together[name].commands | command.commands
                together[name] = command
        super().__init__(commands=together, **options)


app = typer.Typer(
    cls=_Commands,
    rich_markup_mode="markdown",
    epilog="Begin with 'hal serve' and open the address that it prints, or with 'hal classify FOLDER'; every command "
    "tells more with --help.\n\nFor research use; assists a qualified technologist.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_show_locals=False,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"hal {metadata.version(DISTRIBUTION)}")
        raise typer.Exit


@app.callback()
def _hal(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Pre-classify blood cell images into 20 classes and flag hairy cells."""
    del version


for _package in PANELS:
    try:
        app.add_typer(import_module(f"{_package}.cli").app, name=_package)
    except ModuleNotFoundError as error:
        if error.name not in (_package, f"{_package}.cli"):
            raise


def main() -> None:
    """Run ``hal``; a library that is not installed and a stream that is closed or full end in words."""
    open_closed_streams()
    if sys.argv[1:2] != ["serve"]:  # it counts the lines that it lost, and they are not its answer
        tolerate_full_streams()
    try:
        app()
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] in (*PANELS, "contract", "client"):
            raise
        command = " ".join(sys.argv[1:2])
        sys.exit(
            f"hal {command}: the Python package {error.name!r} is not installed here. "
            "In the folder of HAL's source 'make install-dev' installs everything, training too, into .venv; "
            "the service alone: .venv/bin/pip install -e '.[service]' for the CPU ('make run' does it and starts it), "
            "'.[service-gpu]' for CUDA, never both."
        )
    finally:
        if (lost := release_streams()) is not None:
            sys.exit(f"hal: standard output could not be written: {lost.strerror}")


if __name__ == "__main__":
    main()
