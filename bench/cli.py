"""The commands that measure: ``hal load-test`` and ``hal bench``."""

from pathlib import Path
from typing import Annotated

import typer

from bench.loadtest.cli import app as load_test_app
from bench.service.cli import app as bench_app
from contract.termination import nothing_left_running

app = typer.Typer(no_args_is_help=True)
app.registered_commands += load_test_app.registered_commands
app.add_typer(bench_app, name="bench")

Weights = Annotated[
    Path | None,
    typer.Option(envvar="HAL_XCEPTION_WEIGHTS", help="ImageNet weights of Xception; default: Keras' download."),
]


@bench_app.command("train")
def bench_train(
    data: Annotated[Path, typer.Option("--data", help="BundleDescription with training and validation images.")],
    out: Annotated[Path | None, typer.Option("--out", help="Write the figures here, as JSON.")] = None,
    batches: Annotated[int, typer.Option(min=2, help="Batches timed for each figure.")] = 6,
    images: Annotated[int, typer.Option(min=40, help="Images for the comparison of feature views.")] = 400,
    views: Annotated[int, typer.Option(min=2, help="Feature views V.")] = 3,
    weights: Weights = None,
) -> None:
    """Time a training step fed by the pipeline against images in memory, folded normalisation, and feature views.

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
    from training.errors import explained

    with explained(), nothing_left_running():
        from bench.memory import bench_memory as measure

        measure(batch, micro_batch)
