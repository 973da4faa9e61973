"""Making the images of a set in several processes, with a journal that lets an interrupted set go on."""

import contextlib
import hashlib
import json
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from training.composites.canvas import Canvas, open_canvas, save, second_laboratory
from training.composites.edited_control import edited_control
from training.composites.generators import GENERATORS, PLATELETS
from training.composites.plan import SECOND_SOURCE, Parent, Task
from training.composites.segment import Cell, Pixels, SegmentationError, segment_platelet, segment_white_cell
from training.data.manifest import ManifestError
from training.progress import track

JOURNAL: Final = "made.jsonl"


@dataclass(frozen=True, slots=True)
class Made:
    """What became of a task: a line of the journal.

    ``parent`` and ``donors`` are SHA-256 of the images that went into it, ``parent`` empty if none could be edited;
    ``failures`` say why earlier candidates could not.
    """

    name: str
    parent: str
    donors: Sequence[str] = ()
    failures: Sequence[str] = ()


def carry_out(tasks: Sequence[Task], out: Path, pool: Executor) -> dict[str, Made]:
    """Make what is not made yet, and say what became of each task, by name.

    Raises:
        ManifestError: the folder holds another set.
    """
    out.mkdir(parents=True, exist_ok=True)
    fingerprint = hashlib.sha256(repr(list(tasks)).encode()).hexdigest()
    done = {
        name: made
        for name, made in _read(out / JOURNAL, fingerprint).items()
        if not made.parent or (out / f"{name}.png").is_file()
    }
    waiting = [task for task in tasks if task.name not in done]
    # Neighbours in the same family share donors, which are segmented once a process.
    waiting.sort(key=lambda task: (task.parents[0].family, task.name))
    with (out / JOURNAL).open("a", encoding="utf-8") as stream, track("making", len(tasks), len(done)) as advance:
        if not done:
            stream.truncate(0)
            stream.write(json.dumps({"plan": fingerprint}) + "\n")
        for made in pool.map(partial(render, folder=out), waiting, chunksize=8):
            done[made.name] = made
            stream.write(json.dumps(asdict(made)) + "\n")
            stream.flush()
            advance(1)
    return done


def _read(journal: Path, fingerprint: str) -> dict[str, Made]:
    if not journal.is_file():
        return {}
    first, *lines = journal.read_text(encoding="utf-8").splitlines() or [""]
    if first != json.dumps({"plan": fingerprint}):
        raise ManifestError(
            f"{journal.parent} holds another set",
            ["it was started with other images, amounts or seed; choose another folder, or remove this one"],
        )
    made = {}
    for line in lines:
        with contextlib.suppress(json.JSONDecodeError):  # the last line of a process that was killed
            entry = Made(**json.loads(line))
            made[entry.name] = entry
    return made


@contextlib.contextmanager
def pool(processes: int | None) -> Iterator[ProcessPoolExecutor]:
    """So many processes, one a core by default, until the block ends; after an error what is waiting is not begun."""
    # Numeric libraries would start a thread a core in every process; the variable is read when they are loaded.
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, "1")
    spawn = multiprocessing.get_context("spawn")
    workers = ProcessPoolExecutor(processes, spawn, initializer=_live_and_die_with_the_command)
    try:
        yield workers
    finally:
        workers.shutdown(cancel_futures=True)


def _live_and_die_with_the_command() -> None:
    # Ctrl-C reaches every process of a terminal; the command alone decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_the_command, name="hal-parent", daemon=True).start()


def _end_with_the_command() -> None:
    """Without this, the processes of a killed command would wait for work for ever."""
    if (command := multiprocessing.parent_process()) is not None:
        command.join()
        os._exit(1)


def segmentable(parent: Parent) -> str:
    """Why an image cannot be edited; empty if it can."""
    try:
        _cell(parent.image.path, parent.image.label)
    except SegmentationError as error:
        return str(error)
    return ""


@lru_cache(maxsize=96)
def _cell(path: Path, label: str) -> Cell:
    """Read an image and segment it as its class asks; donors are asked for again and again."""
    pixels = open_canvas(path).pixels
    return segment_platelet(pixels) if label in PLATELETS else segment_white_cell(pixels)


def render(task: Task, folder: Path) -> Made:
    made, pixels = drawn(task)
    if pixels is not None:
        if task.source == SECOND_SOURCE:
            pixels = second_laboratory(pixels, made.parent)
        save(folder / f"{task.name}.png", pixels)
    return made


def drawn(task: Task) -> tuple[Made, NDArray[np.uint8] | None]:
    """Make an image of the first candidate that can be edited, compressed as that was. Shape: ``(256, 256, 3)``."""
    failures: list[str] = []
    for attempt, parent in enumerate(task.parents):
        canvas = open_canvas(parent.image.path)
        try:
            pixels, donors = _edited(task, parent, canvas, attempt)
        except SegmentationError as error:
            failures.append(str(error))
        else:
            return Made(task.name, parent.sha256, donors, failures), canvas.finished(pixels)
    return Made(task.name, "", (), failures), None


def _edited(task: Task, parent: Parent, canvas: Canvas, attempt: int) -> tuple[Pixels, tuple[str, ...]]:
    if task.kind == "real":
        return canvas.pixels.astype(np.float32), ()
    generator = np.random.default_rng([task.seed, attempt])
    cell = _cell(parent.image.path, parent.image.label)
    if task.kind == "sham":
        return edited_control(cell, task.label, generator), ()
    chosen = [each[(attempt + turn) % len(each)] for turn, each in enumerate(task.donors)]
    donors = [_cell(each.image.path, each.image.label) for each in chosen]
    return GENERATORS[task.label].draw(cell, donors, generator), tuple(each.sha256 for each in chosen)
