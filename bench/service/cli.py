"""``hal bench service``."""

from pathlib import Path
from typing import Annotated

import typer

from bench.service.parts import USUAL, Part
from contract.termination import nothing_left_running
from service.jobs.exit_codes import STOPPED

app = typer.Typer(no_args_is_help=True, help="Measure speed on this machine, side by side in one run.")


@app.callback()
def _group() -> None:
    """Measure speed on this machine, side by side in one run."""


@app.command("service")
def bench_service(
    bundle: Annotated[Path, typer.Option(help="The real bundle, whose golden sample is sent.")] = Path(
        "models/hal-c/2"
    ),
    out: Annotated[Path, typer.Option(help="Folder for service.json, service.md and the pictures.")] = Path("bench"),
    part: Annotated[
        list[Part] | None,
        typer.Option(help="What to measure, repeated: null, real, device, soak. Default: all but soak."),
    ] = None,
    peers_venv: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Virtual environment with LitServe and BentoML; made and filled if it is not there (downloads some "
            "200 MB). Not given: they are left out.",
        ),
    ] = None,
    seconds: Annotated[float, typer.Option(min=0.1, help="Measured time of each row.")] = 5,
) -> None:
    """Compare the service with other ways of serving the same graph: requests a second, latency, cost.

    The load comes from a process of its own that needs nothing but Python and costs some 50 µs a request; it shares the
    machine with what it measures. Needs the extra hal-cells[bench].

    Example: hal bench service --out bench --peers-venv /tmp/peers --part null

    Does memory grow in ten minutes at saturation? hal bench service --part soak --seconds 600
    """
    try:
        from bench.service.run import bench_service as measure
        from contract.bundle import BundleError, load
    except ModuleNotFoundError as error:
        typer.echo(f"hal bench service: {error.name} is not installed; pip install 'hal-cells[bench]'.", err=True)
        raise typer.Exit(1) from None
    try:
        with nothing_left_running():
            measure(load(bundle), out, part or USUAL, peers=peers_venv, seconds=seconds, say=typer.echo)
    except KeyboardInterrupt:
        typer.echo("hal bench service: stopped; parts that were done are in " + str(out), err=True)
        raise typer.Exit(STOPPED) from None
    except BundleError as error:
        typer.echo(f"hal bench service: {error}", err=True)
        raise typer.Exit(1) from None
