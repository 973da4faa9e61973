"""Raabin-WBC: peripheral blood photographed with two smartphones on two microscopes, five classes.

The cropped cells on which two experts agreed. The experts' single labels are not published, so no ``expert_labels`` are
written. The part of a file's name before the first underscore stands for the smear (``95-5-10-1_34_2.jpg``) or, for the
basophils, for the day on which it was photographed (``20190526_163608_1.jpg``).
"""

from pathlib import Path
from types import MappingProxyType
from typing import Final

from training.data.presets.base import Preset


def smear(path: Path) -> str:
    """The smear of an image, from its file name; empty where the name has no underscore."""
    name, separator, _ = path.stem.partition("_")
    return name if separator else ""


RAABIN: Final = Preset(
    name="raabin",
    title="Raabin-WBC, double-labelled cropped cells",
    licence="free for commercial and non-commercial use, as reported of the dataset's page; article CC BY 4.0",
    citation=(
        "Mousavi Kouzehkanan Z, Saghari S, Tavakoli S, et al. A large dataset of white blood cells containing cell "
        "locations and types, along with segmented nuclei and cytoplasm. Scientific Reports 2022;12:1123. "
        "doi:10.1038/s41598-021-04426-x"
    ),
    layout="one folder a class, in Train, TestA and TestB or not (Train/Basophil/*.jpg)",
    labels=MappingProxyType(
        {"Basophil": "Basophil", "Eosinophil": "Eosinophil", "Lymphocyte": "Lymphocyte", "Monocyte": "Monocyte"}
    ),
    left_out=MappingProxyType({"Neutrophil": "band and segmented neutrophils are not told apart"}),
    slide_of=smear,
    scale=(
        "575x575 pixels, cropped at the centre; the scale is not published, differs between the two microscopes, and "
        "is so much larger than the analyser's that the crop cuts into large cells: for tests of robustness, not for "
        "learning sizes"
    ),
)
