"""The training half of the command line, in the order of its use, from data to bundles."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from training.adapt.cli import app as adapt_app
from training.composites.cli import app as composites_app
from training.data.cli import app as data_app
from training.errors import TrainingError, explained
from training.evaluation.cli import app as evaluation_app
from training.evaluation.cli import slides_app
from training.export.cli import app as export_app

app = typer.Typer(no_args_is_help=True)
app.add_typer(data_app, name="data")
app.add_typer(composites_app, name="composites")

Weights = Annotated[
    Path | None,
    typer.Option(envvar="HAL_XCEPTION_WEIGHTS", help="ImageNet weights of Xception; default: Keras' download."),
]


@app.command("recipes")
def recipes(name: Annotated[str | None, typer.Argument(help="One recipe, to see all its choices.")] = None) -> None:
    """List the experiments that 'hal train' knows, or show one with every choice that --set can replace."""
    with explained():
        from training.overrides import print_recipe, print_recipes

        print_recipes() if name is None else print_recipe(name)


def _how_to_go_on(run: Path | None) -> str:
    begun = run is not None and (run / "checkpoint.npz").exists()
    return f"go on with: hal train --resume {run}" if begun else "nothing was trained yet"


@app.command("train")
def train(
    recipe: Annotated[
        str | None, typer.Argument(help="The experiment, such as hal-c3003-cpu; 'hal recipes' lists them.")
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            help="Manifest written by 'hal data prepare' or 'split', which leave images out (--exclude, --cap)."
        ),
    ] = None,
    run: Annotated[
        Path | None, typer.Option("--run", help="Folder of the run: recipe, data, log, checkpoint, weights.")
    ] = None,
    resume: Annotated[Path | None, typer.Option("--resume", metavar="RUN", help="Continue an interrupted run.")] = None,
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
        typer.Option(metavar="RUN", help="Take the encoder of a finished run with the same choices and images."),
    ] = None,
    start_from: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Begin with the encoder of a bundle or of another run instead of ImageNet's and train it further; "
            "none of its training images may validate or test here.",
        ),
    ] = None,
    devices: Annotated[
        Literal["auto", "one", "mirrored"], typer.Option(help="auto: all GPUs of this machine; one; mirrored.")
    ] = "auto",
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
    with explained(lambda: _how_to_go_on(resume or run)):
        from training.fit import start as training

        if resume is not None:
            if recipe or run or data or encoder_from or start_from:
                raise TrainingError(
                    "--resume RUN continues the run as it began: give no recipe, data or other run with it"
                )
            training.resume(resume, weights, devices, choices or ())
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
                devices=devices,
                shared_slides=shared_slides,
            )


app.add_typer(slides_app, name="slides")
app.add_typer(evaluation_app)
app.add_typer(export_app)
app.add_typer(adapt_app)
