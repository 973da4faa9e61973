"""What ``hal classify`` and ``hal score`` show: a bar or lines while it works, a table, and what went wrong."""

import contextlib
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from service.jobs.folders.records import Record
from service.jobs.folders.run import Tally

_SECONDS_BETWEEN_LINES: Final = 10.0
_MOST_REASONS: Final = 50
_WIDTH_WITHOUT_TERMINAL: Final = 160


@contextlib.contextmanager
def progress(total: int, already: int) -> Iterator[Callable[..., None]]:
    """Show progress over ``total`` images on standard error; the yielded function is called once an image.

    Or once for several, with their number.
    """
    console = Console(stderr=True)
    started = last = time.monotonic()
    done = 0

    def rate() -> str:
        return f"{done / max(time.monotonic() - started, 1e-6):.1f} images/s"

    if console.is_terminal:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, TextColumn("{task.fields[rate]}"), console=console) as bar:
            task = bar.add_task("Classifying", total=total, completed=already, rate="")

            def advance(images: int = 1) -> None:
                nonlocal done
                done += images
                bar.update(task, advance=images, rate=rate())

            yield advance
        return

    def tell(images: int = 1) -> None:
        nonlocal done, last
        done += images
        if time.monotonic() - last >= _SECONDS_BETWEEN_LINES:
            last = time.monotonic()
            console.print(f"{already + done}/{total} images, {rate()}", highlight=False)

    yield tell
    if done:
        console.print(f"{already + done}/{total} images, {rate()}", highlight=False)


def print_table(records: Sequence[Record]) -> None:
    """The records as a table on standard output, hairy cells first, then those to review."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=_WIDTH_WITHOUT_TERMINAL)
    table = Table("Image", "Class", "Probability", "Hairy cell", "Review", box=None, pad_edge=False)
    for column in table.columns:
        column.overflow = "fold"
    table.columns[2].justify = "right"
    for record in sorted(records, key=_urgency):
        path = escape(_printable(record["path"]))
        if "error" in record:
            table.add_row(path, "[red]refused[/]", "", "", escape(record["error"]["code"]))
            continue
        flag = record["hairy_cell"]["flag"]
        hairy = "not answered" if flag is None else "[bold red]POSSIBLE[/]" if flag else "no"
        reasons = ", ".join(reason["code"].replace("_", " ") for reason in record["review"])
        top = record["predicted_class"]
        table.add_row(path, top, f"{record['probabilities'][top]:.3f}", hairy, reasons)
    console.print(table)
    classes = Counter(record["predicted_class"] for record in records if "error" not in record)
    if classes:
        console.print("\n" + ", ".join(f"{name}: {count}" for name, count in classes.most_common()), highlight=False)


def print_counts(classes: Counter[str], hairy: Counter[bool | None], refused: Counter[str]) -> None:
    """What stands in many results, on standard output: images by class, flagged ones, refused ones by code."""
    console = Console()
    table = Table("Class", "Images", "Share", box=None, pad_edge=False)
    table.columns[1].justify = table.columns[2].justify = "right"
    total = classes.total()
    for name, count in classes.most_common():
        table.add_row(name, f"{count:,}", f"{count / total:.2%}")
    console.print(table)
    unknown = f" ({hairy[None]:,} not answered: this bundle cannot tell)" if hairy[None] else ""
    console.print(f"\nPossible hairy cells: {hairy[True]:,}{unknown}", highlight=False)
    for code, count in refused.most_common():
        console.print(f"Refused, {code.replace('_', ' ')}: {count:,}", highlight=False)


def print_tally(tally: Tally, where: str) -> None:
    """The end of the work on standard error, refused files with their reasons last."""
    console = Console(stderr=True, soft_wrap=True, highlight=False)
    skipped = f", {tally.skipped} were there already" if tally.skipped else ""
    console.print(f"{tally.classified} classified{skipped}, {len(tally.refused)} refused{where}", markup=False)
    for path, reason in tally.refused[:_MOST_REASONS]:
        console.print(f"  {_printable(path)}: {reason}", markup=False)
    if (more := len(tally.refused) - _MOST_REASONS) > 0:
        console.print(f"  and {more} more", markup=False)


def _printable(path: str) -> str:
    return path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _urgency(record: Record) -> tuple[int, str]:
    if "error" in record:
        return 3, record["path"]
    return (0 if record["hairy_cell"]["flag"] else 1 if record["review"] else 2), record["path"]
