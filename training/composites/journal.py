"""Making the images of a set in several processes, with a journal that lets an interrupted set go on."""

import contextlib
import hashlib
import json
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Final

from training.composites.canvas import BARCELONA, StainStyle
from training.composites.plan import Task
from training.composites.render import Made, render
from training.data.manifest import ManifestError
from training.progress import track

JOURNAL: Final = "made.jsonl"


def carry_out(tasks: Sequence[Task], out: Path, styles: Mapping[str, StainStyle], pool: Executor) -> dict[str, Made]:
    """Make what is not made yet, and say what became of each task, by name."""
    out.mkdir(parents=True, exist_ok=True)
    journal = out / JOURNAL
    fingerprint = hashlib.sha256(repr(list(tasks)).encode()).hexdigest()
    done = _read(journal, fingerprint)
    done = {name: made for name, made in done.items() if not made.parent or (out / f"{name}.png").is_file()}
    waiting = [task for task in tasks if task.name not in done]
    # Neighbours in the same family share donors, which are segmented once a process.
    waiting.sort(key=lambda task: (task.parents[0].family, task.name))
    by_source: dict[str, list[Task]] = {}
    for task in waiting:
        by_source.setdefault(task.source, []).append(task)
    with journal.open("a", encoding="utf-8") as stream, track("making", len(tasks), len(done)) as advance:
        if not done:
            stream.truncate(0)
            stream.write(json.dumps({"plan": fingerprint}) + "\n")
        for source, group in by_source.items():
            work = partial(render, folder=out, style=styles.get(source, BARCELONA))
            for made in pool.map(work, group, chunksize=8):
                done[made.name] = made
                stream.write(json.dumps(asdict(made)) + "\n")
                stream.flush()
                advance(1)
    return done


def _read(path: Path, fingerprint: str) -> dict[str, Made]:
    if not path.is_file():
        return {}
    lines = path.read_text(encoding="utf-8").splitlines()
    if not lines or json.loads(lines[0]) != {"plan": fingerprint}:
        raise ManifestError(
            f"{path.parent} holds another set",
            ["it was started with other images, amounts or seed; choose another folder, or remove this one"],
        )
    made = {}
    for line in lines[1:]:
        try:
            entry = json.loads(line)
        except json.JSONDecodeError:  # the last line of a process that was killed
            continue
        made[entry["name"]] = Made(entry["name"], entry["parent"], tuple(entry["donors"]), tuple(entry["failures"]))
    return made


@contextlib.contextmanager
def pool(processes: int | None) -> Iterator[ProcessPoolExecutor]:
    """So many processes, one a core by default, until the block ends; after an error what is waiting is not begun."""
    # Numeric libraries would start a thread a core in every process; the variable is read when they are loaded.
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, "1")
    workers = ProcessPoolExecutor(
        processes or os.cpu_count() or 1,
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_live_and_die_with_the_command,
    )
    try:
        yield workers
    finally:
        workers.shutdown(cancel_futures=True)


def _live_and_die_with_the_command() -> None:
    # Ctrl-C reaches every process of a terminal; the command alone decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    command = multiprocessing.parent_process()
    if command is not None:
        threading.Thread(target=_end_after, args=(command,), name="hal-parent", daemon=True).start()


def _end_after(command: "multiprocessing.process.BaseProcess") -> None:
    """Exit with the command: without this, the processes of a killed one would wait for work for ever."""
    command.join()
    os._exit(1)
