"""Edited controls: real cells that were edited as a composite is and keep their label.

As the placebo of a sham operation, hence ``sham`` in manifests, bundles and ``--sham-share``.

Segmentation, removal from the smear, pouring of textures, re-drawn outlines, laying down, focus and sharpening are
those of the composites; only the change that makes another class is missing. With them among the training images, "was
edited" says nothing about the class; among the test images they show whether it does.
"""

from typing import Final

import numpy as np
from scipy import ndimage
from skimage import measure

from training.composites.background import removed
from training.composites.nucleus import NuclearAppearance, finished, paint_nucleus
from training.composites.outline import Outline, signed_distance, smooth_outline
from training.composites.painting import between, over, photographed
from training.composites.platelets import large_thrombocyte_again
from training.composites.segment import Cell, Mask, Pixels, SegmentationError
from training.composites.sprite import cut_out, gentle_warp, laid
from training.composites.texture import Material, chromatin_of, cytoplasm_of, smooth_noise

GRANULAR: Final = frozenset(
    {"Segmented neutrophil", "Eosinophil", "Basophil", "Band neutrophil", "Promyelocyte", "Myelocyte", "Metamyelocyte"}
)
"""Classes that granules tell apart: their textures are re-poured in part only."""
ROUND: Final = frozenset({"Lymphocyte", "Erythroblast (NRBC)"})
"""Classes whose nucleus and body are ovals, so that a cell may be drawn anew from its own measures."""
REDRAWN_SHARE: Final = 0.5


def edited_control(cell: Cell, label: str, generator: np.random.Generator) -> Pixels:
    """Edit a cell without changing its class."""
    if not cell.nucleus.any():
        return large_thrombocyte_again(cell, generator)
    cytoplasm = _cytoplasm(cell)
    if label in ROUND and cytoplasm is not None and generator.uniform() < REDRAWN_SHARE:
        return redrawn(cell, cytoplasm, generator)
    return repoured(cell, cytoplasm, label in GRANULAR, generator)


def repoured(cell: Cell, cytoplasm: Material | None, granular: bool, generator: np.random.Generator) -> Pixels:
    """Take the cell off the smear, lay it down turned, and pour its own textures over it."""
    plate = removed(cell, generator)
    row, column = np.clip(np.array(cell.centre) + generator.normal(0, 5, 2), 96, 160)
    sprite = cut_out(cell).moved(
        (float(row), float(column)),
        generator.uniform(0, 2 * np.pi) if generator.uniform() < 0.7 else 0.0,
        float(np.clip(generator.normal(1, 0.02), 0.95, 1.05)),
        bool(generator.integers(2)),
        gentle_warp(generator, generator.uniform(0.0, 1.6), 26),
    )
    picture = laid(plate, sprite)
    if cytoplasm is not None:
        inside = sprite.coverage > 0.55
        distance = signed_distance(inside)
        rough = distance + generator.uniform(0.2, 0.9) * smooth_noise(generator, 3)
        opacity = between(rough, -1.9, 2.3) if generator.uniform() < 0.25 else between(distance, 0, 5)
        opacity = opacity * float(generator.uniform(0.1, 0.4) if granular else generator.uniform(0.4, 1.0))
        poured = cytoplasm.pour(inside, generator, 0.3 * smooth_noise(generator, 12))
        picture = over(picture, poured, opacity * (1 - ndimage.gaussian_filter(sprite.nucleus, 1.0)))
    share = float(generator.uniform(0.2, 0.6) if granular else generator.uniform(0.5, 1.0))
    nuclear = between(ndimage.gaussian_filter(sprite.nucleus, 0.8), 0.25, 0.75)
    look = _as_it_was(generator)
    repainted, touched = paint_nucleus(picture, sprite.coverage, nuclear, chromatin_of(cell), look, generator)
    return photographed(picture * (1 - share) + repainted * share, touched, generator)


def redrawn(cell: Cell, cytoplasm: Material, generator: np.random.Generator) -> Pixels:
    """Draw a round cell anew, as composites are drawn, with the sizes and the textures that it has."""
    plate = removed(cell, generator)
    body = _oval(cell.body, cell.place, generator)
    towards = generator.uniform(0, 2 * np.pi)
    shift = np.hypot(*(np.array(ndimage.center_of_mass(cell.nucleus)) - cell.centre))
    centre = (body.centre[0] + shift * np.sin(towards), body.centre[1] + shift * np.cos(towards))
    nucleus = _oval(cell.nucleus, centre, generator)
    within = np.maximum(body.coverage(), Outline(centre, nucleus.radii + generator.uniform(0.5, 2.5)).coverage())
    distance = signed_distance(within > 0.5)
    opacity = between(distance + generator.uniform(0.3, 1.2) * smooth_noise(generator, 3), -1.9, 2.3)
    shade = 0.3 * smooth_noise(generator, 12) - generator.uniform(0, 0.6) * between(-distance, -6, 0)
    picture = over(plate, cytoplasm.pour(opacity > 0, generator, shade), opacity)
    return finished(picture, opacity, nucleus, chromatin_of(cell), _as_it_was(generator), generator)


def _oval(mask: Mask, centre: tuple[float, float], generator: np.random.Generator) -> Outline:
    """An outline of the area and elongation of a mask."""
    shape = measure.regionprops(mask.astype(np.uint8))[0]
    elongation = min(1.5, shape.axis_major_length / max(1.0, shape.axis_minor_length))
    return smooth_outline(generator, centre, float(np.sqrt(mask.sum() / np.pi)), float(elongation), 0.015)


def _as_it_was(generator: np.random.Generator) -> NuclearAppearance:
    return NuclearAppearance(
        strength=float(generator.normal(1, 0.03)),
        contrast=float(generator.normal(1, 0.04)),
        membrane=generator.uniform(0.1, 0.7),
        unevenness=generator.uniform(0.1, 0.3),
        size=generator.uniform(5, 11),
    )


def _cytoplasm(cell: Cell) -> Material | None:
    """Its own cytoplasm, if there is enough of it."""
    try:
        return cytoplasm_of(cell)
    except SegmentationError:
        return None
