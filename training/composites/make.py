"""``hal composites make``: a complete 20-class set from real images, composites and edited controls."""

import os
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Final

from rich.console import Console

from contract.classes import CLASS_NAMES, HAIRY_CELL
from contract.files import write_text
from training.composites.canvas import BARCELONA, SECOND_LABORATORY, StainStyle
from training.composites.journal import carry_out
from training.composites.journal import pool as pool_of
from training.composites.plan import OPEN_SOURCES, Amounts, Parent, Task, families, plan
from training.composites.render import Made, segmentable
from training.data import manifest
from training.data.contents import PIXELS_COLUMN, content_hashes
from training.data.manifest import LabelledImage, ManifestError
from training.data.overlap import (
    FAMILY_COLUMN,
    PARENT_COLUMN,
    PARENT_PIXELS_COLUMN,
    PATIENT_COLUMN,
    assert_disjoint,
)
from training.data.presets import PRESETS
from training.data.tables import class_table
from training.progress import track

MANIFEST: Final = "manifest.csv"
ATTRIBUTION: Final = "ATTRIBUTION.md"
FIRST_SOURCE: Final = "wbc_train"
SECOND_SOURCE: Final = "hairy_db"
STYLES: Final[dict[str, StainStyle]] = {FIRST_SOURCE: BARCELONA, SECOND_SOURCE: SECOND_LABORATORY}
SET_C_SHARE: Final = 0.5
"""Other cells of the second source, by those of the first."""


def make(
    data: Path, out: Path, amounts: Amounts, *, demonstration: bool = False, processes: int | None = None
) -> list[LabelledImage]:
    """Make a set, or go on with one that was interrupted, and write its manifest and attribution."""
    images, left_out = _open_images(manifest.read(data))
    content_hash = content_hashes(image.path for image in images)
    with pool_of(processes) as pool:
        names = families(images, content_hash, amounts.seed, fewest=2 if demonstration else 1)
        parents, unsegmented = _parents(images, names, content_hash, pool)
        tasks = _tasks(parents, amounts, demonstration)
        made = carry_out(tasks, out, STYLES, pool)
    rows = _rows(tasks, made, {p.sha256: p for p in parents}, out)
    # Slides that the parents' own split shares are for 'hal data check' to judge; pixels must never be shared.
    assert_disjoint(rows, slides=False)
    manifest.write(out / MANIFEST, rows)
    _write_attribution(out / ATTRIBUTION, rows)
    _tell_skipped(left_out, unsegmented, [(task, made[task.name]) for task in tasks])
    _tell_made(rows, out / MANIFEST)
    return rows


def _open_images(images: Sequence[LabelledImage]) -> tuple[list[LabelledImage], Counter[str]]:
    if unsplit := [image for image in images if not image.split]:
        raise ManifestError(
            "images without a split cannot be parents, since their children would not know theirs",
            [f"{len(unsplit)} images; give them splits with 'hal data split'"],
        )
    kept = [image for image in images if image.source in OPEN_SOURCES]
    if not kept:
        raise ManifestError(
            "no image may be edited",
            [f"expected images of {', '.join(sorted(OPEN_SOURCES))}, whose licence allows it; see 'hal data prepare'"],
        )
    return kept, Counter(image.source for image in images if image.source not in OPEN_SOURCES)


def _parents(
    images: Sequence[LabelledImage],
    names: Sequence[str],
    content_hash: Callable[[Path], str],
    pool: ProcessPoolExecutor,
) -> tuple[list[Parent], Counter[tuple[str, str]]]:
    """Every image with its family, and whether its central cell can be found."""
    parents = [Parent(image, content_hash(image.path), name, True) for image, name in zip(images, names, strict=True)]
    skipped: Counter[tuple[str, str]] = Counter()
    checked = []
    with track("segmenting", len(parents)) as advance:
        for parent, reason in zip(parents, pool.map(segmentable, parents, chunksize=16), strict=True):
            if reason:
                skipped[parent.image.label, reason] += 1
            checked.append(replace(parent, usable=not reason))
            advance(1)
    return checked, skipped


def _tasks(parents: Sequence[Parent], amounts: Amounts, demonstration: bool) -> list[Task]:
    if not demonstration:
        return plan(parents, amounts)
    second = _second_families(parents)
    amounts = replace(amounts, most=amounts.most or amounts.per_class)
    fewer = replace(
        amounts,
        per_class=max(1, round(amounts.per_class * SET_C_SHARE)),
        held_out={split: max(1, round(count * SET_C_SHARE)) for split, count in amounts.held_out.items()},
        most=max(1, round((amounts.most or 1) * SET_C_SHARE)),
    )
    others = [name for name in CLASS_NAMES if name != HAIRY_CELL.name]
    there = [parent for parent in parents if parent.family in second]
    here = [parent for parent in parents if parent.family not in second]
    return (
        plan(here, amounts, others, FIRST_SOURCE)
        + plan(there, fewer, others, SECOND_SOURCE)
        + plan(there, amounts, [HAIRY_CELL.name], SECOND_SOURCE)
    )


def _second_families(parents: Sequence[Parent]) -> set[str]:
    """Every other family, so that neither source shares a cell with the other."""
    chosen: set[str] = set()
    by_kind: dict[tuple[str, str], list[str]] = {}
    for parent in parents:
        names = by_kind.setdefault((parent.image.split, parent.image.source), [])
        if parent.family not in names:
            names.append(parent.family)
    for names in by_kind.values():
        chosen |= set(sorted(names)[1::2])
    return chosen


def _rows(tasks: Iterable[Task], made: dict[str, Made], parents: dict[str, Parent], out: Path) -> list[LabelledImage]:
    rows = []
    for task in tasks:
        entry = made[task.name]
        if not entry.parent:
            continue
        parent = parents[entry.parent]
        preset = PRESETS[parent.image.source]
        # A composite is another cell: of what is known of its parent only the patient is still true.
        kept = {
            name: value
            for name, value in parent.image.extra.items()
            if name == PATIENT_COLUMN or (task.kind != "composite" and name != PIXELS_COLUMN)
        }
        evidence = "composite" if task.kind == "composite" else parent.image.extra.get("evidence", "real")
        extra = {
            **kept,
            "evidence": evidence,
            "kind": task.kind,
            "generator": {"real": "", "sham": "sham"}.get(task.kind, task.name.split("/")[-2]),
            FAMILY_COLUMN: parent.family,
            "parent_label": parent.image.label,
            "parent_path": Path(os.path.relpath(parent.image.path.resolve(), out.resolve())).as_posix(),
            PARENT_COLUMN: entry.parent,
            PARENT_PIXELS_COLUMN: parent.image.extra.get(PIXELS_COLUMN, ""),
            "donors_sha256": "|".join(entry.donors),
            "licence": preset.licence,
            "attribution": preset.citation,
        }
        source = task.source or parent.image.source
        rows.append(
            LabelledImage(out / f"{task.name}.png", task.label, parent.image.slide_id, source, task.split, extra)
        )
    return rows


def _write_attribution(path: Path, rows: Sequence[LabelledImage]) -> None:
    names = sorted({PRESETS_BY_CITATION[row.extra["attribution"]] for row in rows})
    lines = [
        "# Attribution",
        "",
        "Every image here is a copy of, or was made by editing, a photograph of one of the data sets below, under",
        "their licence. `manifest.csv` names each image's parent, and the donors of further textures, by SHA-256.",
        "Changes: cropped at the centre or padded by reflection to 256x256; in composites and edited controls",
        "the cell was removed, moved, or drawn anew from textures of real cells. A composite is no photograph of its",
        "class.",
        "",
    ]
    lines += [f"- **{name}**: {PRESETS[name].citation} Licence: {PRESETS[name].licence}." for name in names]
    write_text(path, "\n".join(lines) + "\n")


PRESETS_BY_CITATION: Final = {preset.citation: name for name, preset in PRESETS.items()}


def _say(message: str) -> None:
    Console().print(message, highlight=False, markup=False, soft_wrap=True)


def _tell_skipped(
    left_out: Counter[str], unsegmented: Counter[tuple[str, str]], done: Sequence[tuple[Task, Made]]
) -> None:
    """What may not be edited by source, what was only copied by class and reason, and what could not be made."""
    for source, count in left_out.items():
        _say(f"left out {count}: source {source!r} is not known to allow derived images")
    by_reason: Counter[str] = Counter()
    for (_, reason), count in unsegmented.items():
        by_reason[reason] += count
    for reason, count in by_reason.most_common():
        labels = Counter({label: n for (label, why), n in unsegmented.items() if why == reason})
        _say(f"not edited {count}: {reason} ({', '.join(f'{label} {n}' for label, n in labels.most_common())})")
    attempts = Counter((task.label, reason) for task, entry in done for reason in entry.failures)
    for (label, reason), count in attempts.most_common():
        _say(f"attempts skipped {count}: {label}, {reason}")
    for label, count in Counter(task.label for task, entry in done if not entry.parent).items():
        _say(f"warning: {count} images of {label} could not be made; no candidate was left")


def _tell_made(rows: Sequence[LabelledImage], path: Path) -> None:
    Console().print(class_table(rows))
    kinds = Counter((row.extra["kind"], row.split) for row in rows)
    for kind in ("real", "composite", "sham"):
        counts = ", ".join(f"{split} {kinds[kind, split]}" for split in manifest.SPLITS if kinds[kind, split])
        _say(f"{kind}: {counts or 'none'}")
    _say(f"{len(rows)} images in {path}")
