"""A table once, shown in the terminal and written as Markdown."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from rich.console import Console
from rich.table import Table as RichTable

WIDTH: Final = 132


@dataclass(frozen=True, slots=True)
class Table:
    """Title, column names and rows of text."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def for_terminal(self) -> RichTable:
        """To be printed by a rich console."""
        shown = RichTable(*self.columns, title=self.title)
        for row in self.rows:
            shown.add_row(*row)
        return shown

    def markdown(self) -> str:
        """A heading and a pipe table."""
        lines = [f"## {self.title}", "", _line(self.columns), _line(["---"] * len(self.columns))]
        return "\n".join([*lines, *(_line(row) for row in self.rows), ""])


def terminal() -> Console:
    """As wide as the terminal; in a file or a log wide enough for the tables."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=WIDTH)


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
