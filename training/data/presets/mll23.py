"""MLL23: peripheral blood of the Munich Leukemia Laboratory, 41,621 cells in 18 classes, 3,265 of them hairy cells.

The largest open set with hairy cells. Class names and counts are those of ``labels_MLL23.csv`` in the authors'
repository (marrlab/MLL23); each class is a ZIP file, whose unpacked folder may hold a folder of the same name.
"""

from types import MappingProxyType
from typing import Final

from training.data.presets.base import Preset

MLL23: Final = Preset(
    name="mll23",
    title="MLL23, single cells of peripheral blood (Munich Leukemia Laboratory)",
    licence="as stated in Zenodo record 14277609; read it before sharing anything made from these images",
    citation=(
        "Shetab Boushehri S, Kazeminia S, Gruber A, Matek C, Spiekermann K, Pohlkamp C, Haferlach T, Marr C. A large "
        "expert-annotated single-cell peripheral blood dataset for hematological disease diagnostics. Scientific Data "
        "2025;12:1773. doi:10.1038/s41597-025-06223-x, doi:10.5281/zenodo.14277609"
    ),
    layout="one folder a class (hairy_cell/*.tif)",
    labels=MappingProxyType(
        {
            "basophil": "Basophil",
            "eosinophil": "Eosinophil",
            "hairy_cell": "Hairy cell",
            "lymphocyte": "Lymphocyte",
            "lymphocyte_neoplastic": "Abnormal lymphocyte",
            "lymphocyte_reactive": "Reactive lymphocyte",
            "metamyelocyte": "Metamyelocyte",
            "monocyte": "Monocyte",
            "myeloblast": "Blast (no lineage spec)",
            "myelocyte": "Myelocyte",
            "neutrophil_band": "Band neutrophil",
            "neutrophil_segmented": "Segmented neutrophil",
            "normoblast": "Erythroblast (NRBC)",
            "plasma_cell": "Plasma cell",
            "promyelocyte": "Promyelocyte",
            "smudge_cell": "Smudge cell",
        }
    ),
    left_out=MappingProxyType(
        {
            "lymphocyte_large_granular": "large granular lymphocytes may be normal or neoplastic, which is not said",
            "promyelocyte_atypical": "atypical promyelocytes are leukaemic; no class of the 20 is theirs alone",
        }
    ),
    pixels_per_um=11.52,
    scale=(
        "288x288 pixels of 25x25 um, cropped at the centre: cells are 15 % larger than the analyser's, so size must "
        "not be trusted to tell classes apart across the two"
    ),
)
