"""``hal composites``: the classes without open images, made from real cells."""

from pathlib import Path
from typing import Annotated

import typer

from training.errors import explained

app = typer.Typer(
    no_args_is_help=True, help="Make the classes without open images by editing real cells, and draw them side by side."
)


@app.command("make")
def make(
    data: Annotated[Path, typer.Option(help="Manifest with splits, written by 'hal data prepare'.")],
    out: Annotated[Path, typer.Option(help="Folder of the set; an interrupted one is continued.")],
    per_class: Annotated[
        int, typer.Option(min=1, help="Training images of each class without enough real ones.")
    ] = 250,
    val_per_class: Annotated[
        int | None, typer.Option(min=0, help="Likewise in validation; default: in proportion to the real images.")
    ] = None,
    test_per_class: Annotated[int | None, typer.Option(min=0, help="Likewise in the test split.")] = None,
    sham_share: Annotated[
        float, typer.Option(min=0.0, max=0.9, help="Share of edited controls among the images of each other class.")
    ] = 0.25,
    most: Annotated[
        int | None, typer.Option(min=1, help="At most so many training images of each other class; default: all.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of every random choice.")] = 2022,
    demonstration: Annotated[
        bool,
        typer.Option(
            "--demonstration",
            help="Two sources with different stain and camera styles, wbc_train and hairy_db, for the sanity test; N "
            "of every class.",
        ),
    ] = False,
    processes: Annotated[int | None, typer.Option(min=1, help="Default: one a core.")] = None,
) -> None:
    """Write a complete 20-class set: real images, composites and edited controls, with manifest and attribution.

    Example: hal composites make --data datasets/open.csv --out datasets/twenty --per-class 250 --seed 2022
    """
    with explained():
        from training.composites.make import make as run
        from training.composites.plan import Amounts

        chosen = {"val": val_per_class, "test": test_per_class}
        held_out = {split: count for split, count in chosen.items() if count is not None}
        amounts = Amounts(per_class=per_class, held_out=held_out, sham_share=sham_share, most=most, seed=seed)
        run(data, out, amounts, demonstration=demonstration, processes=processes)


@app.command("sheet")
def sheet(
    images: Annotated[Path, typer.Option(help="Manifest of real images.")],
    out: Annotated[Path, typer.Option(help="The picture to write, a PNG file.")],
    label: Annotated[str, typer.Option("--class", help="A class name, such as 'Hairy cell'.")] = "Hairy cell",
    count: Annotated[int, typer.Option(min=1, help="Composites to draw.")] = 24,
    seed: Annotated[int, typer.Option(min=0, help="Seed of every random choice.")] = 0,
) -> None:
    """Draw composites, edited controls and real cells side by side, for a person to judge.

    Example: hal composites sheet --class 'Hairy cell' --images datasets/open.csv --out hairy.png
    """
    with explained():
        from training.composites.sheet import sheet as run

        run(label, images, out, count, seed)
