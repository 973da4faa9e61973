"""``hal evaluate``, ``hal compare``, ``hal sanity`` and ``hal slides characteristics``."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from contract.parts import Precision
from contract.slide import SlideRule
from training.errors import explained

app = typer.Typer(no_args_is_help=True)


Split = Literal["train", "val", "test"]


@app.command("evaluate")
def evaluate(
    network: Annotated[Path, typer.Argument(help="Folder of a finished run, or of a bundle.")],
    data: Annotated[Path | None, typer.Option(help="Manifest with labelled images; default: the run's own.")] = None,
    split: Annotated[Split, typer.Option(help="Which images of the manifest.")] = "val",
    precision: Annotated[Precision | None, typer.Option(help="Which file of a bundle; default: its first.")] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder of the report; default for a run: RUN/evaluation/SPLIT.")
    ] = None,
) -> None:
    """Measure a network on labelled images: figures with intervals, pictures, shortcut probe, one HTML report.

    Examples: hal evaluate runs/first | hal evaluate runs/first --data datasets/mine.csv --split test |
    hal evaluate models/hal-c/3 --data datasets/open.csv --split val --out reports/hal-c
    """
    with explained():
        from training.evaluation.evaluate import evaluate as run

        if (report := run(network, data, split, precision, out)) is not None:
            typer.echo(f"report: {report}")


@app.command("compare")
def compare(
    runs: Annotated[list[Path], typer.Argument(help="Folders of finished runs (or bundles), two or more.")],
    data: Annotated[Path | None, typer.Option(help="Manifest with labelled images; default: each run's own.")] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for comparison.md, comparison.json and accuracy.png.")
    ] = None,
) -> None:
    """Compare networks on the same images, beside the thesis's figures (Tables 5.1 to 5.3), with McNemar's test.

    Example: hal compare runs/hal-t runs/hal-r runs/hal-c --data datasets/mine.csv --out reports/comparison
    """
    with explained():
        from training.evaluation.comparison import compare as run

        run(runs, data, out)
        if out is not None:
            typer.echo(f"comparison: {out / 'comparison.md'}")


@app.command("sanity")
def sanity(
    run_ab: Annotated[Path, typer.Argument(help="Folder of a run trained on sets A and B.")],
    run_abc: Annotated[Path, typer.Argument(help="Folder of a run trained on sets A, B and C.")],
    data: Annotated[Path, typer.Option(help="Manifest with images of set C or D.")],
    out: Annotated[Path, typer.Option(help="Folder for sanity.md, sanity.json and confusion matrices.")],
    split: Annotated[Split, typer.Option(help="Which images of the manifest.")] = "test",
) -> None:
    """The thesis's sanity test (section 4.4): has a network learned cells, or the databases they come from?

    Example: hal sanity runs/ab runs/abc --data datasets/mine.csv --out reports/sanity
    """
    with explained():
        from training.evaluation.sanity import sanity as run

        run(run_ab, run_abc, data, split, out)
        typer.echo(f"sanity test: {out / 'sanity.md'}")


slides_app = typer.Typer(no_args_is_help=True)
_SLIDE_RULE = SlideRule()


@slides_app.callback()
def _group() -> None:
    """The cells of a slide together: differential and advice."""


@slides_app.command("characteristics")
def characteristics(
    out: Annotated[Path, typer.Option(help="Folder for slide-rule.png and slide-rule.csv.")],
    min_cells: Annotated[int, typer.Option(min=1, help="HAL_SLIDE_MIN_CELLS.")] = _SLIDE_RULE.min_cells,
    min_hits: Annotated[int, typer.Option(min=1, help="HAL_SLIDE_MIN_HITS.")] = _SLIDE_RULE.min_hits,
    significance: Annotated[float, typer.Option(help="HAL_SLIDE_SIGNIFICANCE.")] = _SLIDE_RULE.significance,
) -> None:
    """How often a rule follows slides up: by hairy cells, white cells, false flags, sensitivity, spread of slides.

    Example: hal slides characteristics --out docs/images
    """
    with explained():
        from training.evaluation.figures.slide_rule import write

        rule = SlideRule(min_cells=min_cells, min_hits=min_hits, significance=significance)
        picture, table = write(rule, out)
        typer.echo(f"{picture}\n{table}")
