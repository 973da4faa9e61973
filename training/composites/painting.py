"""Optical density, and putting a drawn cell onto a smear with the microscope's focus and the camera's sharpening."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from training.composites.outline import Coverage
from training.composites.segment import Pixels


def density(pixels: Pixels, ground: Pixels) -> Pixels:
    """Optical density against the background, by Beer and Lambert. Shape: as ``pixels``."""
    result: Pixels = -np.log((pixels + 1) / (ground + 1))
    return result


def colour(optical_density: Pixels, ground: Pixels) -> Pixels:
    """RGB of an optical density, the inverse of :func:`density`, clipped to 0 to 255."""
    return np.clip((ground + 1) * np.exp(-optical_density) - 1, 0, 255)


def restained(
    pixels: Pixels, ground: Pixels, strength: float, tint: NDArray[np.float32] | None = None, contrast: float = 1.0
) -> Pixels:
    """The same texture with another amount of stain.

    Args:
        pixels: colours of one material. Shape: ``(n, 3)``.
        strength: factor of the mean density.
        tint: further factors by channel; above 1 in red makes bluer.
        contrast: factor of the deviations from the mean density, beyond the one that the strength brings.
    """
    values = density(pixels, ground)
    mean = values.mean(axis=0)
    target = mean * strength * (1 if tint is None else tint)
    return colour((target + contrast * strength * (values - mean)).astype(np.float32), ground)


@dataclass(frozen=True, slots=True)
class Optics:
    """How a drawn edge becomes a photographed one.

    Attributes:
        blur: standard deviation of the focus, in pixels.
        radius: of the camera's unsharp mask, in pixels.
    """

    blur: float
    radius: float
    amount: float


def optics(generator: np.random.Generator) -> Optics:
    """Slightly different for every image, as focus is."""
    return Optics(float(generator.uniform(0.45, 0.8)), 1.6, float(generator.uniform(0.3, 0.85)))


def over(below: Pixels, colours: Pixels, opacity: Coverage) -> Pixels:
    """Paint colours with an opacity of 0 to 1."""
    weight = opacity[..., None]
    return below * (1 - weight) + colours * weight


def photographed(drawn: Pixels, touched: Coverage, lens: Optics) -> Pixels:
    """Blur and sharpen where something was drawn; the rest was photographed already.

    Args:
        touched: 0 to 1, what was drawn.
    """
    near = ndimage.maximum_filter(touched, 5)
    weight = np.clip(ndimage.gaussian_filter(near, 1.0), 0, 1)[..., None]
    soft = ndimage.gaussian_filter(drawn, (lens.blur, lens.blur, 0))
    halo = ndimage.gaussian_filter(soft, (lens.radius, lens.radius, 0))
    sharp = soft + lens.amount * (soft - halo)
    result: Pixels = np.clip(drawn * (1 - weight) + sharp * weight, 0, 255)
    return result


def between(values: NDArray[np.float32], low: float, high: float) -> Coverage:
    """0 below ``low``, 1 above ``high``, smooth between."""
    share = np.clip((values - low) / (high - low), 0, 1)
    result: Coverage = (share * share * (3 - 2 * share)).astype(np.float32)
    return result
