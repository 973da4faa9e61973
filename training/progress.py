"""What a command says, and how far it is: a bar on a terminal, else a line every half minute."""

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from typing import Final

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

SECONDS_BETWEEN_LINES = 30.0
CLOCK_TICK = 0.001
"""Seconds that have passed at least: the clock of some systems stands still for longer than a small image takes."""

_CONSOLE: Final = Console(stderr=True)
"""One for all bars, so that one within another is drawn below it and not over it."""


def say(message: str) -> None:
    """Tell the user, as it is: one line of a terminal or of a file."""
    Console().print(message, highlight=False, markup=False, soft_wrap=True)


@contextlib.contextmanager
def track(what: str, total: float, already: float = 0, unit: str = "images") -> Iterator[Callable[..., None]]:
    """Show progress on ``total`` images; the yielded function is called with the images done since its last call.

    A second argument, if given, is a short text shown beside the bar, such as the current loss.
    """
    if _CONSOLE.is_terminal:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, TextColumn("{task.fields[rate]} {task.fields[note]}"), console=_CONSOLE) as bar:
            task = bar.add_task(what, total=total, completed=int(already), rate="", note="")
            started, done = time.monotonic(), 0.0

            def advance(images: float, note: str = "") -> None:
                nonlocal done
                done += images
                rate = f"{done / max(time.monotonic() - started, CLOCK_TICK):.1f} {unit}/s"
                bar.update(task, advance=images, rate=rate, note=note)

            yield advance
    else:
        yield _lines(what, total, already, unit)


def _lines(what: str, total: float, already: float, unit: str) -> Callable[..., None]:
    started = last = time.monotonic()
    done = already

    def advance(images: float, note: str = "") -> None:
        nonlocal last, done
        done += images
        now = time.monotonic()
        if now - last >= SECONDS_BETWEEN_LINES or done >= total:
            last = now
            rate = (done - already) / max(now - started, CLOCK_TICK)
            left = (total - done) / rate
            line = f"  {what}: {done:.0f}/{total:.0f} {unit}, {rate:.1f} {unit}/s, {left:.0f} s left {note}"
            print(line, file=sys.stderr, flush=True)  # noqa: T201 - results may be piped somewhere

    return advance
