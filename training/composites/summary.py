"""What ``hal composites make`` tells at its end: what was left out and why, and what there is now."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from training.composites.plan import Task
from training.composites.render import Made
from training.data import manifest
from training.data.manifest import LabelledImage
from training.data.tables import class_table


@dataclass(frozen=True, slots=True)
class Skips:
    """What was left out, counted.

    Attributes:
        sources: images by source that may not be edited.
        segmentation: images by class and reason that were only copied.
        attempts: by class and reason, candidates that could not be turned into the class.
        given_up: by class, images for which no candidate was left.
    """

    sources: Counter[str]
    segmentation: Counter[tuple[str, str]]
    attempts: Counter[tuple[str, str]]
    given_up: Counter[str]


def failures(tasks: Sequence[Task], made: Mapping[str, Made]) -> tuple[Counter[tuple[str, str]], Counter[str]]:
    """The last two fields of :class:`Skips`."""
    attempts: Counter[tuple[str, str]] = Counter()
    given_up: Counter[str] = Counter()
    for task in tasks:
        attempts.update((task.label, reason) for reason in made[task.name].failures)
        given_up[task.label] += not made[task.name].parent
    return attempts, +given_up


def tell(console: Console, rows: Sequence[LabelledImage], skips: Skips, path: Path) -> None:
    """Print counts and the table of classes."""

    def say(message: str) -> None:
        console.print(message, highlight=False, markup=False, soft_wrap=True)

    for source, count in skips.sources.items():
        say(f"left out {count}: source {source!r} is not known to allow derived images")
    by_reason: Counter[str] = Counter()
    for (_, reason), count in skips.segmentation.items():
        by_reason[reason] += count
    for reason, count in by_reason.most_common():
        labels = Counter({label: n for (label, why), n in skips.segmentation.items() if why == reason})
        say(f"not edited {count}: {reason} ({', '.join(f'{label} {n}' for label, n in labels.most_common())})")
    for (label, reason), count in skips.attempts.most_common():
        say(f"attempts skipped {count}: {label}, {reason}")
    for label, count in skips.given_up.items():
        say(f"warning: {count} images of {label} could not be made; no candidate was left")
    console.print(class_table(rows))
    kinds = Counter((row.extra["kind"], row.split) for row in rows)
    for kind in ("real", "composite", "sham"):
        counts = ", ".join(f"{split} {kinds[kind, split]}" for split in manifest.SPLITS if kinds[kind, split])
        say(f"{kind}: {counts or 'none'}")
    say(f"{len(rows)} images in {path}")
