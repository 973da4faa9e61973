"""Progress as it is shown, in a terminal and elsewhere, by a clock that the test moves."""

import contextlib
import io
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import SimpleNamespace

import pytest
from rich.console import Console

from tests.training import small
from training import progress
from training.fit import trainer
from training.fit.run import Run
from training.progress import SECONDS_BETWEEN_LINES, track


@dataclass
class Clock:
    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    moved = Clock()
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=moved))
    return moved


@dataclass
class Terminal:
    """What a terminal was sent, and what the last drawing of the bar says."""

    stream: io.StringIO = field(default_factory=io.StringIO)

    def last(self) -> str:
        drawings = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", self.stream.getvalue()).replace("\r", "\n").split("\n")
        return " ".join(next(line for line in reversed(drawings) if line).split())


@pytest.fixture
def terminal(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Terminal:
    shown = Terminal()
    console = Console(file=shown.stream, force_terminal=True, color_system=None, width=140, get_time=clock, _environ={})
    monkeypatch.setattr(progress, "_CONSOLE", console)
    return shown


def test_without_a_terminal_there_is_a_line_every_half_minute_and_one_at_the_end(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    with track("stage encoder", 400) as advance:
        for _ in range(100):
            clock.now += 1
            advance(4, "loss 0.500")
    out, err = capsys.readouterr()
    assert err.splitlines() == [
        "  stage encoder: 120/400 images, 4.0 images/s, 70 s left loss 0.500",
        "  stage encoder: 240/400 images, 4.0 images/s, 40 s left loss 0.500",
        "  stage encoder: 360/400 images, 4.0 images/s, 10 s left loss 0.500",
        "  stage encoder: 400/400 images, 4.0 images/s, 0 s left loss 0.500",
    ]
    assert out == "", "where a command's results go, which may be piped"


def test_without_a_terminal_little_progress_says_nothing(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with track("hashing", 400) as advance:
        clock.now += SECONDS_BETWEEN_LINES - 1
        advance(399)
    assert capsys.readouterr() == ("", "")


def test_resumed_work_begins_where_it_was_and_its_rate_is_of_now(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    with track("stage encoder", 1000, already=600) as advance:
        for images in (100, 200):
            clock.now += images / 2
            advance(images)
    assert [line.strip() for line in capsys.readouterr().err.splitlines()] == [
        "stage encoder: 700/1000 images, 2.0 images/s, 150 s left",
        "stage encoder: 900/1000 images, 2.0 images/s, 50 s left",
    ]


def test_a_clock_that_has_not_moved_ends_no_work(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    """The clock of some systems stands still for 16 ms."""
    with track("hashing", 3) as advance:
        advance(3)
    assert "hashing: 3/3 images" in capsys.readouterr().err
    assert clock.now == 1000


def test_a_terminal_shows_a_bar_with_images_a_second_time_left_and_the_note(
    clock: Clock, terminal: Terminal, capsys: pytest.CaptureFixture[str]
) -> None:
    with track("stage encoder", 1000, already=600) as advance:
        for _ in range(10):
            clock.now += 5
            advance(10, "loss 0.500")
    bar = terminal.last()
    assert bar.startswith("stage encoder ")
    assert "700/1000" in bar
    assert "0:02:30" in bar
    assert bar.endswith("2.0 images/s loss 0.500")
    assert capsys.readouterr() == ("", "")


def test_a_bar_within_another_is_drawn_below_it(clock: Clock, terminal: Terminal) -> None:
    with track("stage encoder", 1000) as advance:
        advance(500)
        with track("validating", 10) as validated:
            validated(5)
            clock.now += 1
        assert re.search(r"500/1000[^\r]*\n[^\r]*validating [^\n]*5/10", terminal.stream.getvalue())
    assert "500/1000" in terminal.last()


def test_a_run_that_goes_on_shows_the_images_that_it_has_learned_from(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed in the fourth batch of the second epoch of two; each has four batches of six."""
    run.recipe = small.only(run.recipe, 1)
    shown: list[tuple[str, int, int]] = []
    advanced: dict[str, int] = {}

    class KilledError(Exception):
        pass

    def follow(kill: bool) -> Callable[..., contextlib.AbstractContextManager[Callable[..., None]]]:
        @contextlib.contextmanager
        def tracked(what: str, total: int, already: int = 0) -> Iterator[Callable[..., None]]:
            shown.append((what, total, already))
            advanced[what] = already

            def advance(images: int, note: str = "") -> None:
                advanced[what] += images
                if kill and (what, advanced[what]) == ("stage encoder", 48):
                    raise KilledError(note)

            yield advance

        return tracked

    monkeypatch.setattr(trainer, "BATCHES_BETWEEN_CHECKPOINTS", 3)
    monkeypatch.setattr(trainer, "track", follow(kill=True))
    with pytest.raises(KilledError):
        small.train(run)
    monkeypatch.setattr(trainer, "track", follow(kill=False))
    small.train(run)
    assert shown == [("stage encoder", 48, 0), ("stage encoder", 48, 24 + 18)]
    assert advanced == {"stage encoder": 48}
