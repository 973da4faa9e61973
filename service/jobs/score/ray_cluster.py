"""A Ray cluster: one of this machine for as long as the work takes, or one that is there."""

import contextlib
import logging
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import ray
import ray.data

import contract
import service
from service.jobs.score.errors import ScoreError
from service.settings import Device, available_cores

_OBJECT_STORE: Final = 256 * 1024 * 1024
"""Lists of paths and results pass through it; images never do."""

_STARTS: Final = 3


@dataclass(frozen=True, slots=True)
class Share:
    """How many workers there are, and what each has of the cluster.

    Attributes:
        workers: how many.
        threads: of a worker's network on the CPU.
        cpus: that each reserves, or ``None``.
        gpus: that each reserves, or ``None``.
    """

    workers: int
    threads: int
    cpus: int | None
    gpus: int | None

    @classmethod
    def on_cpus(cls, cpus: int, workers: int | None, threads: int | None) -> "Share":
        """Of ``cpus`` cores: a worker with one thread on each, unless told otherwise.

        Several networks of one thread serve more images than one network of several threads, which wait for each other.
        """
        workers = workers or max(1, cpus // (threads or 1))
        threads = threads or max(1, cpus // workers)
        return cls(workers, threads, cpus=threads, gpus=None)

    @classmethod
    def on_gpus(cls, gpus: int, workers: int | None, threads: int | None) -> "Share":
        """A GPU for each worker."""
        return cls(workers or gpus, threads or 0, cpus=None, gpus=1)


def share(device: Device, workers: int | None, threads: int | None) -> Share:
    """What each worker has of the cluster that is open.

    Raises:
        ScoreError: the cluster has not enough for one worker.
    """
    has = ray.cluster_resources()
    cpus, gpus = int(has.get("CPU", 0)), int(has.get("GPU", 0))
    if device in (Device.CUDA, Device.TENSORRT):
        if not gpus:
            raise ScoreError(f"--device {device} was asked for, but Ray sees no GPU; start its nodes with --num-gpus")
        return Share.on_gpus(gpus, workers, threads)
    found = Share.on_cpus(cpus, workers, threads)
    if found.threads > cpus:
        raise ScoreError(f"a worker with {found.threads} threads never starts: Ray has {cpus} CPUs; lower --threads")
    return found


@contextlib.contextmanager
def cluster(address: str | None, workers: int | None, threads: int | None) -> Iterator[None]:
    """Open the cluster at ``address``, or one of this machine's own, until the block ends.

    To be imported and called within :func:`service.jobs.score.environment.environment`.

    Raises:
        ScoreError: there is no cluster at the address.
    """
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    with (
        Path(os.devnull).open("w") as nothing,
        contextlib.redirect_stdout(nothing),
    ):
        # What Ray prints goes to standard output, whichever way it is told to log.
        try:
            with _errors_of_libraries_unseen():
                if address is None:
                    _start(max(available_cores(), (workers or 1) * (threads or 1)), quiet)
                else:
                    # The workers run this very code; libraries are theirs.
                    ray.init(address=address, runtime_env={"py_modules": [contract, service]}, **quiet)
        except Exception as error:
            # ConnectionError, RuntimeError, ValueError, RayError: whatever an address provokes.
            where = "on this machine" if address is None else f"at {address}"
            raise ScoreError(f"no Ray cluster {where}: {str(error).strip()}") from error
        try:
            _configure()
            yield
        finally:
            ray.shutdown()


def _start(cpus: int, quiet: dict[str, Any]) -> None:
    """Start Ray on this machine; again if a busy machine was too slow for the 30 s that Ray allows itself."""
    for left in reversed(range(_STARTS)):
        try:
            ray.init(
                address="local", num_cpus=cpus, include_dashboard=False, object_store_memory=_OBJECT_STORE, **quiet
            )
            return
        except Exception:
            if not left:
                raise
            ray.shutdown()


def _configure() -> None:
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)


@contextlib.contextmanager
def _errors_of_libraries_unseen() -> Iterator[None]:
    """Ray's C++ part writes to standard error past Python, if only to say that it was told not to."""
    sys.stderr.flush()
    kept = os.dup(2)
    try:
        with Path(os.devnull).open("w") as nothing:
            os.dup2(nothing.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
