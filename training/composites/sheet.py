"""``hal composites sheet``: composites, edited controls and real cells on one picture, for a person to judge."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from rich.console import Console

from contract.classes import BY_NAME
from contract.files import IMAGE_SUFFIXES
from training.composites.canvas import open_canvas
from training.composites.generators import GENERATORS, PLATELETS
from training.composites.plan import OPEN_SOURCES, PARENT_SOURCES, Amounts, Parent, Task, families, plan
from training.composites.render import drawn, segmentable
from training.data import manifest, presets
from training.data.contents import content_hashes
from training.data.images import read_pixels
from training.data.manifest import LabelledImage, ManifestError, suggestion
from training.progress import track

COLUMNS: Final = 8
CAPTION_PX: Final = 26
GAP_PX: Final = 4
SHOWN: Final = 176
"""Pixels of the centre of each image that are shown."""
COMPARED: Final = {
    "Hairy cell": ("Lymphocyte", "Monocyte"),
    "Abnormal lymphocyte": ("Lymphocyte",),
    "Reactive lymphocyte": ("Lymphocyte", "Monocyte"),
    "Plasma cell": ("Lymphocyte", "Erythroblast (NRBC)"),
    "Smudge cell": ("Lymphocyte", "Basophil"),
    "Artefact": ("Segmented neutrophil", "Eosinophil"),
    "Thrombocyte aggregation": ("Large thrombocyte",),
    "Giant thrombocyte": ("Giant thrombocyte", "Large thrombocyte"),
}
"""Ordinary classes whose edited controls and real cells stand beside composites of a class."""


def sheet(
    label: str,
    images: Path,
    out: Path,
    *,
    count: int = 24,
    beside: Path | None = None,
    zoom: float = 1.0,
    seed: int = 0,
) -> None:
    """Draw the sheet."""
    if label not in BY_NAME:
        raise ManifestError(f"unknown class {label!r}", [suggestion(label)])
    parents = _parents(images, label, seed)
    compared = COMPARED.get(label, (label,))
    amounts = Amounts(per_class=count, held_out={}, sham_share=0.5, most=count, seed=seed)
    skipped: Counter[str] = Counter()
    rows: list[tuple[str, list[NDArray[np.uint8]]]] = []
    if label in GENERATORS:
        tasks = [task for task in plan(parents, amounts, [label]) if task.kind == "composite"]
        rows.append((f"{label}: composites", _drawn(tasks[:count], skipped)))
    few = replace(amounts, most=max(2, count // len(compared)))
    for name in compared:
        if name not in GENERATORS:
            tasks = [task for task in plan(parents, few, [name]) if task.kind == "sham"]
            rows.append((f"{name}: edited controls", _drawn(tasks, skipped)))
        real = [p for p in parents if p.image.label == name][: few.most]
        rows.append((f"{name}: real", [open_canvas(p.image.path).pixels for p in real]))
    if beside is not None:
        paths = sorted(path for path in beside.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES)
        rows.append((f"{label}: real, from {beside.name}, only looked at", [read_pixels(path) for path in paths]))
    out.parent.mkdir(parents=True, exist_ok=True)
    _picture(rows, zoom).save(out)
    console = Console()
    for reason, times in skipped.most_common():
        console.print(f"skipped {times}: {reason}", highlight=False, markup=False)
    console.print(f"{sum(len(tiles) for _, tiles in rows)} cells on {out}", highlight=False, markup=False)


def _parents(images: Path, label: str, seed: int) -> list[Parent]:
    """Enough images of the classes that are needed, found segmentable."""
    if images.is_dir():
        found, _ = presets.read([(presets.PRESETS["pbc"], images)])
    else:
        found = manifest.read(images)
    wanted = {*COMPARED.get(label, (label,)), "Lymphocyte", "Monocyte", *PLATELETS}
    if label in GENERATORS:
        wanted |= set(GENERATORS[label].parents)
    allowed = PARENT_SOURCES if label in GENERATORS else OPEN_SOURCES
    chosen: list[LabelledImage] = []
    generator = np.random.default_rng(seed)
    for name in sorted(wanted):
        of_class = [image for image in found if image.label == name and image.source in allowed]
        chosen += [of_class[i] for i in generator.permutation(len(of_class))[:16]]
    if not chosen:
        raise ManifestError("no image may be edited", [f"expected images of {', '.join(sorted(allowed))} in {images}"])
    chosen = [replace(image, split="train", slide_id="") for image in chosen]
    content_hash = content_hashes(image.path for image in chosen)
    named = zip(chosen, families(chosen, content_hash, seed), strict=True)
    parents = [Parent(image, content_hash(image.path), family, True) for image, family in named]
    return [replace(parent, usable=not segmentable(parent)) for parent in parents]


def _drawn(tasks: Sequence[Task], skipped: Counter[str]) -> list[NDArray[np.uint8]]:
    tiles = []
    with track("drawing", len(tasks)) as advance:
        for task in tasks:
            made, pixels = drawn(task)
            skipped.update(made.failures)
            if pixels is not None:
                tiles.append(pixels)
            advance(1)
    return tiles


def _picture(rows: Sequence[tuple[str, Sequence[NDArray[np.uint8]]]], zoom: float) -> Image.Image:
    side = round(SHOWN * zoom)
    lines = [(caption, -(-len(tiles) // COLUMNS)) for caption, tiles in rows]
    height = sum(CAPTION_PX + lines_ * (side + GAP_PX) for _, lines_ in lines)
    canvas = Image.new("RGB", (COLUMNS * (side + GAP_PX), height), "white")
    draw = ImageDraw.Draw(canvas)
    top = 0
    for caption, tiles in rows:
        draw.text((6, top + 4), caption, fill="black", font=ImageFont.load_default(16))
        top += CAPTION_PX
        for index, tile in enumerate(tiles):
            image = Image.fromarray(tile)
            width, height = image.size
            shown = min(SHOWN, width, height)
            left, upper = (width - shown) // 2, (height - shown) // 2
            image = image.crop((left, upper, left + shown, upper + shown)).resize(
                (side, side), Image.Resampling.BICUBIC
            )
            line, column = divmod(index, COLUMNS)
            canvas.paste(image, (column * (side + GAP_PX), top + line * (side + GAP_PX)))
        top += -(-len(tiles) // COLUMNS) * (side + GAP_PX)
    return canvas
