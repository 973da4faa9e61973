"""The workers, on Ray Data. This module and :mod:`service.jobs.score.ray_cluster` are the only ones that know Ray."""

import itertools
import json
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow
import ray.data
from ray.exceptions import RayError

from service.jobs.score.errors import ScoreError
from service.jobs.score.pieces import Answer, Piece
from service.jobs.score.ray_cluster import Share
from service.jobs.score.worker import PIECES_AT_ONCE, Orders, Worker


class _Tries:
    """Counts how often each piece was begun in each round, by whichever worker."""

    def __init__(self) -> None:
        self._begun: Counter[tuple[int, int, int]] = Counter()

    def begin(self, piece: tuple[int, int, int]) -> int:
        self._begun[piece] += 1
        return self._begun[piece]


@dataclass(frozen=True, slots=True)
class _Begin:
    """Reaches the one that counts from any worker."""

    tries: Any

    def __call__(self, piece: tuple[int, int, int]) -> int:
        return int(ray.get(self.tries.begin.remote(piece)))


class Crew:
    """Workers, each with an engine of its own, in the cluster that :func:`service.jobs.score.ray_cluster.cluster` opened.

    Args:
        orders: what they are told once.
        share: how many there are and what each has of the cluster.
        paths: the list of images.
    """

    def __init__(self, orders: Orders, share: Share, paths: Sequence[str]) -> None:
        self._orders = orders
        self._share = share
        self._paths = paths
        counting = ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)(_Tries)
        self._begin = _Begin(counting.remote())
        self._rounds = itertools.count(1)

    def score(self, pieces: Sequence[Piece], *, alone: bool = False) -> Iterator[Answer]:
        """An answer to each piece, in any order. What a worker left undone when it died is given to another.

        Args:
            pieces: what to score.
            alone: whether a worker has one piece at a time, so that no other one suffers when it dies.

        Raises:
            ScoreError: a worker cannot work, or Ray failed.
        """
        at_once = 1 if alone else PIECES_AT_ONCE
        # A piece of one image comes again as it was; that its worker died of another one must not count against it.
        number = next(self._rounds)
        answers = ray.data.from_arrow([self._table(number, piece) for piece in pieces]).map_batches(
            Worker,
            fn_constructor_args=(self._orders, self._begin),
            batch_size=None,
            batch_format="pyarrow",
            compute=ray.data.ActorPoolStrategy(
                size=min(self._share.workers, len(pieces)),
                max_concurrent_calls_per_actor=at_once,
                # None waits at a busy worker while another one is idle.
                max_tasks_in_flight_per_actor=at_once,
                enable_true_multi_threading=True,
            ),
            num_cpus=self._share.cpus,
            num_gpus=self._share.gpus,
        )
        try:
            for table in answers.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
                for answer in table.column("answers").to_pylist():
                    yield _answer(json.loads(answer))
        except RayError as error:
            raise ScoreError(f"Ray failed; what is done stays, run again to go on: {error}") from error

    def _table(self, number: int, piece: Piece) -> pyarrow.Table:
        paths = [os.fsencode(path) for path in self._paths[piece.start : piece.stop]]
        return pyarrow.table(
            {
                "round": [number],
                "shard": [piece.shard],
                "start": [piece.start],
                "stop": [piece.stop],
                "paths": pyarrow.array([paths], pyarrow.list_(pyarrow.binary())),
            }
        )


def _answer(told: dict[str, Any]) -> Answer:
    if told["fault"] is not None:
        raise ScoreError(f"worker {told['worker']} cannot work; what is done stays: {told['fault']}")
    return Answer(Piece(*told["piece"]), told["records"], told["worker"], told["tries"])
