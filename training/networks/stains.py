"""Optical density of the dyes of a stained smear; apart from the layers, since not all who need it need Keras."""

from typing import Final

import numpy as np

STAINS: Final = np.array([[0.65, 0.70, 0.29], [0.07, 0.99, 0.11], [0.27, 0.57, 0.78]])
"""Optical density in red, green and blue of a unit of haematoxylin, eosin and the rest (Ruifrok, Johnston 2001)."""
