"""Online augmentation: random contrast, rotation, translation and zoom (thesis section 4.2.5), and beyond it stain.

The layers belong to the network and run before the rescaling, on pixel values 0 to 255. They are Keras 3's, which
differ from the thesis's TensorFlow 2.7 in one thing that matters: ``RandomContrast`` draws its factor for each image,
not for the batch, and clips the result to 0-255. The factor of ``RandomZoom`` has the opposite sign of the thesis's
text, which makes no difference to a symmetric interval.
"""

from typing import TYPE_CHECKING, Final, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

if TYPE_CHECKING:
    import keras

STAINS: Final = np.array([[0.65, 0.70, 0.29], [0.07, 0.99, 0.11], [0.27, 0.57, 0.78]])
"""Optical density in red, green and blue of a unit of haematoxylin, eosin and the rest (Ruifrok, Johnston 2001)."""


class Augmentation(BaseModel):
    """Bounds of the random transformations (Tables 4.5 and 4.10).

    Attributes:
        contrast: C; the contrast factor is drawn from ``[1 - C, 1 + C]``.
        rotation: r; the angle is drawn from ``[-2 pi r, 2 pi r]``.
        translation: t; the shift in each direction is drawn from ``[-t, t]`` of the side.
        zoom: z; the zoom is drawn from ``[-z, z]``, the same in both directions.
        mirror: whether half of the images are mirrored; cells have no handedness. Not in the thesis.
        stain: s; see :class:`training.networks.styles.StainJitter`. Not in the thesis, whose images came from one
            kind of analyser.
        brightness: b; every pixel is multiplied by a factor drawn from ``[1 - b, 1 + b]``. Not in the thesis.
        styles: whether views get photometric styles (:mod:`training.networks.styles`). Not in the thesis.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    contrast: float = Field(ge=0, lt=1)
    rotation: float = Field(ge=0, le=1)
    translation: float = Field(ge=0, lt=1)
    zoom: float = Field(ge=0, lt=1)
    mirror: bool = False
    stain: float = Field(default=0.0, ge=0, lt=1)
    brightness: float = Field(default=0.0, ge=0, lt=1)
    styles: bool = False
    fill_mode: Literal["reflect", "constant", "wrap", "nearest"] = "reflect"

    def layer(self, seed: int) -> "keras.Layer":
        """The layer: pixels 0 to 255 in, the same out; the identity outside training. Shape: ``(n, h, w, 3)``."""
        import keras  # takes seconds, which a list of recipes must not

        from training.networks.styles import PhotometricStyle, StainJitter

        fill = self.fill_mode
        return keras.Sequential(
            [
                keras.layers.RandomContrast(self.contrast, value_range=(0, 255), seed=seed, dtype="float32"),
                keras.layers.RandomRotation(self.rotation, fill_mode=fill, seed=seed + 1, dtype="float32"),
                keras.layers.RandomTranslation(
                    self.translation, self.translation, fill_mode=fill, seed=seed + 2, dtype="float32"
                ),
                keras.layers.RandomZoom(self.zoom, fill_mode=fill, seed=seed + 3, dtype="float32"),
                *([keras.layers.RandomFlip("horizontal", seed=seed + 4, dtype="float32")] if self.mirror else []),
                *([StainJitter(self.stain, self.brightness, seed=seed + 5)] if self.stain or self.brightness else []),
                *([PhotometricStyle(seed=seed + 6)] if self.styles else []),
            ],
            name="augmentation",
        )


PROJECTION_AUGMENTATION = Augmentation(contrast=0.5, rotation=0.5, translation=0.1, zoom=0.1)
"""Table 4.10, encoder and projection head."""
CLASSIFIER_AUGMENTATION = Augmentation(contrast=0.1, rotation=0.5, translation=0.05, zoom=0.05)
"""Table 4.10, classifier; Table 4.5, transfer learning."""
