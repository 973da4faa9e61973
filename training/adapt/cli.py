"""``hal adapt``."""

from pathlib import Path
from typing import Annotated

import typer

from training.errors import explained

app = typer.Typer(no_args_is_help=True)


@app.command("adapt")
def adapt(
    bundle: Annotated[Path, typer.Argument(help="Folder of the bundle to begin with; it stays as it is.")],
    data: Annotated[
        Path, typer.Option(help="Manifest of confirmed cells: hal data prepare --preset review=corrections.zip.")
    ],
    out: Annotated[Path, typer.Option(help="Folder of the new bundle, NAME/MAJOR, for example models/site/1.")],
    force: Annotated[
        bool, typer.Option("--force", help="Write the bundle even if it is not known to be better.")
    ] = False,
) -> None:
    """Fit a bundle's last layer to a laboratory's confirmed cells, and compare it with its parent on other slides.

    Seconds on a CPU. A bundle that is not better on held-out slides, or that forgets, is not written.

    Example: hal adapt models/hal-c/3 --data datasets/site.csv --out models/site/1
    """
    with explained():
        from training.adapt.adapt import adapt as run

        adapted = run(bundle, data, out, force)
        if adapted.left_out:
            typer.echo(f"left out {adapted.left_out} cells of classes that {bundle} never answers")
        for comparison in adapted.comparisons:
            typer.echo("\n".join(comparison.lines()))
        if all(comparison.of_site for comparison in adapted.comparisons):
            typer.echo(
                f"{bundle} brings no reference cells, so what it may forget is not measured; 'hal drift-reference' "
                "adds some where its images are at hand"
            )
        step, described = adapted.description.adaptations[-1], adapted.description
        typer.echo(
            f"{out}: {described.name} {described.version}, last layer fitted to {sum(step.cells.values())} cells of "
            f"{step.slides} slides, temperature {described.calibration.temperature:.2f}; serve it: HAL_BUNDLE={out}"
        )
