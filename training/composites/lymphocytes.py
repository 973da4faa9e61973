"""Abnormal and reactive lymphocytes, and plasma cells.

Morphology imitated: thesis section 2.3 with Figures 2.3 and 4.2, and the terms of the ICSH (Palmer et al. 2015, "ICSH
recommendations for the standardization of nomenclature and grading of peripheral blood cell morphological features").

*Abnormal* (neoplastic) lymphocytes vary widely: small cells with cleft nuclei (follicular lymphoma), clumped "football"
chromatin (chronic lymphocytic leukaemia), convoluted nuclei (Sezary), one large nucleolus (prolymphocytes), large cells
with irregular nuclei and blue cytoplasm. Some carry short villi at one or two poles (splenic marginal zone lymphoma),
the look-alike of hairy cells that section 2.3.1 names.

*Reactive* lymphocytes are large, with abundant pale cytoplasm that is darker at its rim and moulded around the red
cells that it touches, and a large, often indented nucleus.

*Plasma cells* are oval, with a round nucleus at one end, chromatin in dark blocks near the membrane (clock face), deep
blue cytoplasm and a pale zone beside the nucleus where the Golgi apparatus lies; some have vacuoles.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from training.composites.background import removed
from training.composites.hairy import edge, softened, vacuoles
from training.composites.nucleus import NuclearAppearance, finished
from training.composites.outline import (
    Coverage,
    Hair,
    Outline,
    bearing,
    dented,
    signed_distance,
    smooth_outline,
    strokes,
)
from training.composites.painting import between, over
from training.composites.segment import Cell, Mask, Pixels
from training.composites.texture import Material, smooth_noise

KINDS: Final = ("cleft", "clumped", "convoluted", "nucleolated", "large", "villous")
SHARES: Final = (0.24, 0.16, 0.16, 0.14, 0.14, 0.16)


def abnormal_lymphocyte(cell: Cell, chromatin: Material, cytoplasm: Material, generator: np.random.Generator) -> Pixels:
    """Replace the central cell by an abnormal lymphocyte; one in six has polar villi."""
    kind = str(generator.choice(KINDS, p=SHARES))
    plate = removed(cell, generator)
    radius = float(generator.normal(38, 4))
    ratio = generator.uniform(1.06, 1.3)
    if kind == "large":
        radius, ratio = float(generator.normal(50, 5)), generator.uniform(1.12, 1.4)
    elif kind == "nucleolated":
        radius, ratio = float(generator.normal(42, 4)), generator.uniform(1.15, 1.4)
    elif kind == "villous":
        ratio = generator.uniform(1.15, 1.4)
    radius = float(np.clip(radius, 28, 62))
    body = smooth_outline(
        generator, cell.place, radius * ratio, generator.uniform(1.0, 1.3), generator.uniform(0.015, 0.05)
    )
    nucleus = _abnormal_nucleus(kind, body, radius, generator)
    within = np.maximum(body.coverage(), Outline(nucleus.centre, nucleus.radii + generator.uniform(0.5, 3)).coverage())
    distance = signed_distance(within > 0.5)
    opacity = between(distance + generator.uniform(0.3, 1.0) * smooth_noise(generator, 3), -1.9, 2.3)
    if kind == "villous":
        opacity = np.maximum(opacity, softened(_polar_villi(within > 0.5, body, generator), distance, generator))
    blue = generator.uniform(0.8, 1.6) if kind == "large" else generator.uniform(0.65, 1.25)
    tint = np.array([generator.uniform(1.0, 1.2), 1.0, generator.uniform(0.75, 1.0)], dtype=np.float32)
    stained = cytoplasm.on(cell.ground).stained(blue, tint, generator.uniform(0.6, 1.0))
    shade = 0.3 * smooth_noise(generator, 12) - generator.uniform(0, 0.8) * between(-distance, -6, 0)
    picture = over(plate, stained.pour(opacity > 0, generator, shade), opacity)
    look = NuclearAppearance(
        strength=generator.uniform(0.85, 1.05),
        contrast=generator.uniform(0.85, 1.1),
        membrane=generator.uniform(0.3, 0.8),
        clumps=generator.uniform(0.55, 0.95)
        if kind == "clumped"
        else generator.choice([0.0, generator.uniform(0.2, 0.5)]),
        clump_px=generator.uniform(12, 18),
        nucleoli=_nucleoli(kind, generator),
    )
    return finished(picture, opacity, nucleus, chromatin.on(cell.ground), look, generator)


def _nucleoli(kind: str, generator: np.random.Generator) -> int:
    if kind == "nucleolated":
        return 1
    return int(generator.integers(1, 4)) if kind == "large" else int(generator.uniform() < 0.15)


def _abnormal_nucleus(kind: str, body: Outline, radius: float, generator: np.random.Generator) -> Outline:
    room = max(0.0, body.radii.mean() - radius)
    shift, towards = room * generator.beta(1.5, 1.5), generator.uniform(0, 2 * np.pi)
    centre = (body.centre[0] + shift * np.sin(towards), body.centre[1] + shift * np.cos(towards))
    wobble = {"convoluted": 0.07, "large": 0.05}.get(kind, 0.02)
    nucleus = smooth_outline(
        generator, centre, radius, 1 + abs(generator.normal(0.1, 0.12)), wobble, (2, 11 if kind == "convoluted" else 6)
    )
    cuts = {"cleft": (1, 3), "convoluted": (2, 5), "large": (0, 3), "villous": (0, 2), "nucleolated": (0, 2)}
    low, high = cuts.get(kind, (0, 1))
    at = generator.uniform(0, 2 * np.pi)
    for _ in range(int(generator.integers(low, high)) if high > low else 0):
        nucleus = dented(nucleus, at, generator.uniform(0.25, 0.75), generator.uniform(0.05, 0.2))
        at += generator.uniform(1.2, 3.2)
    if generator.uniform() < 0.35:
        nucleus = dented(nucleus, at, generator.uniform(0.08, 0.25), generator.uniform(0.3, 0.7))
    return nucleus


def _polar_villi(inside: Mask, body: Outline, generator: np.random.Generator) -> Coverage:
    """Short villi within 30 to 50 degrees of one pole or two opposite ones."""
    roots, normals = edge(inside, body.centre)
    first = generator.uniform(0, 360)
    poles = [first, first + generator.normal(180, 15)][: int(generator.integers(1, 3))]
    half = generator.uniform(14, 28)
    length, width = generator.uniform(4, 9), generator.uniform(1.6, 3.2)
    drawn: list[Hair] = []
    for pole in poles:
        away = np.abs((roots[:, 2] - pole + 180) % 360 - 180)
        near = np.flatnonzero(away < half)
        chosen = generator.choice(near, min(len(near), int(generator.integers(6, 16))))
        drawn += [_villus(roots[i], float(normals[i]), length, width, generator) for i in chosen]
    return strokes(drawn)


def _villus(
    root: NDArray[np.float64], normal: float, length: float, width: float, generator: np.random.Generator
) -> Hair:
    return Hair(
        root=(root[0] - 2 * np.sin(normal), root[1] - 2 * np.cos(normal)),
        direction=normal + generator.normal(0, 0.3),
        length=float(length * np.exp(generator.normal(0, 0.35))) + 2,
        width=float(width * np.exp(generator.normal(0, 0.3))),
        bend=float(generator.normal(0, 0.6)),
        opacity=float(generator.uniform(0.45, 0.95)),
        tip=float(generator.uniform(0.15, 0.5)),
    )


def reactive_lymphocyte(cell: Cell, chromatin: Material, cytoplasm: Material, generator: np.random.Generator) -> Pixels:
    """Replace the central cell by a reactive lymphocyte that presses against its neighbours."""
    plate = removed(cell, generator)
    radius = float(np.clip(generator.normal(43, 5), 34, 56))
    body = smooth_outline(
        generator,
        cell.place,
        radius * generator.uniform(1.55, 2.15),
        generator.uniform(1.0, 1.45),
        generator.uniform(0.04, 0.10),
        (2, 6),
    )
    for _ in range(int(generator.integers(0, 4))):
        body = dented(body, generator.uniform(0, 2 * np.pi), generator.uniform(0.1, 0.32), generator.uniform(0.2, 0.5))
    shift, towards = radius * generator.uniform(0.05, 0.5), generator.uniform(0, 2 * np.pi)
    centre = (body.centre[0] + shift * np.sin(towards), body.centre[1] + shift * np.cos(towards))
    nucleus = smooth_outline(generator, centre, radius, 1 + abs(generator.normal(0.2, 0.15)), 0.035)
    if generator.uniform() < 0.5:
        nucleus = dented(
            nucleus, generator.uniform(0, 2 * np.pi), generator.uniform(0.1, 0.35), generator.uniform(0.2, 0.7)
        )
    within = _moulded(body, nucleus, cell)
    distance = signed_distance(within)
    opacity = between(distance + 0.8 * smooth_noise(generator, 4), -2.0, 2.4)
    strength = generator.uniform(0.55, 0.95)
    tint = np.array([generator.uniform(1.02, 1.22), 1.0, generator.uniform(0.72, 0.95)], dtype=np.float32)
    example = cytoplasm.on(cell.ground)
    pale = example.stained(strength, tint, generator.uniform(0.55, 0.9))
    deep = example.stained(strength * generator.uniform(1.4, 2.0), tint, generator.uniform(0.6, 1.0))
    uneven = 0.35 * smooth_noise(generator, 16)
    inner = pale.pour(opacity > 0, generator, uneven)
    # The rim is deepest where the cell touches a red one.
    touching = ndimage.gaussian_filter(ndimage.binary_dilation(cell.field, iterations=5).astype(np.float32), 3)
    reach = generator.uniform(5, 16) * (0.6 + 0.4 * smooth_noise(generator, 30))
    rim = between(reach.astype(np.float32) - distance, -4, 8) * (generator.uniform(0.35, 0.8) + 0.35 * touching)
    rim = np.clip(rim, 0, 1).astype(np.float32)
    picture = over(plate, over(inner, deep.pour(opacity > 0, generator, uneven), rim), opacity)
    look = NuclearAppearance(
        strength=generator.uniform(0.75, 1.0),
        contrast=generator.uniform(0.8, 1.05),
        membrane=generator.uniform(0.2, 0.8),
        unevenness=0.35,
        size=generator.uniform(6, 11),
        nucleoli=int(generator.uniform() < 0.25),
    )
    return finished(picture, opacity, nucleus, chromatin.on(cell.ground), look, generator)


def _moulded(body: Outline, nucleus: Outline, cell: Cell) -> Mask:
    """The body without what its red neighbours take, in one piece with the nucleus."""
    red = ndimage.binary_opening(ndimage.binary_fill_holes(cell.field), iterations=9)
    core = Outline(nucleus.centre, nucleus.radii + 2).coverage() > 0.5
    free = ((body.coverage() > 0.5) & ~ndimage.binary_dilation(red, iterations=1)) | core
    free = ndimage.binary_opening(free, iterations=5) | core
    regions, _ = ndimage.label(free)
    kept = ndimage.binary_fill_holes(regions == np.bincount(regions[core]).argmax())
    return (ndimage.gaussian_filter(kept.astype(np.float32), 2.5) > 0.5) | core


def plasma_cell(cell: Cell, chromatin: Material, cytoplasm: Material, generator: np.random.Generator) -> Pixels:
    plate = removed(cell, generator)
    radius = float(np.clip(generator.normal(32, 3.5), 25, 42))
    size = radius * generator.uniform(1.5, 2.0)
    body = smooth_outline(generator, cell.place, size, generator.uniform(1.05, 1.45), generator.uniform(0.015, 0.05))
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
    return finished(picture, opacity, nucleus, chromatin.on(cell.ground), clock_face, generator)
