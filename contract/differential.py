"""The differential: the cells of a slide by class, per 100 white cells."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field

from contract.binomial import clopper_pearson
from contract.classes import CELL_CLASSES, CellClass
from contract.decision import Decision
from contract.description import BundleDescription, Evidence

Interval = tuple[float, float]


@dataclass(frozen=True, slots=True)
class SlideCell:
    """What a slide's summary needs to know of one classified image.

    Attributes:
        predicted: the class with the largest probability.
        flag: the hairy flag, ``None`` where the bundle cannot tell.
        doubtful: there are reasons for review.
        unfamiliar: the image looks unlike those learned from; ``None`` where the bundle cannot tell.
        image_sha256: of the image's bytes, ``None`` if unknown; equal ones are one photograph and count once.
    """

    predicted: CellClass
    flag: bool | None
    doubtful: bool
    image_sha256: str | None = None
    unfamiliar: bool | None = None

    @classmethod
    def of(cls, decision: Decision, image_sha256: str | None = None) -> Self:
        """The cell that a decision is about."""
        unfamiliar = None if decision.novelty is None else decision.novelty.unfamiliar
        return cls(decision.predicted_class, decision.hairy_cell.flag, bool(decision.review), image_sha256, unfamiliar)


class DifferentialRow(BaseModel):
    """One class of the differential.

    Attributes:
        class_id, class_name, loinc, is_wbc: see :class:`contract.classes.CellClass`.
        evidence: what the bundle learned the class from; of a class with ``none`` the count says nothing.
        count: cells of the slide that were predicted as this class.
        per_100_wbc: per 100 white cells; above 100 is possible where the class is not of the white cells. ``None``
            without white cells and for classes without evidence.
        interval95: exact interval of ``per_100_wbc``; of white-cell classes only, since others are not a share.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    class_id: str
    class_name: str
    loinc: str | None
    is_wbc: bool
    evidence: Evidence
    count: Annotated[int, Field(ge=0)]
    per_100_wbc: float | None
    interval95: Interval | None


def without_duplicates(cells: Iterable[SlideCell]) -> list[SlideCell]:
    """The cells without those whose image had occurred before."""
    seen: set[str] = set()
    single = []
    for cell in cells:
        if cell.image_sha256 is not None:
            if cell.image_sha256 in seen:
                continue
            seen.add(cell.image_sha256)
        single.append(cell)
    return single


def white_cells(cells: Iterable[SlideCell]) -> int:
    """How many cells were predicted as a class of the white cells: the denominator of the differential."""
    return sum(cell.predicted.is_wbc for cell in cells)


def differential(cells: Sequence[SlideCell], description: BundleDescription) -> tuple[DifferentialRow, ...]:
    """One row for each of the 20 classes, in their order."""
    white = white_cells(cells)
    counts = Counter(cell.predicted.index for cell in cells)
    rows = []
    for cell, learned in zip(CELL_CLASSES, description.classes, strict=True):
        count = counts[cell.index]
        known = white > 0 and learned.evidence is not Evidence.NONE
        low, high = clopper_pearson(count, white) if known and cell.is_wbc else (0.0, 0.0)
        rows.append(
            DifferentialRow(
                class_id=cell.id,
                class_name=cell.name,
                loinc=cell.loinc,
                is_wbc=cell.is_wbc,
                evidence=learned.evidence,
                count=count,
                per_100_wbc=100 * count / white if known else None,
                interval95=(100 * low, 100 * high) if known and cell.is_wbc else None,
            )
        )
    return tuple(rows)
