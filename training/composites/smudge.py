"""Smudge cells: burst nuclei without cytoplasm.

Morphology imitated: paler, reddish, smeared chromatin without a membrane, larger than a nucleus, ragged, streaked in
the direction of the smear, frayed into strands or a net (ICSH; the ten smudge cells of AML-Cytomorphology_LMU and one
of Wikimedia Commons, CC0, were looked at).
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, signal

from training.composites.background import removed
from training.composites.hairy import edge
from training.composites.outline import Coverage, Hair, bearing, signed_distance, smooth_outline, strokes
from training.composites.painting import between, over, photographed
from training.composites.segment import Cell, Mask, Pixels
from training.composites.texture import Material, smooth_noise

KINDS: Final = ("naked", "smeared", "net")
SHARES: Final = (0.4, 0.4, 0.2)


def smudge_cell(cell: Cell, chromatin: Material, generator: np.random.Generator) -> Pixels:
    kind = str(generator.choice(KINDS, p=SHARES))
    plate = removed(cell, generator)
    centre = cell.place
    radius = float(generator.uniform(40, 58) if kind == "naked" else np.exp(generator.uniform(np.log(44), np.log(88))))
    outline = smooth_outline(
        generator, centre, radius, generator.uniform(1.0, 1.8), generator.uniform(0.05, 0.16), (2, 9)
    )
    direction = generator.uniform(0, 2 * np.pi)
    inside = outline.coverage() > 0.5
    distance = signed_distance(inside)
    angle, _ = bearing(centre)
    # One side stays compact, the other dissolves.
    lee = 0.5 + 0.5 * np.cos(angle - direction)
    fray = {"naked": generator.uniform(1.0, 2.5), "smeared": generator.uniform(3, 7), "net": generator.uniform(4, 8)}
    loose = (fray[kind] * (0.35 + lee)).astype(np.float32)
    uneven = streaked(smooth_noise(generator, 3.0) + smooth_noise(generator, 6.0), direction, 9)
    opacity = between(distance + loose * uneven, -1.5 - 0.4 * fray[kind], 1.5 + 1.6 * fray[kind])
    strands = strokes(_strands(inside, centre, direction, kind, generator))
    opacity = np.maximum(opacity, ndimage.gaussian_filter(strands, generator.uniform(0.7, 1.4)))
    if kind == "net":
        opacity = opacity * _meshes(generator, direction)
    elif kind == "smeared":
        opacity = opacity * (1 - generator.uniform(0.2, 0.6) * lee * between(-distance, -radius * 0.8, 0)).astype(
            np.float32
        )

    reddish = np.array([generator.uniform(0.68, 0.95), 1.0, generator.uniform(0.85, 1.15)], dtype=np.float32)
    pale = chromatin.on(cell.ground).stained(
        generator.uniform(0.42, 0.8) if kind == "naked" else generator.uniform(0.32, 0.65),
        reddish,
        generator.uniform(0.55, 0.95),
    )
    shade = 0.45 * smooth_noise(generator, 18) + 0.3 * smooth_noise(generator, 7)
    poured = pale.pour(opacity > 0, generator, shade)
    length = int(generator.uniform(3, 8) if kind == "naked" else generator.uniform(6, 20))
    smeared = np.stack([streaked(poured[..., channel], direction, length) for channel in range(3)], axis=-1)
    share = generator.uniform(0.4, 1.0)
    picture = over(plate, smeared * share + poured * (1 - share), opacity)
    return photographed(picture, opacity, generator)


def streaked(values: NDArray[np.float32], direction: float, length: int) -> NDArray[np.float32]:
    """Average along a direction, as a wedge drawn over wet chromatin does."""
    half = length // 2 + 2
    kernel = np.zeros((2 * half + 1, 2 * half + 1), dtype=np.float32)
    for offset in np.linspace(-length / 2, length / 2, 4 * length + 1):
        y, x = offset * np.sin(direction) + half, offset * np.cos(direction) + half
        row, column = int(y), int(x)
        for down in (0, 1):
            for right in (0, 1):
                kernel[row + down, column + right] += (1 - abs(y - row - down)) * (1 - abs(x - column - right))
    padded = np.pad(values, half, mode="edge")
    return signal.fftconvolve(padded, kernel / kernel.sum(), mode="valid").astype(np.float32)


def _strands(
    inside: Mask, centre: tuple[float, float], direction: float, kind: str, generator: np.random.Generator
) -> list[Hair]:
    roots, normals = edge(inside, centre)
    count = int(generator.integers(3, 14) if kind == "naked" else generator.integers(15, 60))
    lee = 0.5 + 0.5 * np.cos(np.radians(roots[:, 2]) - direction)
    chosen = generator.choice(len(roots), count, p=(lee + 0.05) / (lee + 0.05).sum())
    typical = generator.uniform(5, 10) if kind == "naked" else generator.uniform(8, 24)
    drawn = []
    for index in chosen:
        heading = direction if kind != "naked" else normals[index]
        drawn.append(
            Hair(
                root=(roots[index, 0] - 5 * np.sin(heading), roots[index, 1] - 5 * np.cos(heading)),
                direction=float(heading + generator.normal(0, 0.3)),
                length=float(min(55, 5 + typical * np.exp(generator.normal(0, 0.5)))),
                width=float(generator.uniform(1.5, 6)),
                bend=float(generator.normal(0, 0.5)),
                opacity=float(generator.uniform(0.2, 0.75)),
                tip=float(generator.uniform(0.1, 0.6)),
            )
        )
    return drawn


def _meshes(generator: np.random.Generator, direction: float) -> Coverage:
    """Holes of a net, drawn out along the smear: strands are where a random field crosses 0."""
    field = streaked(smooth_noise(generator, generator.uniform(4, 7)), direction, 10)
    field = field / (field.std() + 1e-6)
    web = np.exp(-((field / generator.uniform(0.35, 0.7)) ** 2))
    ground = between(smooth_noise(generator, 22), -0.8, 1.2)
    return np.clip(0.25 + 0.75 * np.maximum(web, ground), 0, 1).astype(np.float32)
