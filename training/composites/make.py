"""``hal composites make``: a complete 20-class set from real images, composites and edited controls."""

import os
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Final

from rich.console import Console

from contract.classes import CLASS_NAMES, HAIRY_CELL
from contract.files import write_text
from training.composites.plan import FIRST_SOURCE, OPEN_SOURCES, SECOND_SOURCE, Amounts, Parent, Task, families, plan
from training.composites.render import Made, carry_out, segmentable
from training.composites.render import pool as pool_of
from training.data import manifest
from training.data.contents import PIXELS_COLUMN, content_hashes
from training.data.manifest import LabelledImage, ManifestError
from training.data.overlap import FAMILY_COLUMN, PARENT_COLUMN, PARENT_PIXELS_COLUMN, PATIENT_COLUMN, assert_disjoint
from training.data.presets import PRESETS
from training.data.tables import class_table
from training.progress import say, track

MANIFEST: Final = "manifest.csv"
ATTRIBUTION: Final = "ATTRIBUTION.md"
ATTRIBUTION_TEXT: Final = """\
# Attribution

Every image here is a copy of, or was made by editing, a photograph of one of the data sets below, under
their licence. `manifest.csv` names each image's parent, and the donors of further textures, by SHA-256.
Changes: cropped at the centre or padded by reflection to 256x256; in composites and edited controls
the cell was removed, moved, or drawn anew from textures of real cells. A composite is no photograph of
its class.
"""
SET_C_SHARE: Final = 0.5
"""Other cells of the second source, by those of the first."""


def make(
    data: Path, out: Path, amounts: Amounts, *, demonstration: bool = False, processes: int | None = None
) -> list[LabelledImage]:
    """Make a set, or go on with one that was interrupted, and write its manifest and attribution.

    Raises:
        ManifestError: images have no split or a licence that does not allow it, or the folder holds another set.
    """
    images = _open_images(manifest.read(data))
    content_hash = content_hashes(image.path for image in images)
    with pool_of(processes) as pool:
        names = families(images, content_hash, amounts.seed, fewest=2 if demonstration else 1)
        parents = _parents(images, names, content_hash, pool)
        tasks = _demonstration(parents, amounts) if demonstration else plan(parents, amounts)
        made = carry_out(tasks, out, pool)
    done = [(task, made[task.name]) for task in tasks]
    by_digest = {parent.sha256: parent for parent in parents}
    rows = [_row(task, entry, by_digest[entry.parent], out) for task, entry in done if entry.parent]
    # Slides that the parents' own split shares are for 'hal data check' to judge; pixels must never be shared.
    assert_disjoint(rows, slides=False)
    manifest.write(out / MANIFEST, rows)
    write_text(out / ATTRIBUTION, _attribution(rows))
    _tell(done, rows, out / MANIFEST)
    return rows


def _open_images(images: Sequence[LabelledImage]) -> list[LabelledImage]:
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
    for source, count in Counter(image.source for image in images if image.source not in OPEN_SOURCES).items():
        say(f"left out {count}: source {source!r} is not known to allow derived images")
    return kept


def _parents(
    images: Sequence[LabelledImage],
    names: Sequence[str],
    content_hash: Callable[[Path], str],
    pool: ProcessPoolExecutor,
) -> list[Parent]:
    """Every image with its family, and whether its central cell can be found; what cannot is said."""
    parents = [Parent(image, content_hash(image.path), name, True) for image, name in zip(images, names, strict=True)]
    reasons = []
    with track("segmenting", len(parents)) as advance:
        for reason in pool.map(segmentable, parents, chunksize=16):
            reasons.append(reason)
            advance(1)
    skipped = Counter((p.image.label, reason) for p, reason in zip(parents, reasons, strict=True) if reason)
    for (label, reason), count in skipped.most_common():
        say(f"not edited {count}: {label}, {reason}")
    return [replace(parent, usable=not reason) for parent, reason in zip(parents, reasons, strict=True)]


def _demonstration(parents: Sequence[Parent], amounts: Amounts) -> list[Task]:
    """Sets A, B and C: hairy cells in the second source only; neither source shares a cell with the other."""
    by_kind: dict[tuple[str, str], set[str]] = {}
    for parent in parents:
        by_kind.setdefault((parent.image.split, parent.image.source), set()).add(parent.family)
    second = {family for families_ in by_kind.values() for family in sorted(families_)[1::2]}
    there = [parent for parent in parents if parent.family in second]
    here = [parent for parent in parents if parent.family not in second]
    most = amounts.most or amounts.per_class
    amounts = replace(amounts, most=most)

    def fewer(count: int) -> int:
        return max(1, round(count * SET_C_SHARE))

    held_out = {split: fewer(count) for split, count in amounts.held_out.items()}
    of_set_c = replace(amounts, per_class=fewer(amounts.per_class), held_out=held_out, most=fewer(most))
    others = [name for name in CLASS_NAMES if name != HAIRY_CELL.name]
    return (
        plan(here, amounts, others, FIRST_SOURCE)
        + plan(there, of_set_c, others, SECOND_SOURCE)
        + plan(there, amounts, [HAIRY_CELL.name], SECOND_SOURCE)
    )


def _row(task: Task, made: Made, parent: Parent, out: Path) -> LabelledImage:
    image, preset = parent.image, PRESETS[parent.image.source]
    # A composite is another cell: of what is known of its parent only the patient is still true.
    composite = task.kind == "composite"
    dropped = {*image.extra} - {PATIENT_COLUMN} if composite else {PIXELS_COLUMN}
    extra = {
        **{name: value for name, value in image.extra.items() if name not in dropped},
        "evidence": "composite" if composite else image.extra.get("evidence", "real"),
        "kind": task.kind,
        "generator": {"real": "", "sham": "sham"}.get(task.kind, task.name.split("/")[-2]),
        FAMILY_COLUMN: parent.family,
        "parent_label": image.label,
        "parent_path": Path(os.path.relpath(image.path.resolve(), out.resolve())).as_posix(),
        PARENT_COLUMN: made.parent,
        PARENT_PIXELS_COLUMN: image.extra.get(PIXELS_COLUMN, ""),
        "donors_sha256": "|".join(made.donors),
        "licence": preset.licence,
        "attribution": preset.citation,
    }
    path, source = out / f"{task.name}.png", task.source or image.source
    return LabelledImage(path, task.label, image.slide_id, source, task.split, extra)


def _attribution(rows: Sequence[LabelledImage]) -> str:
    sources = sorted({f"- {row.extra['attribution']} Licence: {row.extra['licence']}." for row in rows})
    return "\n".join([ATTRIBUTION_TEXT, *sources, ""])


def _tell(done: Sequence[tuple[Task, Made]], rows: Sequence[LabelledImage], path: Path) -> None:
    attempts = Counter((task.label, reason) for task, entry in done for reason in entry.failures)
    for (label, reason), count in attempts.most_common():
        say(f"attempts skipped {count}: {label}, {reason}")
    for label, count in Counter(task.label for task, entry in done if not entry.parent).items():
        say(f"warning: {count} images of {label} could not be made; no candidate was left")
    Console().print(class_table(rows))
    for kind in ("real", "composite", "sham"):
        splits = Counter(row.split for row in rows if row.extra["kind"] == kind)
        say(f"{kind}: {', '.join(f'{split} {splits[split]}' for split in manifest.SPLITS if splits[split]) or 'none'}")
    say(f"{len(rows)} images in {path}")
