"""Barcelona: peripheral blood of healthy donors on a CellaVision DM96, ten expert-labelled classes and platelets."""

from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final

from training.data.images import ImageError, read_pixels
from training.data.manifest import LabelledImage
from training.data.platelets import equivalent_diameter, size_class
from training.data.presets.base import Preset, Skipped, file_prefix

PLATELET_CODE: Final = "PLATELET"


@dataclass(frozen=True, kw_only=True)
class _Barcelona(Preset):
    def row(self, path: Path) -> LabelledImage | Skipped:
        """As every preset, with platelets named by their measured size."""
        return self._platelet(path) if self.code_of(path) == PLATELET_CODE else super().row(path)

    def _platelet(self, path: Path) -> LabelledImage | Skipped:
        try:
            diameter = equivalent_diameter(read_pixels(path))
        except ImageError as error:
            return Skipped(path, str(error), unreadable=True)
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
    labels=MappingProxyType(
        {
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
        }
    ),
    code_of=file_prefix,
    pixels_per_um=10.0,
    scale="360x363 pixels from a CellaVision analyser, cropped at the centre: the scale that this product expects",
)
