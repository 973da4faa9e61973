"""The training half of the command line, in the order of its use: data, recipes, train, evaluate, compare, export."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from training.composites.cli import app as composites_app
from training.data.cli import app as data_app
from training.errors import TrainingError, explained
from training.evaluation.cli import app as evaluation_app
from training.slides.cli import app as slides_app

app = typer.Typer(no_args_is_help=True)
app.add_typer(data_app, name="data")
app.add_typer(composites_app, name="composites")

Weights = Annotated[
    Path | None,
    typer.Option(envvar="HAL_XCEPTION_WEIGHTS", help="ImageNet weights of Xception; default: Keras' download."),
]


class Shippable(StrEnum):
    """The precisions that the export writes."""

    FLOAT32 = "float32"
    INT8 = "int8"
    FLOAT16 = "float16"


class Devices(StrEnum):
    """How a batch is spread, see :func:`training.fit.start.strategy`."""

    AUTO = "auto"
    ONE = "one"
    MIRRORED = "mirrored"


@app.command("recipes")
def recipes(
    name: Annotated[str | None, typer.Argument(help="One recipe, to see all its choices.")] = None,
) -> None:
    """List the experiments that 'hal train' knows, or show one with every choice that --set can replace."""
    with explained():
        from training.recipe_list import print_recipe, print_recipes

        print_recipes() if name is None else print_recipe(name)


@app.command("train")
def train(
    recipe: Annotated[
        str | None, typer.Argument(help="The experiment, such as hal-c3003-cpu; 'hal recipes' lists them.")
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            "--data",
            help="Manifest written by 'hal data prepare' or 'split', which leave images out (--exclude, --cap).",
        ),
    ] = None,
    run: Annotated[
        Path | None, typer.Option("--run", help="Folder of the run: recipe, data, log, checkpoint, weights.")
    ] = None,
    resume: Annotated[
        Path | None, typer.Option("--resume", metavar="RUN", help="Go on with a run that was interrupted.")
    ] = None,
    choices: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="FIELD=VALUE",
            help="Replace a choice of the recipe, such as encoder.epochs=3; with --resume only STAGE.micro_batch.",
        ),
    ] = None,
    encoder_from: Annotated[
        Path | None,
        typer.Option(metavar="RUN", help="Take the encoder of a finished run of the same choices and images."),
    ] = None,
    start_from: Annotated[
        Path | None,
        typer.Option(
            metavar="RUN",
            help="Begin with the encoder of another run instead of ImageNet's and train it further; none of its "
            "training images may validate or test here.",
        ),
    ] = None,
    devices: Annotated[
        Devices,
        typer.Option(help="auto: all GPUs of this machine; one; mirrored."),
    ] = Devices.AUTO,
    shared_slides: Annotated[
        bool, typer.Option("--allow-shared-slides", help="A slide may be in two splits, as in the thesis's split.")
    ] = False,
    weights: Weights = None,
) -> None:
    """Train a network of the thesis; a run that was killed goes on with --resume RUN.

    Examples: hal train hal-c3003-cpu --data datasets/open.csv --run runs/first

    hal train hal-c3003 --data mine.csv --run runs/large --set encoder.batch_size=256 --set encoder.micro_batch=16

    hal train --resume runs/first
    """
    with explained():
        from training.fit import start as training

        if resume is not None:
            if recipe or run or data or encoder_from or start_from:
                raise TrainingError("--resume RUN goes on as the run began: give no recipe, data or other run with it")
            training.resume(resume, weights, devices.value, choices or ())
        elif recipe is None or data is None or run is None:
            raise TrainingError("a new run needs a recipe, --data MANIFEST and --run FOLDER; see 'hal train --help'")
        else:
            training.start(
                recipe,
                data,
                run,
                weights,
                choices or (),
                encoder_from=encoder_from,
                start_from=start_from,
                devices=devices.value,
                shared_slides=shared_slides,
            )


@app.command("export")
def export(
    run: Annotated[Path, typer.Argument(help="Folder of a finished run.")],
    out: Annotated[Path, typer.Option("--out", help="The bundle's folder, for example models/hal-c/2.")],
    version: Annotated[str, typer.Option(help="Semantic version of the bundle.")] = "1.0.0",
    name: Annotated[str, typer.Option(help="Name of the bundle.")] = "hal-c",
    precision: Annotated[
        list[Shippable] | None,
        typer.Option(
            help="Files to ship, repeated; the service takes the first unless HAL_PRECISION names another. int8 is for "
            "CPUs, float16 for GPUs. Default: float32 and int8."
        ),
    ] = None,
) -> None:
    """Write the bundle of a finished run: ONNX files, golden sample, calibration, evidence, model card.

    Example: hal export runs/first --out models/hal-c/2 --precision int8

    For a GPU beside: --precision int8 --precision float16, and HAL_PRECISION=float16 where it is served.
    """
    with explained():
        from training.export.bundle import export as write_bundle

        precisions = precision or [Shippable.FLOAT32, Shippable.INT8]
        manifest = write_bundle(run, out, name, version, [p.value for p in precisions])
        accuracy = next(metric for metric in manifest.metrics if metric.precision == manifest.files[0].precision)
        typer.echo(f"{out}: {accuracy.name} {accuracy.value:.4f} on {accuracy.images} {accuracy.split} images")


@app.command("drift-reference")
def drift_reference(
    bundle: Annotated[Path, typer.Argument(help="Folder of a bundle.")],
    data: Annotated[Path, typer.Option("--data", help="Manifest with images that the network was not trained on.")],
    split: Annotated[str, typer.Option(help="Which images of the manifest.")] = "val",
) -> None:
    """Measure the embeddings that a service compares its own with, for a bundle that was exported without them.

    Example: hal drift-reference models/hal-c/2 --data datasets/open.csv
    """
    with explained():
        from training.export.embedding_reference import add_reference

        reference = add_reference(bundle, data, split)
        typer.echo(
            f"{bundle}: embeddings of {reference.images} images, spread {reference.spread:.3f}, within the predicted "
            f"classes {reference.spread_within:.3f}"
        )


app.add_typer(slides_app, name="slides")
app.registered_commands += evaluation_app.registered_commands
