"""``hal slides characteristics``."""

from pathlib import Path
from typing import Annotated

import typer

from contract.slide import SlideRule
from training.errors import explained

app = typer.Typer(no_args_is_help=True, help="The cells of a slide together: differential and advice.")
_RULE = SlideRule()


@app.callback()
def _group() -> None:
    """The cells of a slide together: differential and advice."""


@app.command("characteristics")
def characteristics(
    out: Annotated[Path, typer.Option("--out", help="Folder for slide-rule.png and slide-rule.csv.")],
    min_cells: Annotated[int, typer.Option(min=1, help="HAL_SLIDE_MIN_CELLS.")] = _RULE.min_cells,
    min_hits: Annotated[int, typer.Option(min=1, help="HAL_SLIDE_MIN_HITS.")] = _RULE.min_hits,
    significance: Annotated[float, typer.Option(help="HAL_SLIDE_SIGNIFICANCE.")] = _RULE.significance,
) -> None:
    """How often a rule follows slides up: by hairy cells, white cells, false flags, sensitivity, spread of slides.

    Example: hal slides characteristics --out docs/images
    """
    with explained():
        from training.slides.report import write

        rule = SlideRule(min_cells=min_cells, min_hits=min_hits, significance=significance)
        picture, table = write(rule, out)
        typer.echo(f"{picture}\n{table}")
