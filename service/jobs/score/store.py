"""The folder of results: a plan, one file for each shard, a summary at the end.

``run.json`` says what the run is (:class:`service.jobs.score.plan.Plan`). ``results/00042.parquet`` has the images of shard
42, in their order; it is there as a whole or not at all, so that what is missing is what is left to do.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from pydantic import ValidationError

from contract.atomic import UNFINISHED, replacing, write_text
from service.jobs.folders.errors import FoldersError
from service.jobs.folders.formats import format_of
from service.jobs.folders.records import Finding, Record
from service.jobs.folders.results import lock
from service.jobs.score.errors import OtherRunError, ScoreError
from service.jobs.score.plan import Plan

PLAN: Final = "run.json"
RESULTS: Final = "results"
SUMMARY: Final = "summary.json"
LOCK: Final = ".lock"
_FEWEST_DIGITS: Final = 5


class Store:
    """The results of one plan in ``root``, held by one process.

    Raises:
        OtherRunError: the results there are of another plan.
        ScoreError: the folder is not one of ours, or another process works on it.
    """

    def __init__(self, root: Path, plan: Plan) -> None:
        self.root = root
        self.results = root / RESULTS
        self.summary = root / SUMMARY
        self._plan = plan
        self._digits = max(_FEWEST_DIGITS, len(str(plan.shards - 1)))
        self._format = format_of(self.path(0))
        known = root / PLAN
        if root.exists() and not root.is_dir():
            raise ScoreError(f"--out {root} is a file; expected a folder, which is made if it is not there")
        if root.is_dir() and not known.exists() and any(name.name != LOCK for name in root.iterdir()):
            raise ScoreError(f"--out {root} has files that are not of 'hal score'; choose an empty or new folder")
        self.results.mkdir(parents=True, exist_ok=True)
        self._lock = (root / LOCK).open("a")
        try:
            self._take(known)
        except BaseException:
            self._lock.close()
            raise

    def _take(self, known: Path) -> None:
        try:
            lock(self._lock)
        except OSError:
            raise ScoreError(f"another 'hal score' is writing {self.root}; wait for it, or stop it") from None
        if known.exists():
            self._compare(known)
        else:
            write_text(known, self._plan.model_dump_json(indent=2) + "\n")
        for left_over in self.results.glob(f"*{UNFINISHED}"):
            left_over.unlink()

    def _compare(self, known: Path) -> None:
        try:
            there = Plan.model_validate_json(known.read_bytes())
        except ValidationError as error:
            raise ScoreError(
                f"{known} was not written by this version of 'hal score' ({error.error_count()} faults); choose "
                "another --out"
            ) from error
        if differences := list(there.differences(self._plan)):
            raise OtherRunError(
                f"the results in {self.root} are of another run:\n"
                + "\n".join(f"  - {difference}" for difference in differences)
                + "\nResults are never mixed: name the same images, bundle and settings again, or choose another --out."
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._lock.close()

    @property
    def shards(self) -> int:
        """How many there will be."""
        return self._plan.shards

    def path(self, shard: int) -> Path:
        """The file of a shard."""
        return self.results / f"{shard:0{self._digits}d}.{self._plan.format}"

    def images(self, shard: int) -> range:
        """The places of a shard's images in the list."""
        start = shard * self._plan.shard_size
        return range(start, min(start + self._plan.shard_size, self._plan.images))

    def missing(self) -> list[int]:
        """The shards that are left to do."""
        there = {path.name for path in self.results.iterdir()}
        return [shard for shard in range(self._plan.shards) if self.path(shard).name not in there]

    def write(self, shard: int, records: Sequence[Record]) -> None:
        """Keep a shard; once this returns nothing loses it."""
        with replacing(self.path(shard)) as unfinished, self._format.writing(unfinished) as add:
            for record in records:
                add(self._format.row(record))

    def write_summary(self, summary: Mapping[str, Any]) -> None:
        """Keep what stands in the results."""
        write_text(self.summary, json.dumps(summary, indent=2) + "\n")

    def findings(self, shard: int) -> Iterator[Finding]:
        """What a shard that is there says.

        Raises:
            ScoreError: the file is damaged.
        """
        path, count = self.path(shard), 0
        try:
            for finding in self._format.findings(path):
                yield finding
                count += 1
        except FoldersError:
            raise
        except Exception as error:
            raise ScoreError(
                f"{path} is damaged ({type(error).__name__}: {error}); remove it and run again: only its images are "
                "scored again"
            ) from error
        if count != len(self.images(shard)):
            raise ScoreError(
                f"{path} has {count} images, expected {len(self.images(shard))}; remove it and run again: only its "
                "images are scored again"
            )
