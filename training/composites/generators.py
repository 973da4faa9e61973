"""The generators by class: what each one draws, on which parents, and with which donors' textures."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from training.composites.artefact import artefact
from training.composites.hairy import hairy_cell
from training.composites.lymphocytes import abnormal_lymphocyte, plasma_cell, reactive_lymphocyte
from training.composites.platelets import giant_thrombocyte, thrombocyte_aggregation
from training.composites.segment import Cell, Pixels
from training.composites.smudge import smudge_cell
from training.composites.texture import Material, chromatin_of, cytoplasm_of

CLEAN: Final = ("Lymphocyte", "Monocyte", "Erythroblast (NRBC)")
"""Parents of new cells: their bodies are segmented whole. Granulocytes leave pink granules on the smear behind."""
WHITE: Final = (*CLEAN, "Segmented neutrophil", "Band neutrophil", "Metamyelocyte", "Myelocyte", "Basophil")
"""Parents and second cells of artefacts."""
PLATELETS: Final = ("Large thrombocyte", "Giant thrombocyte")
GROWN: Final = PLATELETS[:1]
"""Parents of giants and aggregates: the few real giants stay what they are."""
SPONGY: Final = ("Monocyte", "Lymphocyte")
OTHER_PLATELETS: Final = 4


@dataclass(frozen=True, slots=True)
class CellGenerator:
    """One class's generator.

    Attributes:
        donors: for each further cell that it needs, the classes from which it may come.
        draw: parent, donors in that order and random generator to RGB. Shape: ``(256, 256, 3)``.
    """

    label: str
    parents: tuple[str, ...]
    donors: tuple[tuple[str, ...], ...]
    draw: Callable[[Cell, list[Cell], np.random.Generator], Pixels]


def _of_textures(
    draw: Callable[[Cell, Material, Material, np.random.Generator], Pixels],
) -> Callable[[Cell, list[Cell], np.random.Generator], Pixels]:
    def drawn(cell: Cell, donors: list[Cell], generator: np.random.Generator) -> Pixels:
        return draw(cell, chromatin_of(donors[0]), cytoplasm_of(donors[1]), generator)

    return drawn


_TEXTURED: Final = (SPONGY, ("Monocyte",))
GENERATORS: Final[Mapping[str, CellGenerator]] = {
    generator.label: generator
    for generator in (
        CellGenerator("Hairy cell", CLEAN, _TEXTURED, _of_textures(hairy_cell)),
        CellGenerator("Abnormal lymphocyte", CLEAN, _TEXTURED, _of_textures(abnormal_lymphocyte)),
        CellGenerator("Reactive lymphocyte", CLEAN, _TEXTURED, _of_textures(reactive_lymphocyte)),
        CellGenerator("Plasma cell", CLEAN, (("Lymphocyte",), ("Monocyte",)), _of_textures(plasma_cell)),
        CellGenerator("Smudge cell", CLEAN, (SPONGY,), lambda c, d, g: smudge_cell(c, chromatin_of(d[0]), g)),
        CellGenerator("Artefact", WHITE, (WHITE,), lambda c, d, g: artefact(c, d[0], g)),
        CellGenerator("Thrombocyte aggregation", GROWN, (GROWN,) * OTHER_PLATELETS, thrombocyte_aggregation),
        CellGenerator("Giant thrombocyte", GROWN, (), lambda c, d, g: giant_thrombocyte(c, g)),  # noqa: ARG005
    )
}
"""By class name."""
