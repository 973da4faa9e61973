"""Photometric styles: training views as other laboratories' stains and cameras would show them.

A network that has seen one hospital's images is overconfident on every other hospital's. So each view gets a style of
its own: light, colour, stain, focus, noise and compression, drawn independently of the class, so that no class has a
style. Half of the views have a strong style, some a mild one, the rest none. Shapes never change; a change of scale
belongs to :attr:`training.networks.augmentation.Augmentation.zoom`.
"""

from typing import Any, Final

import keras
import numpy as np
import tensorflow as tf

from contract.parts import IMAGE_SIDE
from training.networks.augmentation import STAINS


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


STRENGTHS: Final = (0.0, 0.35, 1.0)
"""No style, a mild and a strong one."""
SHARES: Final = (0.2, 0.3, 0.5)
"""Of the views, in the order of :data:`STRENGTHS`."""

# Bounds of a strong style: logarithmic for cast, gamma and light, relative for stain, contrast and saturation,
# pixels of an image of 256 for blur, levels of 255 for noise.
STAIN: Final = 0.35
CAST: Final = 0.18
GAMMA: Final = 0.35
SATURATION: Final = 0.5
CONTRAST: Final = 0.3
LIGHT: Final = 0.15
BLUR: Final = 2.0
NOISE: Final = 8.0
JPEG_SHARE: Final = 0.4
JPEG_QUALITY: Final = (30, 90)


class PhotometricStyle(keras.layers.Layer):  # type: ignore[misc]  # Keras has no types
    """A random style for each image; the identity outside training.

    In the order in which an image comes about: the amounts of the stains (optical density, Ruifrok and Johnston 2001),
    white balance and brightness of the light, defocus and motion (a Gaussian with two widths and an angle), gamma,
    contrast and saturation of the camera, sensor noise, JPEG.

    Args:
        seed: of the draws.
    """

    def __init__(self, seed: int) -> None:
        super().__init__(name="photometric_style", dtype="float32")
        self.seed_generator = keras.random.SeedGenerator(seed)

    def call(self, pixels: Any, training: bool = False) -> Any:
        """Pixels 0 to 255 in, the same out. Shape: ``(n, h, w, 3)``."""
        if not training:
            return pixels
        count = tf.shape(pixels)[0]

        def drawn(low: float, high: float, amounts: int = 1) -> Any:
            return keras.random.uniform((count, 1, 1, amounts), low, high, seed=self.seed_generator)

        kind = drawn(0.0, 1.0)
        strength = tf.where(
            kind < SHARES[0], STRENGTHS[0], tf.where(kind < SHARES[0] + SHARES[1], STRENGTHS[1], STRENGTHS[2])
        )

        def about_zero(bound: float, amounts: int = 1) -> Any:
            return drawn(-bound, bound, amounts) * strength

        density = -tf.math.log((pixels + 1.0) / 256.0)
        stains = tf.matmul(tf.reshape(density, (count, -1, 3)), np.linalg.inv(STAINS).astype(np.float32)[None])
        stains *= 1.0 + about_zero(STAIN, 3)[:, 0]
        density = tf.reshape(tf.matmul(stains, STAINS.astype(np.float32)[None]), tf.shape(density))
        light = tf.exp(about_zero(CAST, 3) + about_zero(LIGHT) - density)
        light = _blurred(light, drawn(0.0, BLUR, 2) * strength, drawn(0.0, np.pi))
        light = tf.clip_by_value(light, 1e-4, 1.0)
        light = light ** tf.exp(about_zero(GAMMA))
        mean = tf.reduce_mean(light, axis=(1, 2, 3), keepdims=True)
        light = mean + (light - mean) * (1.0 + about_zero(CONTRAST))
        grey = tf.reduce_mean(light, axis=3, keepdims=True)
        light = grey + (light - grey) * (1.0 + about_zero(SATURATION))
        noise = keras.random.normal(tf.shape(light), seed=self.seed_generator) * drawn(0.0, NOISE) * strength
        styled = tf.clip_by_value(light * 255.0 + noise, 0.0, 255.0)
        styled = tf.where(strength > 0, styled, pixels)
        quality = tf.cast(drawn(float(JPEG_QUALITY[0]), float(JPEG_QUALITY[1])), tf.int32)[:, 0, 0, 0]
        compressed = (drawn(0.0, 1.0) < JPEG_SHARE * strength)[:, 0, 0, 0]
        return tf.map_fn(_through_jpeg, (styled, quality, compressed), fn_output_signature=tf.float32)


def _blurred(light: Any, widths: Any, angle: Any) -> Any:
    """Convolution with a Gaussian, in the frequency domain: two standard deviations and an angle an image.

    Standard deviations are in pixels of an image of 256, whatever size it is trained at.
    """
    height, width = light.shape[1], light.shape[2]
    widths = widths * (height / IMAGE_SIDE)
    down = np.fft.fftfreq(height).astype(np.float32)[None, :, None, None]
    right = np.fft.rfftfreq(width).astype(np.float32)[None, None, :, None]
    along = right * tf.cos(angle) + down * tf.sin(angle)
    across = down * tf.cos(angle) - right * tf.sin(angle)
    response = tf.exp(-2 * np.pi**2 * ((widths[..., :1] * along) ** 2 + (widths[..., 1:] * across) ** 2))
    spectrum = tf.signal.rfft2d(tf.transpose(light, (0, 3, 1, 2)))
    spectrum *= tf.cast(tf.transpose(response, (0, 3, 1, 2)), tf.complex64)
    return tf.transpose(tf.signal.irfft2d(spectrum, (height, width)), (0, 2, 3, 1))


def _through_jpeg(image: Any) -> Any:
    styled, quality, compressed = image

    def through() -> Any:
        whole = tf.cast(tf.round(styled), tf.uint8)
        return tf.cast(tf.image.adjust_jpeg_quality(whole, quality), tf.float32)

    return tf.cond(compressed, through, lambda: styled)
