"""Layers that change light, colour and sharpness of training images, and never shapes."""

from typing import Any

import keras
import numpy as np

from training.networks.stains import STAINS


class StainJitter(keras.layers.Layer):  # type: ignore[misc]  # Keras has no types
    """More or less of each stain, and of light: what differs from one laboratory and microscope to the next.

    The optical density of every pixel is taken apart into haematoxylin, eosin and a rest, each amount is scaled by a
    factor and shifted, both drawn for the image, and the image is put together again (Tellez et al. 2018, "Whole-slide
    mitosis detection in H&E breast histology", IEEE TMI 37). May-Gruenwald-Giemsa has other dyes, but also a blue and
    a red one. The identity outside training.

    Args:
        stain: s; factors are drawn from ``[1 - s, 1 + s]``, shifts from ``[-s, s]`` (natural logarithm).
        brightness: b; the light is multiplied by a factor from ``[1 - b, 1 + b]``.
        seed: of the draws.
    """

    def __init__(self, stain: float, brightness: float, seed: int) -> None:
        super().__init__(name="stain_jitter", dtype="float32")
        self.stain = stain
        self.brightness = brightness
        self.seed_generator = keras.random.SeedGenerator(seed)

    def call(self, pixels: Any, training: bool = False) -> Any:
        """Pixels 0 to 255 in, the same out. Shape: ``(n, h, w, 3)``."""
        if not training:
            return pixels

        def drawn(centre: float, bound: float, amounts: int) -> Any:
            shape = (keras.ops.shape(pixels)[0], 1, 1, amounts)
            return keras.random.uniform(shape, centre - bound, centre + bound, seed=self.seed_generator)

        density = -keras.ops.log((pixels + 1.0) / 256.0)
        amounts = keras.ops.matmul(density, np.linalg.inv(STAINS).astype(np.float32))
        amounts = amounts * drawn(1.0, self.stain, 3) + drawn(0.0, self.stain, 3)
        light = keras.ops.exp(-keras.ops.matmul(amounts, STAINS.astype(np.float32)))
        return keras.ops.clip(light * drawn(1.0, self.brightness, 1) * 256.0 - 1.0, 0.0, 255.0)
