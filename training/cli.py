"""The training half of the command line: ``hal data``, ``hal train``, ``hal export``, ``hal evaluate``."""

import contextlib
import os
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from contract.bundle import BundleError
from contract.manifest import Precision
from training.errors import TrainingError

app = typer.Typer(no_args_is_help=True)
data_app = typer.Typer(no_args_is_help=True, help="Turn folders of labelled images into a data manifest.")
app.add_typer(data_app, name="data")


class Shippable(StrEnum):
    """The precisions that the export writes."""

    FLOAT32 = "float32"
    INT8 = "int8"


@contextlib.contextmanager
def _explained() -> Iterator[None]:
    """Print an error that the user can mend, without a traceback, and exit with 1."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    try:
        yield
    except (TrainingError, BundleError) as error:
        typer.secho(str(error), fg="red", err=True)
        raise typer.Exit(1) from error


@data_app.command("prepare")
def prepare(
    sources: Annotated[
        list[str], typer.Option("--preset", help="PRESET=FOLDER, repeated; presets: pbc, matek-marrow.")
    ],
    out: Annotated[Path, typer.Option("--out", help="The manifest to write, a CSV file.")],
    validation_share: Annotated[
        float, typer.Option(min=0.01, max=0.9, help="Share of each class held out for validation.")
    ] = 0.2,
    seed: Annotated[int, typer.Option(help="Seed of the split.")] = 2022,
    like: Annotated[
        Path | None, typer.Option(help="images.csv of a bundle: take just its images, split as it was.")
    ] = None,
) -> None:
    """Write a manifest from public data sets, with a seeded split.

    Example: hal data prepare --preset pbc=PBC_dataset_normal_DIB --preset matek-marrow=BM_cytomorphology_data
    --out datasets/open.csv
    """
    with _explained():
        from training.data.prepare import prepare as run

        run(sources, out, validation_share, seed, like)


@app.command("train")
def train(
    recipe: Annotated[str, typer.Argument(help="hal-c3003 (as in the thesis) or hal-c3003-cpu (some 3,000 images).")],
    run: Annotated[Path, typer.Option("--run", help="Folder of the run: recipe, data, log, checkpoint, weights.")],
    data: Annotated[Path | None, typer.Option("--data", help="Manifest written by 'hal data prepare'.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a run that was interrupted.")] = False,
    weights: Annotated[
        Path | None,
        typer.Option(envvar="HAL_XCEPTION_WEIGHTS", help="ImageNet weights of Xception; default: Keras' download."),
    ] = None,
) -> None:
    """Train a network by a recipe of the thesis; a run that was killed goes on with --resume.

    Example: hal train hal-c3003-cpu --data datasets/open.csv --run runs/first
    """
    with _explained():
        from training.train import train as run_recipe

        run_recipe(recipe, data, run, resume, weights)


@app.command("export")
def export(
    run: Annotated[Path, typer.Argument(help="Folder of a finished run.")],
    out: Annotated[Path, typer.Option("--out", help="The bundle's folder, for example models/hal-c/1.")],
    version: Annotated[str, typer.Option(help="Semantic version of the bundle.")] = "1.0.0",
    name: Annotated[str, typer.Option(help="Name of the bundle.")] = "hal-c",
    precision: Annotated[
        list[Shippable] | None,
        typer.Option(help="Files to ship, repeated; the service takes the first. Default: both."),
    ] = None,
) -> None:
    """Write the bundle of a finished run: ONNX files, golden sample, calibration, evidence, model card.

    Example: hal export runs/first --out models/hal-c/1 --precision int8
    """
    with _explained():
        from training.export import export as write_bundle

        manifest = write_bundle(run, out, name, version, [p.value for p in precision or Shippable])
        accuracy = next(metric for metric in manifest.metrics if metric.precision == manifest.files[0].precision)
        typer.echo(f"{out}: {accuracy.name} {accuracy.value:.4f} on {accuracy.images} {accuracy.split} images")


@app.command("evaluate")
def evaluate(
    bundle: Annotated[Path, typer.Argument(help="Folder of a bundle.")],
    data: Annotated[Path, typer.Option("--data", help="Manifest with labelled images.")],
    split: Annotated[str, typer.Option(help="train, val or test.")] = "val",
    precision: Annotated[Precision | None, typer.Option(help="Which file; default: the bundle's first.")] = None,
) -> None:
    """Measure a bundle on labelled images: accuracy, loss, calibration error, recall and precision by class.

    Example: hal evaluate models/hal-c/1 --data datasets/open.csv --split val
    """
    with _explained():
        from training.report import print_evaluation

        print_evaluation(bundle, data, split, precision)
