"""Munich: bone marrow, 171,375 cells of 945 patients in 21 classes, hairy cells among them."""

from types import MappingProxyType
from typing import Final

from training.data.presets.base import Preset, file_prefix

MATEK_MARROW: Final = Preset(
    name="matek-marrow",
    title="Bone marrow cytomorphology (MLL, Helmholtz, Fraunhofer)",
    licence="CC BY 4.0",
    citation=(
        "Matek C, Krappe S, Muenzenmayer C, Haferlach T, Marr C. Highly accurate differentiation of bone marrow cell "
        "morphologies using deep neural networks on a large image data set. Blood 2021;138(20):1917-1927. "
        "doi:10.1182/blood.2020010568, doi:10.7937/TCIA.AXH3-T579"
    ),
    layout="one folder a class, the class code before the underscore of each file name (BLA/0001-1000/BLA_00001.jpg)",
    labels=MappingProxyType(
        {
            "BLA": "Blast (no lineage spec)",
            "PMO": "Promyelocyte",
            "MYB": "Myelocyte",
            "MMZ": "Metamyelocyte",
            "NGB": "Band neutrophil",
            "NGS": "Segmented neutrophil",
            "EOS": "Eosinophil",
            "BAS": "Basophil",
            "LYT": "Lymphocyte",
            "MON": "Monocyte",
            "PLM": "Plasma cell",
            "HAC": "Hairy cell",
            "KSC": "Smudge cell",
            "ART": "Artefact",
            "EBO": "Erythroblast (NRBC)",
            "PEB": "Erythroblast (NRBC)",
        }
    ),
    code_of=file_prefix,
    scale=(
        "250x250 pixels through a 40x objective, padded by reflection; the scale in pixels per micrometre is not "
        "published, and marrow smears differ from blood smears"
    ),
)
