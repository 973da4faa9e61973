"""Barcelona: peripheral blood of healthy donors on a CellaVision DM96, ten expert-labelled classes and platelets.

360x363 pixels, cropped at the centre, at the scale that this product expects.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from training.data.images import ImageError, read_pixels
from training.data.manifest import LabelledImage
from training.data.presets.base import Preset, Skipped, file_prefix

PIXELS_PER_MICROMETRE: Final = 10.0
LARGE_FROM_UM: Final = 4.0
GIANT_FROM_UM: Final = 7.0
SMALLEST_REGION_PX: Final = 300
"""A disc of 2 um; smaller regions are debris."""


def equivalent_diameter(pixels: NDArray[np.uint8]) -> float:
    """Diameter in um of the disc with the area of the stained region nearest to the image's centre; 0 if none.

    Platelets are purple: green well below blue, and red not above it. A region that touches another is measured with
    it, so clumped or spread platelets come out too large. ``pixels``: RGB at 10 px/um.
    """
    red, green, blue = np.moveaxis(pixels.astype(np.int16), -1, 0)
    stained = (blue > red - 10) & (green < blue - 25)
    regions, count = ndimage.label(ndimage.binary_fill_holes(ndimage.binary_opening(stained)))
    if count == 0:
        return 0.0
    indices = np.arange(1, count + 1)
    areas = ndimage.sum_labels(stained, regions, indices)
    centres = np.array(ndimage.center_of_mass(regions > 0, regions, indices))
    distances = np.hypot(*(centres - np.array(stained.shape) / 2).T)
    distances[areas < SMALLEST_REGION_PX] = np.inf
    nearest = int(distances.argmin())
    if not np.isfinite(distances[nearest]):
        return 0.0
    area = float((regions == indices[nearest]).sum())
    return 2 * float(np.sqrt(area / np.pi)) / PIXELS_PER_MICROMETRE


def size_class(diameter_um: float) -> str | None:
    """Large thrombocyte from 4 um, Giant thrombocyte from 7 um (about a red cell), else ``None``."""
    if diameter_um >= GIANT_FROM_UM:
        return "Giant thrombocyte"
    return "Large thrombocyte" if diameter_um >= LARGE_FROM_UM else None


PLATELET_CODE: Final = "PLATELET"


@dataclass(frozen=True, kw_only=True)
class _Barcelona(Preset):
    def row(self, path: Path) -> LabelledImage | Skipped:
        """As every preset, with platelets named by their measured size."""
        return self._platelet(path) if self.code_of(path) == PLATELET_CODE else super().row(path)

    def _platelet(self, path: Path) -> LabelledImage | Skipped:
        try:
            diameter = equivalent_diameter(read_pixels(path))
        except ImageError:
            return self.image(path, "")  # 'hal data prepare' decodes every image, and names it or leaves it out
        if (label := size_class(diameter)) is None:
            return Skipped(path, f"platelet of {diameter:.1f} um is neither large nor giant")
        measured = {"evidence": "size-derived", "diameter_um": f"{diameter:.2f}"}
        return self.image(path, label, original_label=PLATELET_CODE, **measured)


PBC: Final = _Barcelona(
    name="pbc",
    title="PBC dataset, normal DIB (Hospital Clinic of Barcelona)",
    licence="CC BY 4.0",
    citation=(
        "Acevedo A, Merino A, Alferez S, Molina A, Boldu L, Rodellar J. A dataset of microscopic peripheral blood cell "
        "images for development of automatic recognition systems. Data in Brief 2020;30:105474. "
        "doi:10.1016/j.dib.2020.105474, doi:10.17632/snkd93bnjr.1"
    ),
    layout="one folder a class, the class code before the underscore of each file name (ig/MMY_1.jpg)",
    labels={
        "BA": "Basophil",
        "EO": "Eosinophil",
        "ERB": "Erythroblast (NRBC)",
        "LY": "Lymphocyte",
        "MO": "Monocyte",
        "SNE": "Segmented neutrophil",
        "BNE": "Band neutrophil",
        "MMY": "Metamyelocyte",
        "MY": "Myelocyte",
        "PMY": "Promyelocyte",
    },
    code_of=file_prefix,
)
