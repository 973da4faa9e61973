"""The commands that measure: ``hal load-test`` and ``hal bench``."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Final

import typer

from bench import BenchError, Part, Provider

STOPPED: Final = 130
"""Exit code after Ctrl-C or SIGTERM."""

app = typer.Typer(no_args_is_help=True)
bench_app = typer.Typer(no_args_is_help=True, help="Measure speed and memory on this machine.")
app.add_typer(bench_app, name="bench")


@contextlib.contextmanager
def _explained(command: str, extra: str, stopped: str = "nothing was written") -> Iterator[None]:
    """Errors that a user can mend as one message and exit code 1; what was started ends with the block."""
    try:
        from bench.processes import stoppable
        from contract.bundle import BundleError

        with stoppable():
            yield
    except KeyboardInterrupt:
        typer.echo(f"{command}: stopped; {stopped}", err=True)
        raise typer.Exit(STOPPED) from None
    except ModuleNotFoundError as error:
        typer.echo(
            f"{command}: {error.name} is not installed; in the folder of HAL's source: "
            f".venv/bin/pip install -e '.[{extra}]'",
            err=True,
        )
        raise typer.Exit(1) from None
    except (BenchError, BundleError, OSError) as error:
        typer.echo(f"{command}: {error}", err=True)
        raise typer.Exit(1) from None


@app.command("load-test")
def load_test(
    url: Annotated[str, typer.Option(help="Address of the service.")] = "http://127.0.0.1:8000",
    rate: Annotated[
        float | None, typer.Option(help="Open loop: send so many requests a second, however fast the service is.")
    ] = None,
    concurrency: Annotated[
        int | None,
        typer.Option(min=1, help="Closed loop: so many clients, which wait for their answers. Default: 8, sweep: 32."),
    ] = None,
    sweep: Annotated[
        bool, typer.Option("--sweep", help="Find saturation by a closed loop, then open loops at 10 to 120 % of it.")
    ] = False,
    images: Annotated[Path | None, typer.Option(help="Folder of images. Default: sample cells.")] = None,
    duration: Annotated[float, typer.Option(min=0.1, help="Measured seconds of each load.")] = 10.0,
    warm_up: Annotated[float, typer.Option(min=0, help="Seconds of each load before them.")] = 2.0,
    bulk: Annotated[int, typer.Option(min=1, help="Images in a request.")] = 1,
    even: Annotated[bool, typer.Option("--even", help="Open loop: equal gaps instead of Poisson arrivals.")] = False,
    seed: Annotated[int, typer.Option(help="Of the Poisson arrivals.")] = 1,
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds to wait for an answer.")] = 30.0,
    api_key_file: Annotated[
        Path | None, typer.Option(help="File with the service's API key. Default: the key in HAL_API_KEY.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for report.html and figures.json.")] = Path("load-test"),
) -> None:
    """Put a load on a running service and report its rate, latency, errors and batch sizes.

    Example: hal load-test --url http://127.0.0.1:8000 --sweep

    That finds how many requests a second the service answers at most, then how long an answer takes when asked
    for 10 to 120 % of that. To see one load: --rate 20, or --concurrency 8 --bulk 64 --images cells/.

    Exit code: 0 measured, whatever the figures; 1 not measured.
    """
    with _explained("hal load-test", "loadtest"):
        if rate is not None and (concurrency is not None or sweep):
            raise BenchError("--rate is an open loop: give it without --concurrency and --sweep")
        if rate is not None and rate <= 0:
            raise BenchError(f"--rate {rate:g}: expected more than 0 requests a second")
        from bench import load_test as test
        from bench import report
        from bench.requests import Target, load_images

        load = test.load_of(rate, concurrency, sweep=sweep, duration_s=duration, warmup_s=warm_up, even=even, seed=seed)
        key = api_key_file.read_text(encoding="utf-8").strip() if api_key_file else os.environ.get("HAL_API_KEY")
        target = Target(url.rstrip("/"), key or None, timeout)
        files, origin = load_images(images)
        outcome = test.load_test(target, files, origin, load, bulk=bulk, sweep=sweep, say=typer.echo)
        path = report.write_load_test(outcome, out)
    for warning in outcome.warnings:
        typer.echo(f"note: {warning}", err=True)
    if outcome.no_batches:
        typer.echo(f"batch sizes: not available, {outcome.no_batches}")
    typer.echo(f"report: {path}")


@bench_app.command("service")
def bench_service(
    bundle: Annotated[Path, typer.Option(help="The bundle to serve; its golden sample is sent.")] = Path(
        "models/hal-c/3"
    ),
    out: Annotated[Path, typer.Option(help="Folder for service.json, service.md and the pictures.")] = Path(
        "bench-service"
    ),
    part: Annotated[
        list[Part] | None, typer.Option(help="What to measure; may be repeated. Default: all but soak.")
    ] = None,
    peers_venv: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Virtual environment with LitServe and BentoML, which is made where there is none (downloads some "
            "200 MB). Default: they are left out.",
        ),
    ] = None,
    seconds: Annotated[float, typer.Option(min=0.1, help="Measured time of each row.")] = 5,
) -> None:
    """Compare the service on this machine with other ways of serving the same network.

    Example: hal bench service --part null --seconds 2

    null: how many requests a second HTTP, decoding and answers allow, with a network that costs nothing.

    real: the real network; throughput beside a loop without HTTP, latency at 80 % of it and when idle.

    device: latency and batches before a simulated GPU.

    soak: memory at saturation, --seconds 600 for ten minutes.

    The load comes from a process of its own on the same machine, which should be quiet.

    Needs .venv/bin/pip install -e '.[bench]'.
    """
    with _explained("hal bench service", "bench", f"parts that were done are in {out}"):
        from bench import service
        from contract.bundle import load

        parts = part or [Part.NULL, Part.REAL, Part.DEVICE]
        service.bench_service(load(bundle), out, parts, peers=peers_venv, seconds=seconds, say=typer.echo)


@bench_app.command("gpu")
def bench_gpu(
    bundle: Annotated[Path, typer.Option(help="The bundle to serve.")] = Path("models/hal-c/3"),
    out: Annotated[Path, typer.Option(help="Folder for gpu.json and gpu.md.")] = Path("bench-gpu"),
    device: Annotated[
        list[Provider] | None,
        typer.Option(help="What must work; may be repeated. Default: all but cpu, of which cuda must."),
    ] = None,
    images: Annotated[
        Path | None, typer.Option(help="Folder of images beside the golden sample. Default: sample cells.")
    ] = None,
    batches: Annotated[int, typer.Option(min=1, help="Batches of changing size, over which memory is watched.")] = 1000,
    seconds: Annotated[float, typer.Option(min=0.1, help="Measured time of each load.")] = 5,
) -> None:
    """Prove what the service promises of a GPU: providers, parity, buckets, speed, memory and start.

    Example: hal bench gpu --out report

    Takes some two minutes, with TensorRT more. '--device cpu' tries every line without a GPU.

    Exit code: 0 every verdict is good; 1 one is not, or nothing could be measured.

    Needs .venv/bin/pip install -e '.[loadtest,service-gpu]', without a GPU -e '.[bench]'.
    """
    with _explained("hal bench gpu", "bench", f"what was done is in {out}"):
        from bench import gpu
        from contract.bundle import load

        good = gpu.bench_gpu(
            load(bundle), out, device or [], images=images, batches=batches, seconds=seconds, say=typer.echo
        )
    if not good:
        raise typer.Exit(1)


@bench_app.command("train")
def bench_train(
    data: Annotated[Path, typer.Option("--data", help="Manifest with training and validation images.")],
    out: Annotated[Path | None, typer.Option("--out", help="Write the figures here, as JSON.")] = None,
    batches: Annotated[int, typer.Option(min=2, help="Batches timed for each figure.")] = 6,
    images: Annotated[int, typer.Option(min=40, help="Images for the comparison of feature views.")] = 400,
    views: Annotated[int, typer.Option(min=2, help="Feature views V.")] = 3,
    weights: Annotated[
        Path | None,
        typer.Option(envvar="HAL_XCEPTION_WEIGHTS", help="ImageNet weights of Xception. Default: Keras' download."),
    ] = None,
) -> None:
    """Time a training step fed by the pipeline and from memory, folded normalisation, and feature views.

    Example: hal bench train --data datasets/open.csv --out bench-train.json
    """
    from training.errors import explained

    with explained():
        from bench.training import bench_training

        bench_training(weights, data, batches, images, views, out)


@bench_app.command("memory")
def bench_memory(
    batch: Annotated[int, typer.Option(min=2, help="Images of the large batch.")] = 256,
    micro_batch: Annotated[int, typer.Option(min=1, help="Images embedded at once.")] = 16,
) -> None:
    """Compare the peak memory of a large contrastive batch, by gradient caching, with that of a small one.

    Example: hal bench memory --batch 256 --micro-batch 16
    """
    with _explained("hal bench memory", "bench,training"):
        from bench.memory import bench_memory as measure

        measure(batch, micro_batch)


@bench_app.command("novelty")
def bench_novelty(
    folder: Annotated[Path, typer.Argument(metavar="NETWORK", help="Folder of a bundle or of a run.")],
    data: Annotated[Path, typer.Option("--data", help="Manifest that the network was made of.")],
    elsewhere: Annotated[
        list[Path], typer.Option("--elsewhere", help="Manifest of a data set that was never trained on; repeatable.")
    ],
) -> None:
    """Compare ways of telling unfamiliar images: residual, neighbours, Mahalanobis, energy, largest probability.

    Example: hal bench novelty models/hal-c/3 --data datasets/twenty/manifest.csv --elsewhere datasets/raabin.csv
    """
    from training.errors import explained

    with explained():
        from bench.novelty import bench_novelty as measure

        measure(folder, data, elsewhere)
