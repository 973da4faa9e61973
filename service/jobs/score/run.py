"""From a list to a folder of results: what is there is left alone, the rest is scored, nothing is lost on the way.

A piece whose worker dies is tried again by another worker. If that one dies too, the piece is done in smaller and
smaller parts until the image that does it is alone: it becomes a row with an error, and its neighbours are scored.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from service.jobs.folders.files import ImageFile
from service.jobs.folders.records import Finding, Record, finding_of, record_of
from service.jobs.folders.run import Tally
from service.jobs.folders.sources import refusal
from service.jobs.score.errors import ScoreError
from service.jobs.score.pieces import Answer, Assembly, Piece
from service.jobs.score.store import Store

WORKER_DIED: Final = "worker_died"
_PARTS: Final = 8
_FLAGS: Final[dict[bool | None, str]] = {True: "flagged", False: "not_flagged", None: "not_answered"}


@dataclass(slots=True)
class Summary:
    """What stands in the results.

    Attributes:
        tally: in images.
        classes: images of each predicted class.
        hairy: images by hairy flag; ``None``: the bundle cannot tell.
        refused: images by the code of their error.
        workers: who scored something in this run.
        tried_again: how often a piece was begun anew because its worker died.
    """

    tally: Tally = field(default_factory=Tally)
    classes: Counter[str] = field(default_factory=Counter)
    hairy: Counter[bool | None] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    workers: set[str] = field(default_factory=set)
    tried_again: int = 0

    def add(self, finding: Finding, *, now: bool) -> None:
        """Count an image, of this run or of an earlier one."""
        if finding.predicted_class is None:
            self.tally.refused.append((finding.path, finding.error_message or ""))
            self.refused[finding.error_code or ""] += 1
            return
        self.classes[finding.predicted_class] += 1
        self.hairy[finding.hairy_flag] += 1
        if now:
            self.tally.classified += 1
        else:
            self.tally.skipped += 1

    def document(self) -> dict[str, Any]:
        """The summary as JSON."""
        return {
            "images": sum(self.classes.values()) + sum(self.refused.values()),
            "classified": sum(self.classes.values()),
            "predicted_class": dict(self.classes.most_common()),
            "hairy_cell": {_FLAGS[flag]: self.hairy[flag] for flag in _FLAGS},
            "refused": dict(self.refused.most_common()),
        }


class Score(Protocol):
    """Scores pieces: see :meth:`service.jobs.score.crew.Crew.score`."""

    def __call__(self, pieces: Sequence[Piece], *, alone: bool) -> Iterator[Answer]:
        """An answer to each piece, in any order."""
        ...


def look(store: Store, *, again: bool) -> tuple[Summary, list[int]]:
    """What is there already, and which shards are to be scored.

    Args:
        store: the results.
        again: whether shards with refused images are to be scored again.

    Raises:
        ScoreError: a file of results is damaged.
    """
    summary, todo = Summary(), store.missing()
    missing = set(todo)
    for shard in range(store.shards):
        if shard in missing:
            continue
        findings = list(store.findings(shard))
        if again and any(finding.predicted_class is None for finding in findings):
            todo.append(shard)
            continue
        for finding in findings:
            summary.add(finding, now=False)
    return summary, sorted(todo)


def score_shards(
    score: Score,
    store: Store,
    paths: Sequence[str],
    shards: Sequence[int],
    *,
    piece_size: int,
    summary: Summary,
    see: Callable[[int], None],
) -> None:
    """Score ``shards`` and keep each as soon as it is complete.

    Args:
        score: the workers.
        store: where to.
        paths: the whole list of images.
        shards: which.
        piece_size: images that a worker is given at once.
        summary: is added to.
        see: called with the number of images that were done.

    Raises:
        ScoreError: the workers cannot work; what is complete is kept.
    """
    places = {shard: store.images(shard) for shard in shards}
    assembly = Assembly(places.items())

    def take(piece: Piece, records: Sequence[Record]) -> None:
        complete = assembly.add(piece, records)
        if complete is not None:
            store.write(piece.shard, complete)
            for record in complete:
                summary.add(finding_of(record), now=True)
        see(len(piece))

    whole = [Piece(shard, images.start, images.stop) for shard, images in places.items()]
    left = [part for piece in whole for part in piece.cut(piece_size)]
    alone = False
    while left:
        deadly: list[Piece] = []
        for answer in score(left, alone=alone):
            summary.tried_again += answer.tries - 1
            if answer.records is None:
                deadly.append(answer.piece)
                continue
            summary.workers.add(answer.worker)
            take(answer.piece, answer.records)
        if alone and not summary.workers and len(deadly) > 1:
            raise ScoreError(
                f"every worker died, whatever image it was given ({len(deadly)} pieces). Look at Ray's logs; most "
                "often memory is short: lower --workers or --max-batch. Run again to go on."
            )
        left = []
        for piece in sorted(deadly):
            if alone and len(piece) == 1:
                take(piece, [_killer(paths[piece.start])])
            else:
                left += piece.cut(max(1, -(-len(piece) // _PARTS)))
        alone = True


def _killer(path: str) -> dict[str, Any]:
    message = "The process that worked on this image died each time; the image was left out."
    return record_of(ImageFile(path, -1, 0), refusal(WORKER_DIED, message), None)
