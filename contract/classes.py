"""The 20 cell classes, in the order of every output vector, table and figure.

Order and names: thesis Table 4.1, left column then right column. LOINC codes are those of the count per 100
leukocytes where such a code exists (thrombocyte findings have codes of their own kind); ``None`` where none was found.
"""

from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final


class Lineage(StrEnum):
    """The line of development that a cell belongs to."""

    GRANULOCYTIC = "granulocytic"
    MONOCYTIC = "monocytic"
    LYMPHOID = "lymphoid"
    ERYTHROID = "erythroid"
    THROMBOCYTIC = "thrombocytic"
    UNSPECIFIED = "unspecified"
    NOT_A_CELL = "not a cell"


@dataclass(frozen=True, slots=True)
class CellClass:
    """One of the 20 classes.

    Attributes:
        index: position in every output vector, 0 to 19.
        name: the thesis's name, for people: ``class_name`` in answers.
        id: the name in lower case with hyphens, for software: ``class_id`` in answers, metrics, tables and file names.
        lineage: line of development.
        is_wbc: counts towards the 100 white blood cells of a differential.
        is_lymphocyte: one of the four classes of the thesis's lymphocyte matrix (Figure 5.2).
        loinc: LOINC code of the finding, or ``None``.
    """

    index: int
    name: str
    id: str
    lineage: Lineage
    is_wbc: bool
    is_lymphocyte: bool
    loinc: str | None


def _table() -> tuple[CellClass, ...]:
    granulocytic, monocytic, lymphoid = Lineage.GRANULOCYTIC, Lineage.MONOCYTIC, Lineage.LYMPHOID
    erythroid, thrombocytic = Lineage.ERYTHROID, Lineage.THROMBOCYTIC
    unspecified, not_a_cell = Lineage.UNSPECIFIED, Lineage.NOT_A_CELL
    wbc, lymphocyte = True, True
    rows: tuple[tuple[str, str, Lineage, bool, bool, str | None], ...] = (
        ("Segmented neutrophil", "segmented-neutrophil", granulocytic, wbc, False, "26505-8"),
        ("Eosinophil", "eosinophil", granulocytic, wbc, False, "26450-7"),
        ("Basophil", "basophil", granulocytic, wbc, False, "30180-4"),
        ("Lymphocyte", "lymphocyte", lymphoid, wbc, lymphocyte, "26478-8"),
        ("Monocyte", "monocyte", monocytic, wbc, False, "26485-3"),
        ("Band neutrophil", "band-neutrophil", granulocytic, wbc, False, "26508-2"),
        ("Promyelocyte", "promyelocyte", granulocytic, wbc, False, "26524-9"),
        ("Myelocyte", "myelocyte", granulocytic, wbc, False, "26498-6"),
        ("Metamyelocyte", "metamyelocyte", granulocytic, wbc, False, "28541-1"),
        ("Blast (no lineage spec)", "blast", unspecified, wbc, False, "26446-5"),
        ("Plasma cell", "plasma-cell", lymphoid, wbc, False, "13047-6"),
        ("Hairy cell", "hairy-cell", lymphoid, wbc, lymphocyte, "35058-7"),
        ("Smudge cell", "smudge-cell", not_a_cell, False, False, "34992-8"),
        ("Erythroblast (NRBC)", "erythroblast", erythroid, False, False, "19048-8"),
        ("Artefact", "artefact", not_a_cell, False, False, None),
        ("Giant thrombocyte", "giant-thrombocyte", thrombocytic, False, False, None),
        ("Thrombocyte aggregation", "thrombocyte-aggregation", thrombocytic, False, False, "40741-1"),
        ("Reactive lymphocyte", "reactive-lymphocyte", lymphoid, wbc, lymphocyte, "13046-8"),
        ("Abnormal lymphocyte", "abnormal-lymphocyte", lymphoid, wbc, lymphocyte, "30413-9"),
        ("Large thrombocyte", "large-thrombocyte", thrombocytic, False, False, "34167-7"),
    )
    return tuple(CellClass(index, *row) for index, row in enumerate(rows))


CELL_CLASSES: Final = _table()
CLASS_NAMES: Final = tuple(cell.name for cell in CELL_CLASSES)
CLASS_COUNT: Final = len(CELL_CLASSES)
BY_NAME: Final = MappingProxyType({cell.name: cell for cell in CELL_CLASSES})
BY_ID: Final = MappingProxyType({cell.id: cell for cell in CELL_CLASSES})
HAIRY_CELL: Final = BY_ID["hairy-cell"]
