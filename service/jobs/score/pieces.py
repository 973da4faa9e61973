"""Pieces of shards: what a worker is given at once, and how they become shards again."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from service.jobs.folders.records import Record


@dataclass(frozen=True, slots=True, order=True)
class Piece:
    """Images ``start`` to ``stop`` (exclusive) of the list, all of one shard."""

    shard: int
    start: int
    stop: int

    def __len__(self) -> int:
        return self.stop - self.start

    def cut(self, size: int) -> list["Piece"]:
        """Pieces of at most ``size`` images."""
        starts = range(self.start, self.stop, size)
        return [Piece(self.shard, start, min(start + size, self.stop)) for start in starts]


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of a piece.

    Attributes:
        piece: which.
        records: of its images, in order; ``None`` if its worker died each time that it was tried.
        worker: who answers.
        tries: how often it was begun.
    """

    piece: Piece
    records: list[Record] | None
    worker: str
    tries: int


class Assembly:
    """Shards that are not complete yet.

    Args:
        shards: what is to be assembled: each shard's number and its places in the list.
    """

    def __init__(self, shards: Iterable[tuple[int, range]]) -> None:
        self._lacking = {shard: len(images) for shard, images in shards}
        self._parts: dict[int, dict[int, Sequence[Record]]] = {}

    def add(self, piece: Piece, records: Sequence[Record]) -> list[Record] | None:
        """Take the records of a piece; those of the whole shard, in order, if it was the last one."""
        parts = self._parts.setdefault(piece.shard, {})
        parts[piece.start] = records
        self._lacking[piece.shard] -= len(records)
        if self._lacking[piece.shard]:
            return None
        del self._parts[piece.shard]
        return [record for start in sorted(parts) for record in parts[start]]
