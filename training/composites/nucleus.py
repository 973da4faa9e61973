"""Painting a nucleus: how pale, how coarse, with which membrane and nucleoli."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from contract.parts import IMAGE_SIDE
from training.composites.outline import Coverage, Outline, bearing, signed_distance, smooth_outline
from training.composites.painting import between, over, photographed
from training.composites.segment import Mask, Pixels
from training.composites.texture import Material, smooth_noise


@dataclass(frozen=True, slots=True, kw_only=True)
class NuclearAppearance:
    """Choices of a class for its chromatin.

    Attributes:
        membrane: darkness of the nuclear membrane, in standard deviations of the texture.
        unevenness: of the texture at the scale ``size``, in standard deviations.
        size: in pixels.
        clumps: depth of coarse blocks of heterochromatin, in standard deviations; 0 for none.
    """

    strength: float = 1.0
    contrast: float = 1.0
    membrane: float = 0.5
    unevenness: float = 0.3
    size: float = 7.0
    clumps: float = 0.0
    clump_px: float = 15.0
    nucleoli: int = 0


def paint_nucleus(
    picture: Pixels,
    touched: Coverage,
    coverage: Coverage,
    chromatin: Material,
    look: NuclearAppearance,
    generator: np.random.Generator,
) -> tuple[Pixels, Coverage]:
    inside = coverage > 0.5
    distance = signed_distance(inside)
    stained = chromatin.stained(
        look.strength, np.array([generator.uniform(0.92, 1.02), 1.0, 1.0], dtype=np.float32), look.contrast
    )
    shade = -look.membrane * between(-distance, -3.5, 0)
    shade = shade + look.unevenness * smooth_noise(generator, look.size) + 0.3 * smooth_noise(generator, 24)
    if look.clumps:
        shade = shade + look.clumps * blocks(inside, look.clump_px, generator)
    for _ in range(look.nucleoli):
        spot, rim = nucleolus(inside, distance, generator)
        shade = shade + generator.uniform(0.9, 1.6) * spot - generator.uniform(0.5, 1.0) * rim
    poured = stained.pour(coverage > 0, generator, shade)
    return over(picture, poured, coverage), np.maximum(touched, coverage)


def finished(
    picture: Pixels,
    body: Coverage,
    nucleus: Outline,
    chromatin: Material,
    look: NuclearAppearance,
    generator: np.random.Generator,
) -> Pixels:
    """The image of a cell whose body is drawn: with its nucleus, and photographed."""
    return photographed(*paint_nucleus(picture, body, nucleus.coverage(), chromatin, look, generator), generator)


def blocks(inside: Mask, spacing: float, generator: np.random.Generator) -> NDArray[np.float32]:
    """Dark blocks with paler lines between them, as on a football or a clock face. About -1 to 1."""
    count = max(5, int(inside.sum() / spacing**2))
    rows, columns = np.nonzero(inside)
    seeds = np.ones((IMAGE_SIDE, IMAGE_SIDE), dtype=bool)
    chosen = generator.choice(rows.size, count, replace=False)
    seeds[rows[chosen], columns[chosen]] = False
    near = ndimage.distance_transform_edt(seeds)
    wavy = near + 2.0 * smooth_noise(generator, 4)
    return np.clip((wavy - spacing * 0.38) / (spacing * 0.3), -1, 1).astype(np.float32)


def nucleolus(inside: Mask, distance: Coverage, generator: np.random.Generator) -> tuple[Coverage, Coverage]:
    """A pale round spot and the condensed chromatin around it."""
    rows, columns = np.nonzero(inside & (distance > 10))
    if rows.size == 0:
        return np.zeros(inside.shape, np.float32), np.zeros(inside.shape, np.float32)
    at = generator.integers(rows.size)
    outline = smooth_outline(generator, (rows[at], columns[at]), generator.uniform(5, 9.5), 1.15, 0.05)
    spot = ndimage.gaussian_filter(outline.coverage(), 1.2)
    _, away = bearing(outline.centre)
    ring = np.exp(-(((away - outline.radii.mean() - 2) / 2.2) ** 2)).astype(np.float32)
    return spot, ring
