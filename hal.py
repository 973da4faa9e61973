"""The command line ``hal``: the one place where training and service meet.

Each half brings its own commands; a half that is not installed is left out. The service's container has no training.
"""

import inspect
import sys
from collections.abc import Callable
from importlib import import_module, metadata
from typing import Annotated, Final

import typer
from typer.models import TyperInfo

DISTRIBUTION: Final = "hal-cells"
TRAINING, SERVICE, BENCH = "training", "service", "bench"
TRAIN, SERVE, MEASURE = "Train: images to a bundle", "Serve: a bundle to answers", "Measure: a service under load"
_SHARED_GROUPS: Final = {"slides": SERVE}
"""Groups that both halves add to, and where they belong."""

app = typer.Typer(
    name="hal",
    help="Pre-classify blood cell images into 20 classes and flag hairy cells.",
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
    _let_flow(commands)
    for command in commands.registered_commands:
        command.rich_help_panel = panel
    app.registered_commands += commands.registered_commands
    for group in commands.registered_groups:
        group.rich_help_panel = _SHARED_GROUPS.get(group.name or "", panel)
        _add_group(group)


def _let_flow(commands: typer.Typer) -> None:
    """Help from docstrings as paragraphs that fit any terminal; brackets in them are not markup."""
    for command in commands.registered_commands:
        command.help = _paragraphs(command.callback)
    for group in commands.registered_groups:
        if group.typer_instance is not None:
            _let_flow(group.typer_instance)


def _paragraphs(callback: Callable[..., object] | None) -> str:
    text = inspect.getdoc(callback) or ""
    return "\n\n".join(" ".join(part.split()) for part in text.split("\n\n")).replace("[", "\\[")


def _add_group(group: TyperInfo) -> None:
    """Add a group of commands, to the one of the same name if the other half brought one ('hal slides')."""
    twin = next((other for other in app.registered_groups if other.name == group.name), None)
    if twin is None:
        app.registered_groups.append(group)
    elif twin.typer_instance is not None and group.typer_instance is not None:
        twin.typer_instance.registered_commands += group.typer_instance.registered_commands


_mount(TRAINING, TRAIN)
_mount(SERVICE, SERVE)
_mount(BENCH, MEASURE)


def main() -> None:
    """Run ``hal`` and turn a half whose libraries are not installed into an instruction instead of a traceback."""
    try:
        app()
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] in (TRAINING, SERVICE, BENCH, "contract", "client"):
            raise
        command = " ".join(sys.argv[1:2])
        sys.exit(
            f"hal {command}: the Python package {error.name!r} is not installed here. "
            f"Install the libraries of the half that you use: pip install '{DISTRIBUTION}[{TRAINING}]' "
            f"or '{DISTRIBUTION}[{SERVICE}]' (in a checkout: 'make install-dev' has both)."
        )


if __name__ == "__main__":
    main()
