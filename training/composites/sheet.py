"""``hal composites sheet``: composites, edited controls and real cells on one picture, for a person to judge."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from contract.classes import BY_NAME
from contract.parts import IMAGE_SIDE
from training.composites.canvas import open_canvas
from training.composites.generators import GENERATORS, PLATELETS
from training.composites.plan import OPEN_SOURCES, PARENT_SOURCES, Amounts, Parent, Task, families, plan
from training.composites.render import drawn, segmentable
from training.data import manifest
from training.data.contents import content_hashes
from training.data.manifest import LabelledImage, ManifestError, suggestion
from training.progress import say, track

COLUMNS: Final = 8
CAPTION_PX: Final = 26
SHOWN_PX: Final = 176
"""Of the centre of each image."""
STEP_PX: Final = SHOWN_PX + 4
FROM_EACH_CLASS: Final = 16


def sheet(label: str, images: Path, out: Path, count: int = 24, seed: int = 0) -> None:
    """Draw composites of a class, beside edited controls and real cells of the classes that they are made from.

    Raises:
        ManifestError: there is no such class, or no image that may be edited.
    """
    if label not in BY_NAME:
        raise ManifestError(f"unknown class {label!r}", [suggestion(label)])
    parents = _parents(manifest.read(images), label, seed)
    skipped: Counter[str] = Counter()
    rows: list[tuple[str, list[NDArray[np.uint8]]]] = []
    amounts = Amounts(per_class=count, held_out={}, sham_share=0.5, most=count, seed=seed)
    if label in GENERATORS:
        tasks = [task for task in plan(parents, amounts, [label]) if task.kind == "composite"]
        rows.append((f"{label}: composites", _drawn(tasks, skipped)))
    compared = GENERATORS[label].parents[:2] if label in GENERATORS else (label,)
    few = max(2, count // len(compared))
    for name in compared:
        tasks = [task for task in plan(parents, replace(amounts, most=few), [name]) if task.kind == "sham"]
        rows.append((f"{name}: edited controls", _drawn(tasks, skipped)))
        real = [parent for parent in parents if parent.image.label == name][:few]
        rows.append((f"{name}: real", [open_canvas(parent.image.path).pixels for parent in real]))
    out.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.concatenate([_strip(*row) for row in rows])).save(out)
    for reason, times in skipped.most_common():
        say(f"skipped {times}: {reason}")
    say(f"{sum(len(tiles) for _, tiles in rows)} cells on {out}")


def _parents(images: Sequence[LabelledImage], label: str, seed: int) -> list[Parent]:
    """Enough images of the classes that are needed, found segmentable."""
    made = label in GENERATORS
    wanted = {label, "Lymphocyte", "Monocyte", *PLATELETS, *(GENERATORS[label].parents if made else ())}
    allowed = PARENT_SOURCES if made else OPEN_SOURCES
    generator = np.random.default_rng(seed)
    chosen: list[LabelledImage] = []
    for name in sorted(wanted):
        of_class = [image for image in images if image.label == name and image.source in allowed]
        chosen += [of_class[i] for i in generator.permutation(len(of_class))[:FROM_EACH_CLASS]]
    if not chosen:
        raise ManifestError("no image may be edited", [f"expected images of {', '.join(sorted(allowed))}"])
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


def _strip(caption: str, tiles: Sequence[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """Lines of eight images below a caption."""
    height = CAPTION_PX + -(-len(tiles) // COLUMNS) * STEP_PX
    strip = Image.new("RGB", (COLUMNS * STEP_PX, height), "white")
    ImageDraw.Draw(strip).text((6, 4), caption, fill="black", font=ImageFont.load_default(16))
    begin = (IMAGE_SIDE - SHOWN_PX) // 2
    centre = slice(begin, begin + SHOWN_PX)
    for index, tile in enumerate(tiles):
        line, column = divmod(index, COLUMNS)
        strip.paste(Image.fromarray(tile[centre, centre]), (column * STEP_PX, CAPTION_PX + line * STEP_PX))
    return np.asarray(strip)
