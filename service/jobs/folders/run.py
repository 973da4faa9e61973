"""From files to results: what is there is skipped, the rest is classified, nothing is lost on the way."""

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from service.jobs.folders.files import ImageFile
from service.jobs.folders.records import Record, record_of
from service.jobs.folders.results import Results
from service.jobs.folders.sources import Source


@dataclass(slots=True)
class Tally:
    """What happened.

    Attributes:
        skipped: files whose results were there.
        classified: files classified now.
        refused: files that could not be, each with the reason.
    """

    skipped: int = 0
    classified: int = 0
    refused: list[tuple[str, str]] = field(default_factory=list)


def left_to_do(files: Sequence[ImageFile], results: Results | None) -> list[ImageFile]:
    """The files without a result; those refused earlier are tried again."""
    return list(files) if results is None else [file for file in files if not results.has(file)]


async def classify(
    source: Source, files: Sequence[ImageFile], results: Results | None, see: Callable[[Record], None]
) -> Tally:
    """Classify ``files``; ``see`` is shown each record once it is kept.

    Raises:
        MixedModelsError: the results that are there were made with another model.
        Exception: whatever the source raises; the results so far are kept.
    """
    tally = Tally()
    if results is not None and source.stamp is not None:
        results.expect(source.stamp)
    if files:
        async with contextlib.aclosing(source.outcomes(files)) as outcomes:
            async for outcome in outcomes:
                record = record_of(outcome.file, outcome.result, outcome.model)
                if results is not None:
                    results.add(record)
                if "error" in record:
                    tally.refused.append((record["path"], record["error"]["message"]))
                else:
                    tally.classified += 1
                see(record)
    return tally
