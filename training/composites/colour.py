"""Optical density: stains add up there, so a cell becomes paler, deeper or bluer within the smear's own colours."""

import numpy as np
from numpy.typing import NDArray

from training.composites.segment import Pixels


def density(pixels: Pixels, ground: Pixels) -> Pixels:
    """Optical density against the background, by Beer and Lambert. Shape: as ``pixels``."""
    result: Pixels = -np.log((pixels + 1) / (ground + 1))
    return result


def colour(optical_density: Pixels, ground: Pixels) -> Pixels:
    """RGB of an optical density, the inverse of :func:`density`, clipped to 0 to 255."""
    result: Pixels = np.clip((ground + 1) * np.exp(-optical_density) - 1, 0, 255)
    return result


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
