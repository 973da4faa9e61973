"""What a check of labelled images found: errors that forbid training, warnings, and what was left out."""

import json
from collections import Counter
from collections.abc import Collection
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from rich.console import Console

from contract.classes import CLASS_NAMES
from contract.files import write_text
from training.data.manifest import SHOWN, SPLITS, Dropped, LabelledImage, ManifestError, counts
from training.data.tables import class_table, dropped_table, set_counts, set_table


class Kind(StrEnum):
    """What is wrong, as a heading."""

    MANIFEST = "rows that cannot be used"
    UNREADABLE = "images that cannot be read"
    CONFLICT = "equal images with different labels"
    CONTENT_IN_SPLITS = "equal images in several splits"
    SLIDE_IN_SPLITS = "slides or patients in several splits"
    EMPTY_CLASS = "classes with nothing to learn from"
    REPEATED = "equal images in one split"
    FEW_IMAGES = "classes with few training images"
    ABSENT_CLASS = "classes without any image"
    ONE_SOURCE = "classes of one source only"
    NO_SLIDE = "images without slide or patient"
    NO_SPLIT = "images without a split"
    NO_IMAGES = "splits without images"
    UNMATCHED_EXCLUSION = "exclusions that name no image"


@dataclass(frozen=True, slots=True)
class Finding:
    """One offender: what is wrong with it and what to do."""

    kind: Kind
    message: str


@dataclass(frozen=True, slots=True)
class Findings:
    """The result of :func:`training.data.check.check`."""

    errors: tuple[Finding, ...]
    warnings: tuple[Finding, ...]
    dropped: tuple[Dropped, ...]
    images: tuple[LabelledImage, ...]
    look_alike_sources: frozenset[str] = frozenset()

    def require(self) -> None:
        """Raise if there are errors. Raises ManifestError: with every error."""
        if self.errors:
            raise ManifestError("the images cannot be trained on", (finding.message for finding in self.errors))


def show(findings: Findings, console: Console) -> None:
    """Print tables, what was left out, warnings and errors, in this order, so that the errors stand last."""
    console.print(class_table(findings.images))
    console.print(set_table(findings.images, findings.look_alike_sources))
    if findings.dropped:
        console.print(dropped_table(findings.dropped))
        _list(console, [f"{item.image.path}: {item.reason}" for item in findings.dropped], "left out")
    for title, style, found in (("Warning", "yellow", findings.warnings), ("Error", "bold red", findings.errors)):
        for kind, number in Counter(finding.kind for finding in found).items():
            console.print(f"{title}: {kind} ({number})", style=style, markup=False, highlight=False)
            _list(console, [finding.message for finding in found if finding.kind is kind], kind)
    verdict = f"{len(findings.errors)} errors, {len(findings.warnings)} warnings, {len(findings.images)} images in use"
    console.print(verdict, style="bold", highlight=False)


def _list(console: Console, lines: Collection[str], what: str) -> None:
    for line in list(lines)[:SHOWN]:
        console.print(f"  - {line}", markup=False, highlight=False, soft_wrap=True)
    if len(lines) > SHOWN:
        console.print(f"  ... and {len(lines) - SHOWN} more {what}; --json lists all", markup=False, highlight=False)


def as_json(findings: Findings) -> str:
    """The findings for machines: errors, warnings, what was left out, and the counts of the tables."""
    by_split = counts(findings.images)
    by_set = set_counts(findings.images, findings.look_alike_sources)
    splits = (*SPLITS, "")
    content: dict[str, Any] = {
        "ok": not findings.errors,
        "images": len(findings.images),
        "errors": [_named(finding) for finding in findings.errors],
        "warnings": [_named(finding) for finding in findings.warnings],
        "dropped": [
            {"path": str(item.image.path), "label": item.image.label, "split": item.image.split, "reason": item.reason}
            for item in findings.dropped
        ],
        "classes": {label: {split: by_split[label, split] for split in splits} for label in CLASS_NAMES},
        "sets": [
            {"set": name, "source": source, "split": split, "images": number}
            for (name, source, split), number in sorted(by_set.items())
        ],
    }
    # Bytes of a file's name that are no UTF-8 become escapes, which JSON reads back.
    return json.dumps(content, indent=2, ensure_ascii=False).encode("utf-8", "backslashreplace").decode() + "\n"


def _named(finding: Finding) -> dict[str, str]:
    return asdict(finding) | {"kind": finding.kind.name.lower()}


def write_json(findings: Findings, path: Path) -> None:
    """Write :func:`as_json` to a file, whose folder is made if needed. Raises ManifestError: it cannot be written."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, as_json(findings))
    except OSError as error:
        raise ManifestError("the findings cannot be written", [f"{path}: {error}"]) from error
