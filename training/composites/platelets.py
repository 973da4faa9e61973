"""Thrombocytes: aggregates of several real ones, and giants grown from real ones.

Morphology imitated: an aggregate is a clump of three and more platelets that lie against and over each other, their
granules still apart, in a pale matrix. A giant thrombocyte is as large as a red cell or larger (7 um and more): a body
of purple granules with a pale, uneven rim (ICSH, Palmer et al. 2015). Size classes: training/data/presets/pbc.py.
"""

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from training.composites.background import removed
from training.composites.outline import signed_distance
from training.composites.painting import between, over, photographed
from training.composites.segment import Cell, Pixels
from training.composites.sprite import Sprite, cut_out, gentle_warp, laid
from training.composites.texture import LUMINANCE, material, smooth_noise
from training.data.presets.pbc import GIANT_FROM_UM, LARGE_FROM_UM, PIXELS_PER_MICROMETRE


def thrombocyte_aggregation(cell: Cell, others: Sequence[Cell], generator: np.random.Generator) -> Pixels:
    plate = removed(cell, generator)
    sprites = [cut_out(each) for each in (cell, *others)]
    count = int(np.clip(np.round(np.exp(generator.normal(1.7, 0.45))), 3, 16))
    placed: list[tuple[float, float, float]] = []
    parts: list[Sprite] = []
    closeness = generator.uniform(0.5, 0.9)
    for _ in range(count):
        sprite = sprites[generator.integers(len(sprites))]
        scale = float(generator.uniform(0.5, 1.0))
        radius = float(np.sqrt((sprite.coverage > 0.5).sum() / np.pi)) * scale
        row, column = 0.0, 0.0
        if placed:
            y, x, r = placed[generator.integers(len(placed))]
            angle, far = generator.uniform(0, 2 * np.pi), closeness * (r + radius) * generator.uniform(0.85, 1.15)
            row, column = y + far * np.sin(angle), x + far * np.cos(angle)
        placed.append((row, column, radius))
        parts.append(sprite)
    offset = np.mean([(y, x) for y, x, _ in placed], axis=0)
    total = np.zeros_like(plate)
    coverage = np.zeros(plate.shape[:2], dtype=np.float32)
    for sprite, (row, column, radius) in zip(parts, placed, strict=True):
        size = float(np.sqrt((sprite.coverage > 0.5).sum() / np.pi))
        moved = sprite.moved(
            (row - offset[0] + cell.place[0], column - offset[1] + cell.place[1]),
            generator.uniform(0, 2 * np.pi),
            radius / size,
            bool(generator.integers(2)),
            gentle_warp(generator, generator.uniform(0, 2.0), 18),
        )
        crossing = np.float32(0.2) * np.minimum(total, moved.density)
        total = np.maximum(total, moved.density) + crossing
        coverage = np.maximum(coverage, moved.coverage)
    matrix = ndimage.gaussian_filter(ndimage.binary_closing(coverage > 0.5, iterations=9).astype(np.float32), 2.5)
    haze = generator.uniform(0.03, 0.16) * matrix * np.clip(1 + 0.3 * smooth_noise(generator, 7), 0.3, 2)
    tint = np.array([0.9, 1.0, 0.45], dtype=np.float32)
    total = np.maximum(total, haze[..., None] * tint)
    coverage = np.maximum(coverage, matrix)
    picture = laid(plate, Sprite(total.astype(np.float32), coverage, np.zeros_like(coverage), cell.centre))
    return photographed(picture, coverage, generator)


def giant_thrombocyte(cell: Cell, generator: np.random.Generator) -> Pixels:
    """Grow the central platelet to 7.2 to 12.5 um; its granules keep their size."""
    return resized_platelet(cell, generator.uniform(GIANT_FROM_UM + 0.4, 11.5), generator)


def large_thrombocyte_again(cell: Cell, generator: np.random.Generator) -> Pixels:
    """The edited control of the above: redrawn in the same way with about the size that it has."""
    measured = 2 * np.sqrt(cell.body.sum() / np.pi) / PIXELS_PER_MICROMETRE
    size = float(np.clip(measured * generator.uniform(0.92, 1.08), LARGE_FROM_UM + 0.2, GIANT_FROM_UM - 0.5))
    return resized_platelet(cell, size, generator)


def resized_platelet(cell: Cell, diameter_um: float, generator: np.random.Generator) -> Pixels:
    """Draw the central platelet at another size, turned, its rim and centre as they were, its granules unscaled."""
    plate = removed(cell, generator)
    scale = diameter_um * PIXELS_PER_MICROMETRE / (2 * np.sqrt(cell.body.sum() / np.pi))
    granules = material(cell.pixels, ndimage.binary_erosion(cell.body, iterations=2), cell.ground, "platelet")
    warp = gentle_warp(generator, generator.uniform(1, 3) * min(scale, 1.5), 26)
    turn = generator.uniform(0, 2 * np.pi)
    sprite = cut_out(cell)
    moved = sprite.moved(cell.place, turn, scale, bool(generator.integers(2)), warp)
    inside = moved.coverage > 0.5
    inside = ndimage.gaussian_filter(inside.astype(np.float32), generator.uniform(1, 2.5) * scale) > 0.5
    distance = signed_distance(inside)
    opacity = between(distance + generator.uniform(0.3, 1.3) * smooth_noise(generator, 4), -2.6, 2.6)
    slow = ndimage.gaussian_filter(moved.density @ LUMINANCE, 3.0 * scale)
    spread = float(slow[inside].std()) + 1e-3
    shade = -(slow - float(slow[inside].mean())) / spread * generator.uniform(0.35, 0.7)
    shade = shade.astype(np.float32) + generator.uniform(0.2, 0.7) * between(-distance, -7 * scale**0.5, 0)
    poured = granules.pour(opacity > 0, generator, shade + 0.25 * smooth_noise(generator, 10))
    real = laid(plate, moved)
    share = np.clip(0.15 + 0.35 / scale**2, 0, 0.5)
    drawn = over(plate, poured * (1 - share) + real * share, opacity * generator.uniform(0.9, 1.0))
    return photographed(drawn, opacity, generator)
