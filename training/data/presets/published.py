"""Published data sets that need no code of their own: Munich's bone marrow, MLL23 (with hairy cells) and Raabin-WBC."""

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
    labels={
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
    },
    code_of=file_prefix,
)
"""250x250 pixels, padded by reflection; the scale is not published, and marrow smears differ from blood smears."""


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
    labels={
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
    },
    left_out={
        "lymphocyte_large_granular": "large granular lymphocytes may be normal or neoplastic, which is not said",
        "promyelocyte_atypical": "atypical promyelocytes are leukaemic; no class of the 20 is theirs alone",
    },
    resampled_from=11.52,
)
"""288x288 pixels of 25x25 um, resampled to 250x250."""


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
    labels={"Basophil": "Basophil", "Eosinophil": "Eosinophil", "Lymphocyte": "Lymphocyte", "Monocyte": "Monocyte"},
    left_out={"Neutrophil": "band and segmented neutrophils are not told apart"},
    slide_of=lambda path: path.stem.split("_")[0] if "_" in path.stem else "",
)
"""575x575 pixels, cropped at the centre, from two microscopes at scales that are not published; the crop cuts into
large cells. For tests of robustness, not for learning sizes."""
