"""What a job shows: a bar or lines while it works, a table, and what went wrong."""

import contextlib
import io
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from contract.files import Problem
from service.jobs.records import Record, printable

_SECONDS_BETWEEN_LINES: Final = 10.0
_MOST_REASONS: Final = 50
_WIDTH_WITHOUT_TERMINAL: Final = 10_000
"""Columns, so that every image has one line where no person reads it."""


@dataclass(slots=True)
class Tally:
    """What happened.

    Attributes:
        problems: what was left out although it may have images.
        others: files of other types that were passed over, by ending.
        skipped: images whose results were there.
        refused: images that could not be classified, each with the reason.
    """

    problems: Sequence[Problem] = ()
    others: Counter[str] = field(default_factory=Counter)
    skipped: int = 0
    classified: int = 0
    refused: list[tuple[str, str]] = field(default_factory=list)

    @property
    def complete(self) -> bool:
        return not (self.refused or self.problems)

    def count(self, record: Record) -> None:
        if "error" in record:
            self.refused.append((record["path"], record["error"]["message"]))
        else:
            self.classified += 1


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

    def tell() -> None:
        console.print(f"{already + done}/{total} images, {rate()}", highlight=False)

    def advance(images: int = 1) -> None:
        nonlocal done, last
        done += images
        bar.update(task, advance=images, rate=rate())
        if not console.is_terminal and time.monotonic() - last >= _SECONDS_BETWEEN_LINES:
            last = time.monotonic()
            tell()

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, TextColumn("{task.fields[rate]}"), console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("Classifying", total=total, completed=already, rate="")
        yield advance
    if done and not console.is_terminal:
        tell()


def print_table(records: Sequence[Record]) -> None:
    """The records as a table on standard output, hairy cells first, then those to review."""
    console = _standard_output(_WIDTH_WITHOUT_TERMINAL)
    table = Table("Image", "Class", "Confidence", "Hairy cell", "Review", box=None, pad_edge=False)
    for column in table.columns:
        column.overflow = "fold"
    table.columns[2].justify = "right"
    for record in sorted(records, key=_urgency):
        path = escape(printable(record["path"]))
        if "error" in record:
            table.add_row(path, "[red]refused[/]", "", "", escape(record["error"]["code"]))
            continue
        flag = record["hairy_cell"]["flag"]
        hairy = "not answered" if flag is None else "[bold red]POSSIBLE[/]" if flag else "no"
        reasons = ", ".join(reason["code"].replace("_", " ") for reason in record["review"])
        table.add_row(path, record["class_name"], f"{record['confidence']:.3f}", hairy, reasons)
    console.print(table)
    classes = Counter(record["class_name"] for record in records if "error" not in record)
    if classes:
        console.print("\n" + ", ".join(f"{name}: {count}" for name, count in classes.most_common()), highlight=False)


def print_counts(document: dict[str, Any]) -> None:
    """The summary of many results on standard output: images by class, flagged ones, refused ones by code."""
    console = _standard_output(None)
    table = Table("Class", "Images", "Share", box=None, pad_edge=False)
    table.columns[1].justify = table.columns[2].justify = "right"
    for name, count in document["class_id"].items():
        table.add_row(name, f"{count:,}", f"{count / document['classified']:.2%}")
    console.print(table)
    hairy = document["hairy_cell"]
    unknown = f" ({hairy['not_answered']:,} not answered: this bundle cannot tell)" if hairy["not_answered"] else ""
    console.print(f"\nPossible hairy cells: {hairy['flagged']:,}{unknown}", highlight=False)
    for code, count in document["refused"].items():
        console.print(f"Refused, {code.replace('_', ' ')}: {count:,}", highlight=False)


def print_tally(tally: Tally, where: str) -> None:
    """The end of the work on standard error, files that were refused or left out with their reasons last."""
    console = Console(stderr=True, soft_wrap=True, highlight=False, markup=False)
    skipped = f", {tally.skipped} were there already" if tally.skipped else ""
    left_out = f", {len(tally.problems)} left out" if tally.problems else ""
    console.print(f"{tally.classified} classified{skipped}, {len(tally.refused)} refused{left_out}{where}")
    if tally.others:
        endings = ", ".join(f"{count} {suffix or 'without ending'}" for suffix, count in tally.others.most_common(10))
        console.print(f"Files of other types: {printable(endings)}")
    reasons = [*((str(path), reason) for path, reason in tally.problems), *tally.refused]
    for path, reason in reasons[:_MOST_REASONS]:
        console.print(f"  {printable(path)}: {reason}")
    if (more := len(reasons) - _MOST_REASONS) > 0:
        console.print(f"  and {more} more")


def _standard_output(width_without_terminal: int | None) -> Console:
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A console in ASCII or a Windows code page cannot write every name.
        sys.stdout.reconfigure(errors="backslashreplace")
    console = Console()
    return console if console.is_terminal or width_without_terminal is None else Console(width=width_without_terminal)


def _urgency(record: Record) -> tuple[int, str]:
    if "error" in record:
        return 3, record["path"]
    return (0 if record["hairy_cell"]["flag"] else 1 if record["review"] else 2), record["path"]
