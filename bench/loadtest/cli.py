"""``hal load-test``."""

import os
from pathlib import Path
from typing import Annotated, NoReturn

import typer

app = typer.Typer(no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Measure a service."""


@app.command("load-test")
def load_test(
    url: Annotated[str, typer.Option(help="The service.")] = "http://127.0.0.1:8000",
    rate: Annotated[
        float | None, typer.Option(help="Open loop: requests a second, due whatever the service does.")
    ] = None,
    concurrency: Annotated[
        int | None, typer.Option(min=1, help="Closed loop: clients that wait for their answers (8 unless --rate).")
    ] = None,
    sweep: Annotated[
        bool, typer.Option("--sweep", help="Closed loop to find saturation, then open loops at 10 to 120 % of it.")
    ] = False,
    images: Annotated[Path | None, typer.Option(help="Folder of images; not given: sample cells.")] = None,
    duration: Annotated[float, typer.Option(min=0.1, help="Seconds of each load that count.")] = 10.0,
    warm_up: Annotated[float, typer.Option(min=0, help="Seconds of each load before them.")] = 2.0,
    bulk: Annotated[int, typer.Option(min=1, help="Images in a request.")] = 1,
    even: Annotated[bool, typer.Option("--even", help="Open loop: equal gaps instead of Poisson arrivals.")] = False,
    seed: Annotated[int, typer.Option(help="Of the arrivals.")] = 1,
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds to wait for an answer.")] = 30.0,
    api_key_file: Annotated[
        Path | None, typer.Option(help="File with the service's API key; else HAL_API_KEY holds the key.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for report.html and figures.json.")] = Path("load-test"),
) -> None:
    """Put a load on a running service: rate, latency percentiles, errors, batch sizes, and one HTML report.

    Exit code: 0 measured, whatever the figures; 1 not measured.
    """
    if rate is not None and (concurrency is not None or sweep):
        _fail("--rate is an open loop: give it without --concurrency and --sweep")
    if rate is not None and rate <= 0:
        _fail(f"--rate {rate:g}: expected more than 0 requests a second")
    try:
        from bench.loadtest import report
        from bench.loadtest.event_loop import run
        from bench.loadtest.plan import Load, Target
        from bench.loadtest.requests import load_images
        from bench.loadtest.trial import perform
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] == "bench.loadtest":
            raise
        _fail(f"{error.name} is not installed: pip install 'hal-cells[loadtest]'")
    from bench.loadtest.errors import LoadTestError

    load = Load(
        rate=rate,
        concurrency=None if rate is not None else concurrency or (None if sweep else 8),
        duration_s=duration,
        warmup_s=warm_up,
        even=even,
        seed=seed,
    )
    try:
        target = Target(url.rstrip("/"), _api_key(api_key_file), timeout)
        outcome = run(perform(target, load_images(images), load, bulk=bulk, sweep=sweep, say=typer.echo))
        path = report.write(outcome, out)
    except (LoadTestError, OSError) as error:
        _fail(str(error))
    for warning in outcome.warnings():
        typer.echo(f"note: {warning}", err=True)
    unknown = next((step.batches for step in outcome.steps if isinstance(step.batches, str)), None)
    for step in outcome.steps:
        if not isinstance(step.batches, str) and step.batches.mean is not None:
            typer.echo(f"{step.figures.load}: {step.batches.mean:.1f} images in a batch (mean)")
    if unknown is not None:
        typer.echo(f"batch sizes: not available, {unknown}")
    typer.echo(f"report: {path}")


def _api_key(file: Path | None) -> str | None:
    if file is None:
        return os.environ.get("HAL_API_KEY") or None
    return file.read_text(encoding="utf-8").strip()


def _fail(message: str) -> NoReturn:
    typer.echo(f"hal load-test: {message}", err=True)
    raise typer.Exit(1)
