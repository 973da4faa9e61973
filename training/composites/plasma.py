"""Plasma cells.

Morphology imitated: an oval cell with a round nucleus at one end, chromatin in dark blocks near the membrane (clock
face), deep blue cytoplasm and a pale zone beside the nucleus where the Golgi apparatus lies; sometimes vacuoles
(Palmer et al. 2015, ICSH). The one real plasma cell of the Matek marrow images was looked at.
"""

import numpy as np
from scipy import ndimage

from training.composites.background import removed
from training.composites.hairy import vacuoles
from training.composites.lymphocytes import middle
from training.composites.nucleus import NuclearAppearance, paint_nucleus
from training.composites.outline import Outline, bearing, signed_distance, smooth_outline
from training.composites.painting import between, optics, over, photographed
from training.composites.segment import Cell, Pixels
from training.composites.texture import Material, smooth_noise


def plasma_cell(cell: Cell, chromatin: Material, cytoplasm: Material, generator: np.random.Generator) -> Pixels:
    """Replace the central cell by a plasma cell."""
    plate = removed(cell, generator)
    radius = float(np.clip(generator.normal(32, 3.5), 25, 42))
    size = radius * generator.uniform(1.5, 2.0)
    body = smooth_outline(generator, middle(cell), size, generator.uniform(1.05, 1.45), generator.uniform(0.015, 0.05))
    # The long axis is where the outline is farthest away; the nucleus lies at one of its ends.
    towards = np.argmax(body.radii) * (2 * np.pi / len(body.radii)) + generator.normal(0, 0.35)
    shift = max(0.0, float(body.radii.max()) - radius - generator.uniform(2, 7)) * generator.uniform(0.75, 1.0)
    centre = (body.centre[0] + shift * np.sin(towards), body.centre[1] + shift * np.cos(towards))
    nucleus = smooth_outline(generator, centre, radius, 1 + abs(generator.normal(0.06, 0.06)), 0.012)
    within = np.maximum(body.coverage(), Outline(centre, nucleus.radii + generator.uniform(1.5, 4)).coverage())
    distance = signed_distance(within > 0.5)
    opacity = between(distance + generator.uniform(0.3, 1.1) * smooth_noise(generator, 4), -1.9, 2.3)

    example = cytoplasm.on(cell.ground)
    tint = np.array([generator.uniform(1.08, 1.26), 1.0, generator.uniform(0.66, 0.88)], dtype=np.float32)
    strength = generator.uniform(1.3, 1.9)
    deep = example.stained(strength, tint, generator.uniform(0.7, 1.1))
    pale = example.stained(strength * generator.uniform(0.4, 0.6), tint, generator.uniform(0.6, 1.0))
    shade = 0.35 * smooth_noise(generator, 12) - generator.uniform(0, 0.9) * between(-distance, -8, 0)
    _, from_nucleus = bearing(
        (centre[0] - radius * 0.95 * np.sin(towards), centre[1] - radius * 0.95 * np.cos(towards))
    )
    hof = np.exp(-((from_nucleus / (radius * generator.uniform(0.75, 1.05))) ** 2)).astype(np.float32)
    hof = np.clip(hof * generator.uniform(0.7, 1.15), 0, 1) * between(distance, 3, 12)
    hof = ndimage.gaussian_filter(np.clip(hof * (1 + 0.2 * smooth_noise(generator, 6)), 0, 1), 1.0)
    dark = deep.pour(opacity > 0, generator, shade)
    picture = over(plate, over(dark, pale.pour(opacity > 0, generator), hof), opacity)
    if generator.uniform() < 0.5:
        picture = vacuoles(picture, within, nucleus, cell.ground, generator)
    clock_face = NuclearAppearance(
        strength=generator.uniform(0.9, 1.05),
        contrast=generator.uniform(0.9, 1.2),
        membrane=generator.uniform(0.6, 1.2),
        unevenness=0.2,
        clumps=generator.uniform(0.45, 0.85),
        clump_px=generator.uniform(12, 17),
    )
    picture, touched = paint_nucleus(
        picture, opacity, nucleus.coverage(), chromatin.on(cell.ground), clock_face, generator
    )
    return photographed(picture, touched, optics(generator))
