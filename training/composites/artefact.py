"""Artefacts: what an analyser takes for a cell though it is not one, or not one that can be named.

Imitated: stain precipitate, a cell far out of focus, a squashed or torn cell, an empty field, two cells that overlap,
dirt. (ICSH, Palmer et al. 2015; no openly licensed artefacts were available for comparison.)
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from training.composites.background import removed
from training.composites.outline import Coverage, smooth_outline
from training.composites.painting import between, colour, density, photographed
from training.composites.segment import Cell, Pixels
from training.composites.smudge import streaked
from training.composites.sprite import Sprite, cut_out, gentle_warp, laid
from training.composites.texture import smooth_noise


def artefact(cell: Cell, other: Cell, generator: np.random.Generator) -> Pixels:
    """Turn the image into an artefact of a random kind; ``other`` is a second cell, for overlapping ones."""
    draw = KINDS[int(generator.choice(len(KINDS), p=SHARES))]
    return draw(cell, other, generator)


def precipitate(cell: Cell, _other: Cell, generator: np.random.Generator) -> Pixels:
    """Grains of stain, in heaps and strewn, partly out of focus, with or without a cell below."""
    plate = removed(cell, generator) if generator.uniform() < 0.75 else cell.pixels
    heaps = [(cell.centre[0] + generator.normal(0, 14), cell.centre[1] + generator.normal(0, 14))]
    heaps += [tuple(generator.uniform(30, 226, 2)) for _ in range(int(generator.integers(0, 3)))]
    spread = generator.uniform(10, 34)
    count = int(np.exp(generator.uniform(np.log(60), np.log(520))))
    sharp, soft = (np.zeros(plate.shape[:2], dtype=np.float32) for _ in range(2))
    size = generator.uniform(0.9, 2.3)
    for _ in range(count):
        heap = heaps[min(generator.geometric(0.6) - 1, len(heaps) - 1)]
        at = np.array(heap) + generator.normal(0, spread, 2) * np.exp(generator.normal(0, 0.35))
        if generator.uniform() < 0.06:
            at = generator.uniform(0, 256, 2)
        _grain(sharp if generator.uniform() < 0.75 else soft, at, size * np.exp(generator.normal(0, 0.4)))
    film = between(ndimage.gaussian_filter(sharp, 7), 0.05, 0.6) * generator.uniform(0, 0.5)
    grains = np.clip(ndimage.gaussian_filter(sharp, 0.6) + ndimage.gaussian_filter(soft, 2.2) * 1.6, 0, 1)
    stain = np.array([generator.uniform(0.9, 1.5), generator.uniform(1.5, 2.4), generator.uniform(0.35, 0.9)])
    optical = grains[..., None] * stain + film[..., None] * stain * 0.35
    return photographed(_dyed(plate, optical, cell), np.maximum(grains, film), generator)


def _grain(layer: Coverage, at: NDArray[np.float64], radius: float) -> None:
    reach = int(radius + 2)
    row, column = int(at[0]), int(at[1])
    if not (reach <= row < 256 - reach and reach <= column < 256 - reach):
        return
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    disc = np.clip(radius + 0.5 - np.hypot(y - at[0] + row, x - at[1] + column), 0, 1)
    area = layer[row - reach : row + reach + 1, column - reach : column + reach + 1]
    np.maximum(area, disc, out=area)


def _dyed(plate: Pixels, optical: NDArray[np.float64], cell: Cell) -> Pixels:
    return colour((density(plate, cell.ground) + optical).astype(np.float32), cell.ground)


def out_of_focus(cell: Cell, _other: Cell, generator: np.random.Generator) -> Pixels:
    """The whole field far beside the focal plane."""
    blur = generator.uniform(4.5, 9.0)
    picture = ndimage.gaussian_filter(cell.pixels, (blur, blur, 0), mode="reflect")
    noise = ndimage.gaussian_filter(generator.normal(0, 2.0, picture.shape), (0.7, 0.7, 0))
    return np.clip(picture + noise, 0, 255).astype(np.float32)


def squashed(cell: Cell, _other: Cell, generator: np.random.Generator) -> Pixels:
    """The cell torn and drawn out by the wedge, its parts smeared over each other."""
    plate = removed(cell, generator)
    direction = generator.uniform(0, 2 * np.pi)
    wild = gentle_warp(generator, generator.uniform(9, 18), generator.uniform(14, 26))
    torn = cut_out(cell).moved(
        cell.place,
        generator.uniform(0, 2 * np.pi),
        float(generator.uniform(1.05, 1.45)),
        warp=wild,
    )
    length = int(generator.uniform(8, 30))
    smeared = np.stack([streaked(torn.density[..., channel], direction, length) for channel in range(3)], axis=-1)
    cover = streaked(torn.coverage, direction, length)
    grain = np.clip(1 + 0.22 * streaked(smooth_noise(generator, 2.5), direction, 8) * 2, 0.3, 1.8)
    drawn = Sprite(
        (smeared * grain[..., None] * generator.uniform(0.55, 0.95)).astype(np.float32),
        (cover * 0.8).astype(np.float32),
        torn.nucleus,
        torn.centre,
    )
    return photographed(laid(plate, drawn), np.clip(cover * 2, 0, 1), generator)


def empty_field(cell: Cell, _other: Cell, generator: np.random.Generator) -> Pixels:
    everything = cell.stained if generator.uniform() < 0.6 else cell.body
    plate = removed(cell, generator, everything)
    changed = ndimage.gaussian_filter(ndimage.binary_dilation(everything, iterations=4).astype(np.float32), 1.0)
    return photographed(plate, changed, generator)


def overlapping(cell: Cell, other: Cell, generator: np.random.Generator) -> Pixels:
    """Two white cells over each other in the middle."""
    plate = removed(cell, generator)
    angle = generator.uniform(0, 2 * np.pi)
    radii = [float(np.sqrt(each.body.sum() / np.pi)) for each in (cell, other)]
    far = sum(radii) * generator.uniform(0.45, 0.85)
    centre = np.array(cell.centre).clip(112, 144)
    shift = np.array([np.sin(angle), np.cos(angle)]) * far / 2
    first = cut_out(cell).moved(tuple(centre + shift), generator.uniform(0, 2 * np.pi))
    second = cut_out(other).moved(tuple(centre - shift), generator.uniform(0, 2 * np.pi))
    both = np.minimum(first.coverage, second.coverage)[..., None]
    optical = np.maximum(first.density, second.density) + both * 0.45 * np.minimum(first.density, second.density)
    coverage = np.maximum(first.coverage, second.coverage)
    drawn = Sprite(optical.astype(np.float32), coverage, np.maximum(first.nucleus, second.nucleus), cell.centre)
    return photographed(laid(plate, drawn), coverage, generator)


def dirt(cell: Cell, _other: Cell, generator: np.random.Generator) -> Pixels:
    """A lump, fibre or scale of dirt, brown to black, often out of focus."""
    plate = removed(cell, generator)
    at = (float(128 + generator.normal(0, 12)), float(128 + generator.normal(0, 12)))
    long = float(np.exp(generator.uniform(0, np.log(5))))
    shape = smooth_outline(generator, at, generator.uniform(14, 40), long, generator.uniform(0.1, 0.3), (2, 16))
    coverage = ndimage.gaussian_filter(shape.coverage(), generator.uniform(0.6, 3.5))
    depth = coverage * np.clip(1 + 0.45 * smooth_noise(generator, generator.uniform(3, 10)), 0.1, 2.5)
    stain = np.array([generator.uniform(0.5, 1.3), generator.uniform(0.6, 1.5), generator.uniform(0.5, 1.6)])
    return photographed(_dyed(plate, depth[..., None] * stain, cell), coverage, generator)


KINDS: Final = (precipitate, out_of_focus, squashed, empty_field, overlapping, dirt)
SHARES: Final = (0.26, 0.18, 0.20, 0.12, 0.14, 0.10)
"""Of artefacts, by kind."""
