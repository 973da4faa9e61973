"""Optical density, and putting a drawn cell onto a smear with the microscope's focus and the camera's sharpening."""

from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from training.composites.outline import Coverage
from training.composites.segment import Pixels

UNSHARP_RADIUS_PX: Final = 1.6


def density(pixels: Pixels, ground: Pixels) -> Pixels:
    """Optical density against the background, by Beer and Lambert. Shape: as ``pixels``."""
    return -np.log((pixels + 1) / (ground + 1))


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


def over(below: Pixels, colours: Pixels, opacity: Coverage) -> Pixels:
    """Paint colours with an opacity of 0 to 1."""
    weight = opacity[..., None]
    return below * (1 - weight) + colours * weight


def photographed(drawn: Pixels, touched: Coverage, generator: np.random.Generator) -> Pixels:
    """Blur and sharpen what was drawn, where ``touched`` is above 0; the rest was photographed already.

    Focus (a blur in pixels) and amount of the camera's unsharp mask differ slightly from image to image.
    """
    blur, amount = generator.uniform(0.45, 0.8), generator.uniform(0.3, 0.85)
    near = ndimage.maximum_filter(touched, 5)
    weight = np.clip(ndimage.gaussian_filter(near, 1.0), 0, 1)[..., None]
    soft = ndimage.gaussian_filter(drawn, (blur, blur, 0))
    halo = ndimage.gaussian_filter(soft, (UNSHARP_RADIUS_PX, UNSHARP_RADIUS_PX, 0))
    return np.clip(drawn * (1 - weight) + (soft + amount * (soft - halo)) * weight, 0, 255)


def between(values: NDArray[np.float32], low: float, high: float) -> Coverage:
    """0 below ``low``, 1 above ``high``, smooth between."""
    share = np.clip((values - low) / (high - low), 0, 1)
    return (share * share * (3 - 2 * share)).astype(np.float32)
