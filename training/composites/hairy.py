"""Hairy cells.

Morphology imitated: thesis section 2.3.1 and Figure 2.4, small and large cells alike. A lymphoid cell of one and a
half to two red cells; moderate, pale blue-grey cytoplasm; an oval, round or indented, often eccentric nucleus, paler
and spongier than a lymphocyte's; fine, irregular projections all round the outline, of uneven number, length, width,
direction and contrast, some of them merged to ruffles, some bent, all pale and soft at their tips.
"""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from training.composites.background import removed
from training.composites.nucleus import NuclearAppearance, finished
from training.composites.outline import (
    ANGLES,
    Coverage,
    Hair,
    Outline,
    bearing,
    dented,
    polygon,
    signed_distance,
    smooth_outline,
    strokes,
)
from training.composites.painting import between, over
from training.composites.segment import Cell, Pixels
from training.composites.texture import Material, smooth_noise

STEP = 2 * np.pi / ANGLES


def hairy_cell(cell: Cell, chromatin: Material, cytoplasm: Material, generator: np.random.Generator) -> Pixels:
    plate = removed(cell, generator)
    nucleus_radius = float(np.clip(generator.normal(39, 4.5), 30, 50))
    body_radius = float(np.clip(nucleus_radius * generator.uniform(1.2, 1.62), 44, 72))
    body = smooth_outline(
        generator, cell.place, body_radius, generator.uniform(1.0, 1.35), generator.uniform(0.03, 0.09)
    )
    nucleus = nucleus_outline(generator, body, nucleus_radius)
    picture, touched = paint_body(plate, body, nucleus, cell, cytoplasm, generator)
    spongy = NuclearAppearance(
        strength=generator.uniform(0.72, 0.98),
        contrast=generator.uniform(0.7, 1.0),
        membrane=generator.uniform(0.3, 1.1),
        unevenness=generator.uniform(0.25, 0.45),
        size=generator.uniform(5, 9),
    )
    return finished(picture, touched, nucleus, chromatin.on(cell.ground), spongy, generator)


def nucleus_outline(generator: np.random.Generator, body: Outline, radius: float) -> Outline:
    """Oval, round, bean-shaped or, rarely, folded in; often at the edge of the body."""
    room = max(0.0, body.radii.mean() - radius)
    shift, towards = room * generator.beta(2.2, 1.3), generator.uniform(0, 2 * np.pi)
    centre = (body.centre[0] + shift * np.sin(towards), body.centre[1] + shift * np.cos(towards))
    elongation = 1 + abs(generator.normal(0.16, 0.13))
    outline = smooth_outline(generator, centre, radius, float(elongation), generator.uniform(0.012, 0.035))
    kind = generator.uniform()
    inward = towards + np.pi + generator.normal(0, 0.5)
    if kind < 0.36:
        outline = dented(outline, inward, generator.uniform(0.10, 0.36), generator.uniform(0.35, 0.75))
    elif kind < 0.46:
        outline = dented(outline, inward, generator.uniform(0.25, 0.5), generator.uniform(0.12, 0.28))
        if generator.uniform() < 0.5:
            outline = dented(outline, inward + np.pi, generator.uniform(0.1, 0.4), generator.uniform(0.15, 0.3))
    return outline


def paint_body(
    plate: Pixels, body: Outline, nucleus: Outline, cell: Cell, cytoplasm: Material, generator: np.random.Generator
) -> tuple[Pixels, Coverage]:
    """Cytoplasm and its fringe."""
    within = body.coverage()
    # The nucleus always has a thin rim of cytoplasm.
    rim = Outline(nucleus.centre, nucleus.radii + generator.uniform(1.0, 4.0)).coverage()
    within = np.maximum(within, rim)
    distance = signed_distance(within > 0.5)
    angle, _ = bearing(body.centre)
    vigour = envelope(generator)
    ragged = frayed(distance, angle, vigour, generator)
    fringe = strokes(hairs(within > 0.5, body.centre, vigour, generator))
    lace = ruffles(within > 0.5, body.centre, vigour, generator)
    opacity = np.maximum.reduce([ragged * generator.uniform(0.9, 1.0), fringe, lace])
    opacity = softened(opacity, distance, generator)

    strength = generator.uniform(0.62, 1.05)
    bluer = np.array([generator.uniform(1.03, 1.22), 1.0, generator.uniform(0.72, 0.95)], dtype=np.float32)
    tinted = cytoplasm.on(cell.ground).stained(strength, bluer, generator.uniform(0.75, 1.05))
    shade = 0.35 * smooth_noise(generator, 14) + 0.25 * between(-distance, -9, 4) * generator.normal(0, 1)
    poured = tinted.pour(opacity > 0, generator, shade, coarse=0.1)
    picture = over(plate, poured, opacity)
    return vacuoles(picture, within, nucleus, cell.ground, generator), opacity


def softened(opacity: Coverage, distance: Coverage, generator: np.random.Generator) -> Coverage:
    """Tips lie above or below the focal plane: blur grows and opacity falls with the distance from the body."""
    far = between(-distance, 0, 9)
    blurred = ndimage.gaussian_filter(opacity, generator.uniform(0.8, 1.6))
    fade = 1 - generator.uniform(0.1, 0.45) * far
    return ((1 - far) * ndimage.gaussian_filter(opacity, 0.5) + far * blurred) * fade


def envelope(generator: np.random.Generator) -> NDArray[np.float64]:
    """How vigorous the fringe is at each degree, around 1 and never near 0: hairs are all round, but unevenly."""
    angles = np.arange(ANGLES) * STEP
    wave = sum(generator.normal() / k**0.5 * np.cos(k * angles + generator.uniform(0, 2 * np.pi)) for k in range(1, 7))
    return np.clip(np.exp(0.38 * np.asarray(wave)), 0.35, 2.4)


def frayed(
    distance: Coverage, angle: NDArray[np.float64], vigour: NDArray[np.float64], generator: np.random.Generator
) -> Coverage:
    """The body's edge dissolves unevenly: fine teeth around the outline, which change slowly with the distance."""
    teeth = np.zeros_like(distance)
    for waves, weight in ((28, 1.0), (55, 0.9), (95, 0.7)):
        profile = ndimage.zoom(generator.standard_normal((9, waves)), (8, ANGLES * 2 / waves), order=1, mode="wrap")
        index = np.clip((angle / STEP * 2).astype(np.int64), 0, profile.shape[1] - 1)
        depth = np.clip((distance + 24) * 1.2, 0, profile.shape[0] - 1).astype(np.int64)
        teeth += (weight * profile[depth, index]).astype(np.float32)
    local = vigour[np.clip((angle / STEP).astype(np.int64), 0, ANGLES - 1)].astype(np.float32)
    reach = generator.uniform(1.0, 3.4)
    softness = generator.uniform(1.5, 5.0)
    return between(distance + reach * local * teeth, -softness * 0.6, softness)


def hairs(
    inside: NDArray[np.bool_], centre: tuple[float, float], vigour: NDArray[np.float64], generator: np.random.Generator
) -> list[Hair]:
    """Projections around the whole outline."""
    roots, normals = edge(inside, centre)
    count = int(generator.integers(38, 120))
    weight = vigour[roots[:, 2].astype(int) % ANGLES]
    chosen = generator.choice(len(roots), count, p=weight / weight.sum())
    typical, spread = generator.uniform(3.0, 8.5), generator.uniform(0.35, 0.65)
    thick = generator.uniform(1.4, 3.4)
    lean = 0.5 * envelope(generator) * generator.choice([-1, 1])
    contrast = generator.uniform(0.35, 0.85)
    drawn = []
    for index in chosen:
        row, column, degree = roots[index]
        local = vigour[int(degree) % ANGLES]
        length = min(26.0, typical * local**0.8 * float(np.exp(generator.normal(0, spread))))
        width = thick * float(np.exp(generator.normal(0, 0.4))) * (1 + 0.03 * length)
        direction = normals[index] + generator.normal(0, 0.32) + (lean[int(degree) % ANGLES] * 0.35)
        inwards = generator.uniform(1.0, 3.5)
        root = (row - inwards * np.sin(normals[index]), column - inwards * np.cos(normals[index]))
        drawn.append(
            Hair(
                root=root,
                direction=float(direction),
                length=length + inwards,
                width=float(np.clip(width, 0.9, 6.5)),
                bend=float(generator.normal(0, 0.75)),
                opacity=float(np.clip(contrast * generator.uniform(0.55, 1.15), 0.25, 1.0)),
                tip=float(generator.uniform(0.08, 0.35)),
            )
        )
    return drawn


def ruffles(
    inside: NDArray[np.bool_], centre: tuple[float, float], vigour: NDArray[np.float64], generator: np.random.Generator
) -> Coverage:
    """Projections merged at their base into pale, ragged skirts."""
    roots, normals = edge(inside, centre)
    lace: Coverage = np.zeros(inside.shape, dtype=np.float32)
    for _ in range(int(generator.integers(0, 7))):
        at = int(generator.integers(len(roots)))
        half = int(generator.integers(6, 22))
        span = [(at + k) % len(roots) for k in range(-half, half + 1, 2)]
        height = generator.uniform(4, 13) * vigour[int(roots[at, 2]) % ANGLES] ** 0.5
        lean = generator.normal(0, 0.4)
        outer, inner = [], []
        for place, index in enumerate(span):
            bulge = max(0.0, float(np.sin(np.pi * place / (len(span) - 1)))) ** 0.7
            reach = height * bulge * generator.uniform(0.45, 1.1)
            direction = normals[index] + lean
            outer.append((roots[index, 0] + reach * np.sin(direction), roots[index, 1] + reach * np.cos(direction)))
            inner.append((roots[index, 0] - 4 * np.sin(normals[index]), roots[index, 1] - 4 * np.cos(normals[index])))
        lace = np.maximum(lace, polygon(np.array(outer + inner[::-1])) * generator.uniform(0.35, 0.9))
    veil = between(smooth_noise(generator, 5.0), -2.0, 0.3)
    return lace * (0.45 + 0.55 * veil)


def edge(inside: NDArray[np.bool_], centre: tuple[float, float]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Points of an outline with row, column and degree seen from the centre, ordered by degree; and their normals."""
    smooth = ndimage.gaussian_filter(inside.astype(np.float32), 3.0)
    down, right = np.gradient(-smooth)
    rows, columns = np.nonzero(inside & ~ndimage.binary_erosion(inside))
    degrees = np.degrees(np.arctan2(rows - centre[0], columns - centre[1])) % 360
    order = np.argsort(degrees, kind="stable")
    rows, columns, degrees = rows[order], columns[order], degrees[order]
    normals = np.arctan2(down[rows, columns], right[rows, columns])
    return np.stack([rows, columns, degrees], axis=1).astype(np.float64), normals


def vacuoles(
    picture: Pixels, within: Coverage, nucleus: Outline, ground: Pixels, generator: np.random.Generator
) -> Pixels:
    """A few small pale holes in the cytoplasm of every other cell."""
    if generator.uniform() < 0.5:
        return picture
    free = ndimage.binary_erosion((within > 0.9) & (nucleus.coverage() < 0.1), iterations=4)
    rows, columns = np.nonzero(free)
    if rows.size == 0:
        return picture
    for _ in range(int(generator.integers(1, 5))):
        at = generator.integers(rows.size)
        hole = smooth_outline(generator, (rows[at], columns[at]), generator.uniform(1.2, 3.4), 1.2, 0.1).coverage()
        picture = over(picture, np.broadcast_to(ground, picture.shape), hole * generator.uniform(0.4, 0.85))
    return picture
