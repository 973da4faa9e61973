"""The actor pool, on Ray Data: one engine an actor. The only module that knows Ray.

A chunk whose actor dies is tried once more. If that one dies too, Ray Data gives the chunk up, and it is done in
smaller and smaller parts, one at a time in an actor, until the image that does it is alone: it becomes a row with an
error.
"""

import contextlib
import json
import logging
import os
import signal
import sys
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import psutil
import pyarrow
import ray
import ray.data
from ray.exceptions import RayError

import contract
import service
from service.jobs.exit_codes import JobError, stop_by_sigterm
from service.jobs.files import ImageFile
from service.jobs.records import Record, record_of, refusal
from service.jobs.score.actor import CHUNKS_AT_ONCE, Actor, Job
from service.settings import Device, available_cores

_OBJECT_STORE: Final = 256 * 1024 * 1024
"""Bytes: lists of paths and results pass through it; images never do."""
_STARTS: Final = 3
"""A busy machine may be too slow for the 30 s that Ray allows itself."""
_PARTS: Final = 8
WORKER_DIED: Final = "worker_died"


class Chunk(NamedTuple):
    """Images ``start`` to ``stop`` (exclusive) of the list, all of one shard: what an actor is given at once."""

    shard: int
    start: int
    stop: int

    def cut(self, size: int) -> list["Chunk"]:
        return [Chunk(self.shard, at, min(at + size, self.stop)) for at in range(self.start, self.stop, size)]


class Scored(NamedTuple):
    """A chunk's records; ``actor``: whose, by host and process, empty for an image that nobody survived."""

    chunk: Chunk
    records: list[Record]
    actor: str


class Share(NamedTuple):
    """How many actors there are, the threads of each one's network, and what each reserves of the cluster."""

    actors: int
    threads: int
    reserves: dict[str, int]


@contextlib.contextmanager
def cluster(address: str | None, workers: int | None, threads: int | None) -> Iterator[None]:
    """Open the cluster at ``address``, or one of this machine's own, until the block ends; nothing of it stays.

    Raises:
        JobError: there is no cluster at the address.
    """
    try:
        with _silence():
            _start(address, max(available_cores(), (workers or 1) * (threads or 1)))
        # Ray has taken SIGTERM for itself.
        stop_by_sigterm()
        yield
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
        started = psutil.Process().children(recursive=True)
        ray.shutdown()
        for process in started:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(started, timeout=10)


def _start(address: str | None, cpus: int) -> None:
    how: dict[str, Any] = {"address": "local", "num_cpus": cpus, "include_dashboard": False}
    how["object_store_memory"] = _OBJECT_STORE
    if address is not None:
        # The actors run this very code; libraries are theirs.
        how = {"address": address, "runtime_env": {"py_modules": [contract, service]}}
    for left in reversed(range(_STARTS if address is None else 1)):
        try:
            ray.init(log_to_driver=False, logging_level=logging.ERROR, **how)
            break
        except Exception as error:
            # ConnectionError, RuntimeError, ValueError, RayError: whatever an address provokes.
            ray.shutdown()
            if not left:
                where = "on this machine" if address is None else f"at {address}"
                raise JobError(f"no Ray cluster {where}: {str(error).strip()}") from error
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = context.print_on_execution_start = False
    context.max_errored_blocks = -1
    context.max_consecutive_actor_init_deaths = 3
    logging.getLogger("ray.data").setLevel(logging.CRITICAL + 1)


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Ray's C++ part writes to both streams past Python, if only to say that it was told not to."""
    sys.stdout.flush()
    sys.stderr.flush()
    kept = {stream: os.dup(stream) for stream in (1, 2)}
    try:
        with Path(os.devnull).open("w") as nothing, contextlib.redirect_stdout(nothing):
            for stream in kept:
                os.dup2(nothing.fileno(), stream)
            yield
    finally:
        for stream, copy in kept.items():
            os.dup2(copy, stream)
            os.close(copy)


def share(device: Device, workers: int | None, threads: int | None) -> Share:
    """What each actor has of the cluster that is open: a GPU, or a core for each thread of its network.

    Several networks of one thread serve more images than one network of several threads, which wait for each other.

    Raises:
        JobError: the cluster has not enough for one actor.
    """
    has = ray.cluster_resources()
    cpus, gpus = int(has.get("CPU", 0)), int(has.get("GPU", 0))
    if device in (Device.CUDA, Device.TENSORRT):
        if not gpus:
            raise JobError(f"--device {device} was asked for, but Ray sees no GPU; start its nodes with --num-gpus")
        return Share(workers or gpus, threads or 0, {"num_gpus": 1})
    workers = workers or max(1, cpus // (threads or 1))
    threads = threads or max(1, cpus // workers)
    if threads > cpus:
        raise JobError(f"an actor with {threads} threads never starts: Ray has {cpus} CPUs; lower --threads")
    return Share(workers, threads, {"num_cpus": threads})


def score(job: Job, share: Share, paths: Sequence[str], chunks: Sequence[Chunk]) -> Iterator[Scored]:
    """The records of chunks, in any order, each as it is ready.

    Raises:
        JobError: an actor cannot work, or every one dies; what was given is good.
    """
    at_once, answered = CHUNKS_AT_ONCE, False
    while chunks:
        left = set(chunks)
        for scored in _round(job, share, paths, chunks, at_once):
            left.remove(scored.chunk)
            answered = True
            yield scored
        if at_once == 1 and not answered and len(left) > 1:
            raise JobError(
                f"every actor died, whatever image it was given ({len(left)} chunks). Look at Ray's logs; most often "
                "memory is short: lower --workers or --max-batch. Run again to go on."
            )
        chunks = []
        for chunk in sorted(left):
            size = chunk.stop - chunk.start
            if at_once == 1 and size == 1:
                message = "The process that worked on this image died each time; the image was left out."
                refused = refusal(WORKER_DIED, message)
                yield Scored(chunk, [record_of(ImageFile(paths[chunk.start], -1, 0), refused, None, None)], "")
            else:
                chunks += chunk.cut(-(-size // _PARTS))
        at_once = 1


def _round(job: Job, share: Share, paths: Sequence[str], chunks: Sequence[Chunk], at_once: int) -> Iterator[Scored]:
    column = pyarrow.list_(pyarrow.binary())
    blocks = [
        pyarrow.table(
            {
                "chunk": [list(chunk)],
                "paths": pyarrow.array([[os.fsencode(path) for path in paths[chunk.start : chunk.stop]]], column),
            }
        )
        for chunk in chunks
    ]
    with warnings.catch_warnings():
        # Ray 2.60 deprecates what it has no other name for yet (max_task_retries); pyproject.toml bounds its release.
        warnings.simplefilter("ignore")
        scored = ray.data.from_arrow(blocks).map_batches(
            Actor,
            fn_constructor_args=(job,),
            batch_size=None,
            batch_format="pyarrow",
            compute=ray.data.ActorPoolStrategy(
                size=min(share.actors, len(chunks)),
                max_concurrent_calls_per_actor=at_once,
                # None waits at a busy actor while another one is idle.
                max_tasks_in_flight_per_actor=at_once,
                enable_true_multi_threading=True,
            ),
            max_task_retries=1,
            **share.reserves,
        )
    try:
        for table in scored.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
            for answer in map(json.loads, table.column("answers").to_pylist()):
                if answer["fault"] is not None:
                    raise JobError(f"{answer['actor']} cannot work; what is done stays: {answer['fault']}")
                yield Scored(Chunk(*answer["chunk"]), answer["records"], answer["actor"])
    except RayError as error:
        raise JobError(f"Ray failed; what is done stays, run again to go on: {error}") from error
