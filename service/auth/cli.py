"""``hal keys``: make, list and revoke API keys."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from service.auth.keys import KeysError, Role, add, read, revoke

app = typer.Typer(help="Make, list and revoke API keys.", no_args_is_help=True)

File = Annotated[Path, typer.Option("--file", envvar="HAL_KEYS_FILE", help="The file of keys.")]
Name = Annotated[str, typer.Option(help="Which machine or person uses the key; it appears in the log.")]


@app.command("add")
def add_key(name: Name, role: Annotated[Role, typer.Option(help="What it may do.")], file: File) -> None:
    """Make a key and print it, once: the file holds only its hash."""
    with _explained():
        secret = add(file, name, role)
    typer.echo(f"Key {name!r} ({role}) was added to {file}. It is shown only now:", err=True)
    typer.echo(secret)


@app.command("list")
def list_keys(file: File) -> None:
    """List names, roles and dates; the keys themselves are nowhere."""
    with _explained():
        for key in read(file):
            typer.echo(f"{key.name:<32} {key.role:<10} {key.created:%Y-%m-%d %H:%M:%S %Z}")


@app.command("revoke")
def revoke_key(name: Name, file: File) -> None:
    """Remove a key; a running service refuses it within a second."""
    with _explained():
        revoke(file, name)
    typer.echo(f"Key {name!r} was revoked.", err=True)


@contextlib.contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except KeysError as error:
        typer.echo(f"hal keys: {error}", err=True)
        raise typer.Exit(1) from None
