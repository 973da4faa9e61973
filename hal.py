"""The command line ``hal``: the one place where training and service meet.

Each half brings its own commands; a half that is not installed is left out. The service's container has no training.
"""

import sys
from importlib import import_module, metadata
from typing import Annotated, Final

import typer
from typer.models import TyperInfo

DISTRIBUTION: Final = "hal-cells"
TRAINING, SERVICE, LOADTEST = "training", "service", "loadtest"

app = typer.Typer(
    name="hal",
    help="Pre-classify blood cell images into 20 classes and flag hairy cells.",
    epilog="For research use; assists a qualified technologist.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_show_locals=False,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"hal {metadata.version(DISTRIBUTION)}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    del version


def _mount(package: str, panel: str) -> None:
    try:
        commands: typer.Typer = import_module(f"{package}.cli").app
    except ModuleNotFoundError as error:
        if error.name in (package, f"{package}.cli"):
            return
        raise
    for command in commands.registered_commands:
        command.rich_help_panel = panel
    app.registered_commands += commands.registered_commands
    for group in commands.registered_groups:
        group.rich_help_panel = panel
        _add_group(group)


def _add_group(group: TyperInfo) -> None:
    """Add a group of commands, to the one of the same name if the other half brought one ('hal bench')."""
    twin = next((other for other in app.registered_groups if other.name == group.name), None)
    if twin is None:
        app.registered_groups.append(group)
    elif twin.typer_instance is not None and group.typer_instance is not None:
        twin.typer_instance.registered_commands += group.typer_instance.registered_commands


_mount(TRAINING, "Train: images to a bundle")
_mount(SERVICE, "Serve: a bundle to answers")
_mount(LOADTEST, "Measure: a service under load")


def main() -> None:
    """Run ``hal`` and turn a half whose libraries are not installed into an instruction instead of a traceback."""
    try:
        app()
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] in (TRAINING, SERVICE, LOADTEST, "contract", "client"):
            raise
        command = " ".join(sys.argv[1:2])
        sys.exit(
            f"hal {command}: the Python package {error.name!r} is not installed here. "
            f"Install the libraries of the half that you use: pip install '{DISTRIBUTION}[{TRAINING}]' "
            f"or '{DISTRIBUTION}[{SERVICE}]' (in a checkout: 'make install-dev' has both)."
        )


if __name__ == "__main__":
    main()
