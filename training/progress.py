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
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    told = TextColumn("{task.fields[rate]} {task.fields[note]}")
    with Progress(*columns, told, console=_CONSOLE, disable=not _CONSOLE.is_terminal) as bar:
        task = bar.add_task(what, total=total, completed=int(already), rate="", note="")
        started = last = time.monotonic()
        done = already

        def advance(images: float, note: str = "") -> None:
            nonlocal last, done
            done += images
            now = time.monotonic()
            rate = (done - already) / max(now - started, CLOCK_TICK)
            bar.update(task, advance=images, rate=f"{rate:.1f} {unit}/s", note=note)
            if bar.disable and (now - last >= SECONDS_BETWEEN_LINES or done >= total):
                last, left = now, (total - done) / rate
                line = f"  {what}: {done:.0f}/{total:.0f} {unit}, {rate:.1f} {unit}/s, {left:.0f} s left {note}"
                print(line, file=sys.stderr, flush=True)  # noqa: T201 - results may be piped somewhere

        yield advance
