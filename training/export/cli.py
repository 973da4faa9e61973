"""``hal export``, ``hal evidence``, ``hal drift-reference`` and ``hal novelty-reference``: what writes a bundle."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from training.errors import explained

app = typer.Typer(no_args_is_help=True)


class Shippable(StrEnum):
    """The precisions that the export writes; Typer takes no list of a Literal."""

    FLOAT32 = "float32"
    INT8 = "int8"
    FLOAT16 = "float16"


@app.command("export")
def export(
    run: Annotated[Path, typer.Argument(help="Folder of a finished run.")],
    out: Annotated[Path, typer.Option("--out", help="The bundle's folder, for example models/hal-c/3.")],
    version: Annotated[str, typer.Option(help="Semantic version of the bundle.")] = "1.0.0",
    name: Annotated[str, typer.Option(help="Name of the bundle.")] = "hal-c",
    precision: Annotated[
        list[Shippable] | None,
        typer.Option(
            help="Files to ship, repeated. The service takes float16 on a GPU and the first on a CPU, unless "
            "HAL_PRECISION names another. Default: int8 and float16."
        ),
    ] = None,
) -> None:
    """Write the bundle of a finished run: ONNX files, golden sample, calibration, evidence, model card.

    Example: hal export runs/first --out models/mine/1 --name mine
    """
    with explained():
        from training.export.bundle import export as write_bundle

        precisions = precision or [Shippable.INT8, Shippable.FLOAT16]
        description = write_bundle(run, out, name, version, [p.value for p in precisions])
        accuracy = next(metric for metric in description.metrics if metric.precision == description.files[0].precision)
        typer.echo(f"{out}: {accuracy.name} {accuracy.value:.4f} on {accuracy.images} {accuracy.split} images")


@app.command("drift-reference")
def drift_reference(
    bundle: Annotated[Path, typer.Argument(help="Folder of a bundle.")],
    data: Annotated[Path, typer.Option("--data", help="Manifest with images that the network was not trained on.")],
    split: Annotated[str, typer.Option(help="Which images of the description.")] = "val",
) -> None:
    """Measure the embeddings that a service compares its own with, for a bundle that was exported without them.

    Example: hal drift-reference models/hal-c/3 --data datasets/open.csv
    """
    with explained():
        from training.export.embedding_reference import add_reference

        reference = add_reference(bundle, data, split)
        typer.echo(
            f"{bundle}: embeddings of {reference.images} images, spread {reference.spread:.3f}, within the predicted "
            f"classes {reference.spread_within:.3f}"
        )


@app.command("novelty-reference")
def novelty_reference(
    bundle: Annotated[Path, typer.Argument(help="Folder of a bundle; all but its weights may be written anew.")],
    data: Annotated[Path, typer.Option("--data", help="Manifest that the bundle was made of.")],
    version: Annotated[
        str | None, typer.Option(help="Version of the bundle from now on, since its answers change.")
    ] = None,
) -> None:
    """Fit what tells unfamiliar images to a finished bundle: subspace, threshold, second temperature.

    Example: hal novelty-reference models/mine/1 --data datasets/open.csv --version 1.0.1
    """
    with explained():
        from training.export.novelty import add_novelty

        description = add_novelty(bundle, data, version)
        novelty, calibration = description.novelty, description.calibration
        if novelty is not None:
            typer.echo(
                f"{bundle}: {novelty.components} components of {novelty.images} training images, threshold "
                f"{novelty.threshold:.4g} on {novelty.validation_images} validation images; calibration error of "
                f"shifted ones {calibration.shifted_ece_before:.4f} before, {calibration.shifted_ece_after:.4f} after"
            )


@app.command("evidence")
def evidence(
    folder: Annotated[Path, typer.Argument(help="Folder of a bundle; its bundle.json and MODEL_CARD.md are written.")],
    data: Annotated[Path, typer.Option("--data", help="Manifest that the bundle was made of, with a test split.")],
    elsewhere: Annotated[
        list[Path] | None,
        typer.Option("--elsewhere", help="Manifest of a data set that was never trained on; may be repeated."),
    ] = None,
    hairy: Annotated[Path | None, typer.Option("--hairy", help="Folder of photographs of real hairy cells.")] = None,
    hairy_scale: Annotated[float, typer.Option(min=1.0, max=100.0, help="Their pixels per micrometre.")] = 10.0,
) -> None:
    """Measure a finished bundle on images that had no part in making it, and write the figures into it.

    Real cells, composites and edited controls apart; turned, darker, brighter, stained otherwise, compressed and out
    of focus; probes for traces of editing; other data sets; real hairy cells. Run it once, when nothing is chosen any
    more.

    Example: hal evidence models/hal-c/3 --data datasets/twenty/manifest.csv --elsewhere datasets/raabin.csv
    """
    with explained():
        from training.export.evidence import add_evidence

        description = add_evidence(folder, data, elsewhere or [], hairy, hairy_scale)
        for metric in description.metrics:
            if metric.command.startswith("hal evidence") and not metric.name.startswith("recall"):
                typer.echo(f"{metric.value:8.4f}  {metric.name} ({metric.images}, {metric.data}, {metric.condition})")
        typer.echo(f"written: {folder / 'bundle.json'} and {folder / 'MODEL_CARD.md'}")
