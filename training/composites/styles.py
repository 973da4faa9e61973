"""Two laboratories from one: stain, light and camera of a demonstration set's second source.

The thesis's networks had learned to tell databases apart, not cells (section 4.4). To show that in minutes, a
demonstration set has two sources of which one is made to look different, in the way in which laboratories differ: other
amounts of the two dyes, another lamp, another sharpness and noise. The change is the same for real, composite and
edited images, and varies a little from image to image.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

DYES: Final = np.array([[0.62, 0.70, 0.35], [0.12, 0.80, 0.58]])
"""Directions of azure and eosin in optical density (red, green, blue), from the colours of Barcelona's nuclei and red
cells."""


@dataclass(frozen=True, slots=True)
class StainStyle:
    """How a source's images differ from Barcelona's.

    Attributes:
        azure, eosin: factors of the two dyes.
        light: factor of each channel's brightness.
        blur: of the focus, in pixels.
        noise: standard deviation of the camera's, 0 to 255.
        spread: standard deviation of all factors from image to image.
    """

    azure: float = 1.0
    eosin: float = 1.0
    light: tuple[float, float, float] = (1.0, 1.0, 1.0)
    blur: float = 0.0
    noise: float = 0.0
    spread: float = 0.0

    def applied(self, pixels: NDArray[np.uint8], key: str) -> NDArray[np.uint8]:
        """The image in this style; ``key`` (hexadecimal) seeds the small differences between images.

        Images with one key, such as a parent and its child, differ in the same way.
        """
        if self == BARCELONA:
            return pixels
        generator = np.random.default_rng(int(key[:16], 16))
        azure, eosin, *light = np.array([self.azure, self.eosin, *self.light]) * np.exp(
            generator.normal(0, self.spread, 5)
        )
        density = -np.log((pixels.astype(np.float64) + 1) / 256)
        amounts = density @ np.linalg.pinv(DYES)
        rest = density - amounts @ DYES
        stained = (amounts * (azure, eosin)) @ DYES + rest
        image = (256 * np.exp(-stained) - 1) * light
        image = ndimage.gaussian_filter(image, (self.blur, self.blur, 0)) if self.blur else image
        image += generator.normal(0, self.noise, image.shape) if self.noise else 0
        result: NDArray[np.uint8] = np.clip(np.round(image), 0, 255).astype(np.uint8)
        return result


BARCELONA: Final = StainStyle()
SECOND_LABORATORY: Final = StainStyle(
    azure=0.86, eosin=0.72, light=(0.90, 0.95, 1.06), blur=0.9, noise=2.0, spread=0.03
)
