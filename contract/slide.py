"""From the cells of a slide to a differential and advice: the slide's half of :mod:`contract.decision`.

A flag on one cell is not yet advice: a network that is wrong on one cell in 500 flags something on most slides. So the
flags of a slide are counted against its white cells and tested against the rate of false flags. What the rule's
defaults do, slide by slide, is computed by ``hal slides characteristics`` and shown in docs/slides.md.
"""

from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field

from contract.binomial import clopper_pearson, upper_tail
from contract.classes import HAIRY_CELL
from contract.description import BundleDescription, Evidence, FalseFlags
from contract.differential import DifferentialRow, Interval, SlideCell, differential, white_cells, without_duplicates
from contract.parts import Probability

Rate = Annotated[float, Field(gt=0, lt=1)]
_SMALLEST_P: Final = 0.0001
"""Below it a sentence says only that; the number itself is in :class:`HairyCount`."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class SlideRule(_Part):
    """When the flags of a slide become advice. A laboratory may choose its own values.

    Attributes:
        min_cells: fewest white cells for ``no indication``. With 200, a slide of 5 % hairy cells has fewer than two
            among them once in 2,500 times; with 100, once in 27.
        min_hits: fewest flagged cells for a follow-up, whatever the test says; a single cell is nobody's evidence.
        significance: largest p-value for a follow-up: the share of slides without hairy cells that are followed up for
            nothing, at most, if the stated rate of false flags holds.
    """

    min_cells: Annotated[int, Field(ge=1)] = 200
    min_hits: Annotated[int, Field(ge=1)] = 2
    significance: Rate = 0.01


class Advice(StrEnum):
    """What is said about a slide; never a diagnosis."""

    NO_INDICATION = "no indication"
    FOLLOW_UP = "follow up by flow cytometry"
    TOO_FEW_CELLS = "too few cells"
    NOT_SUPPORTED = "not supported by this bundle"
    UNFAMILIAR_IMAGES = "not supported on these images"


class HairyCount(_Part):
    """The flags of a slide, and the test of their number against false flags alone.

    Attributes:
        flagged: cells with a raised hairy flag.
        cells: white cells, and flagged cells that were predicted as something else.
        share: ``flagged / cells``.
        interval95: exact interval of ``share`` (Clopper and Pearson 1934).
        false_flag_rate: the rate that a cell that is not hairy is flagged at.
        false_flag_basis: where that rate comes from.
        p_value: probability of as many flags or more if no cell were hairy: one-sided binomial test.
    """

    flagged: Annotated[int, Field(ge=0)]
    cells: Annotated[int, Field(ge=0)]
    share: Probability | None
    interval95: Interval | None
    false_flag_rate: Rate
    false_flag_basis: str
    p_value: Probability


class UnfamiliarCount(_Part):
    """The images of a slide that look unlike those learned from, and the test of their number.

    Attributes:
        unfamiliar: images above the novelty threshold.
        images: classified images.
        familiar_rate: share of the bundle's own validation images above the threshold.
        p_value: probability of as many or more at that rate: one-sided binomial test.
    """

    unfamiliar: Annotated[int, Field(ge=0)]
    images: Annotated[int, Field(ge=0)]
    familiar_rate: Rate
    p_value: Probability


class SlideSummary(_Part):
    """What a slide's cells say together.

    Attributes:
        images: all images, refused ones included.
        refused: images that were not classified.
        duplicates: images whose bytes had occurred before; they do not count.
        white_cells: the denominator of the differential.
        doubtful: cells with reasons for review.
        differential: the 20 classes in their order.
        hairy: ``None`` where the bundle cannot tell.
        unfamiliar: ``None`` where the bundle cannot tell.
        advice: one of :class:`Advice`.
        reason: why, in a sentence.
        cautions: what a reader must know before believing any of it.
        rule: the rule that was applied.
    """

    images: int
    refused: int
    duplicates: int
    white_cells: int
    doubtful: int
    differential: tuple[DifferentialRow, ...]
    hairy: HairyCount | None
    unfamiliar: UnfamiliarCount | None
    advice: Advice
    reason: str
    cautions: tuple[str, ...]
    rule: SlideRule


class OtherBundleError(ValueError):
    """The results of a slide were not made with this bundle."""


def summarise(
    cells: Sequence[SlideCell],
    description: BundleDescription,
    rule: SlideRule | None = None,
    *,
    site_rate: float | None = None,
    refused: int = 0,
) -> SlideSummary:
    """Differential and advice of one slide.

    Args:
        cells: the classified images of the slide, by a bundle with this description.
        description: states the evidence of each class and the rate of false flags.
        rule: default: :class:`SlideRule` as it is.
        site_rate: rate of false flags that the site has measured itself, above 0 and below 1; wins over the bundle's.
        refused: images of the slide that were not classified.

    Raises:
        OtherBundleError: a cell has no flag where this bundle gives one, or the reverse, or does not tell whether its
            image is unfamiliar where this bundle does.
    """
    rule = rule or SlideRule()
    single = without_duplicates(cells)
    answers = description.policy.hairy_threshold is not None
    if any((cell.flag is not None) != answers for cell in single):
        raise OtherBundleError(
            f"some results have {'no hairy flag' if answers else 'a hairy flag'}, but {description.name} "
            f"{description.version} {'gives' if answers else 'cannot give'} one; classify the images again with one "
            "bundle"
        )
    if description.novelty is not None and any(cell.unfamiliar is None for cell in single):
        raise OtherBundleError(
            f"some results do not say whether their image is unfamiliar, which {description.name} "
            f"{description.version} tells; classify the images again, and keep novelty.unfamiliar of each result"
        )
    hairy = _hairy_count(single, description, site_rate) if answers else None
    unfamiliar = _unfamiliar_count(single, description)
    advice, reason = _advise(hairy, unfamiliar, description, rule)
    if refused:
        reason += f" {refused} of {len(cells) + refused} images could not be judged."
    duplicates = len(cells) - len(single)
    doubtful = sum(cell.doubtful for cell in single)
    return SlideSummary(
        images=len(cells) + refused,
        refused=refused,
        duplicates=duplicates,
        white_cells=white_cells(single),
        doubtful=doubtful,
        differential=differential(single, description),
        hairy=hairy,
        unfamiliar=unfamiliar,
        advice=advice,
        reason=reason,
        cautions=tuple(_cautions(description, refused, duplicates, doubtful)),
        rule=rule,
    )


def advise(hairy: HairyCount, rule: SlideRule) -> Advice:
    """The rule itself: significantly many flags on any number of cells, or enough cells to say that there are none."""
    if hairy.flagged >= rule.min_hits and hairy.p_value <= rule.significance:
        return Advice.FOLLOW_UP
    return Advice.NO_INDICATION if hairy.cells >= rule.min_cells else Advice.TOO_FEW_CELLS


def count_flags(flagged: int, cells: int, rate: float, basis: str) -> HairyCount:
    """Flags of a slide with their interval and their test against ``rate``."""
    return HairyCount(
        flagged=flagged,
        cells=cells,
        share=flagged / cells if cells else None,
        interval95=clopper_pearson(flagged, cells) if cells else None,
        false_flag_rate=rate,
        false_flag_basis=basis,
        p_value=upper_tail(flagged, cells, rate),
    )


def _hairy_count(
    cells: Sequence[SlideCell], description: BundleDescription, site_rate: float | None
) -> HairyCount | None:
    stated = description.policy.false_flags
    if site_rate is not None:
        rate, basis = site_rate, "stated by the site (HAL_SITE_FPR)"
    elif stated is not None:
        rate, basis = stated.upper95, _basis(stated)
    else:
        return None
    flagged = sum(bool(cell.flag) for cell in cells)
    return count_flags(flagged, sum(bool(cell.flag) or cell.predicted.is_wbc for cell in cells), rate, basis)


def _basis(stated: FalseFlags) -> str:
    return (
        f"upper limit of the 95 % interval of {stated.flagged} false flags on {stated.cells} cells of the bundle's "
        f"{stated.data}"
    )


def _unfamiliar_count(cells: Sequence[SlideCell], description: BundleDescription) -> UnfamiliarCount | None:
    if description.novelty is None:
        return None
    unfamiliar, rate = sum(bool(cell.unfamiliar) for cell in cells), description.novelty.familiar_rate
    return UnfamiliarCount(
        unfamiliar=unfamiliar, images=len(cells), familiar_rate=rate, p_value=upper_tail(unfamiliar, len(cells), rate)
    )


def _advise(
    hairy: HairyCount | None, unfamiliar: UnfamiliarCount | None, description: BundleDescription, rule: SlideRule
) -> tuple[Advice, str]:
    bundle = f"{description.name} {description.version}"
    if unfamiliar is not None and unfamiliar.unfamiliar and unfamiliar.p_value <= rule.significance:
        return Advice.UNFAMILIAR_IMAGES, (
            f"{unfamiliar.unfamiliar} of {unfamiliar.images} images look unlike those that {bundle} learned from, "
            f"{100 * unfamiliar.familiar_rate:.2g} % would be expected. Do not use these results; check stain, focus "
            "and scale, or train the network on labelled cells of this laboratory."
        )
    evidence = description.classes[HAIRY_CELL.index].evidence
    if evidence is Evidence.NONE:
        return Advice.NOT_SUPPORTED, f"{bundle} has never seen a hairy cell and flags none."
    if evidence is not Evidence.REAL:
        return Advice.NOT_SUPPORTED, (
            f"{bundle} has learned hairy cells from {evidence} images only, never from a real one. Its flags are a "
            "demonstration and say nothing about this slide."
        )
    if hairy is None:
        return Advice.NOT_SUPPORTED, (
            f"{bundle} does not state how often it flags a cell that is not hairy; measure it on your own slides and "
            "set HAL_SITE_FPR."
        )
    advice = advise(hairy, rule)
    found = f"{hairy.flagged} of {hairy.cells} white cells flagged as hairy"
    if hairy.share is not None and hairy.interval95 is not None:
        low, high = hairy.interval95
        found += f" ({100 * hairy.share:.1f} %, 95 % interval {100 * low:.1f} to {100 * high:.1f} %)"
    p = f"p = {hairy.p_value:.2g}" if hairy.p_value >= _SMALLEST_P else f"p < {_SMALLEST_P}"
    test = f"{p} against false flags at {100 * hairy.false_flag_rate:.2g} %"
    if advice is Advice.FOLLOW_UP:
        return advice, f"{found}: more than false flags explain ({test}, limit {rule.significance:g})."
    if advice is Advice.TOO_FEW_CELLS:
        return advice, (
            f"{found}: fewer than the {rule.min_cells} white cells that an answer needs; photograph more of the slide."
        )
    return advice, f"{found}: no more than false flags explain ({test}), which does not exclude hairy cells."


def _cautions(description: BundleDescription, refused: int, duplicates: int, doubtful: int) -> Iterable[str]:
    hairy = description.classes[HAIRY_CELL.index].evidence
    if hairy in (Evidence.COMPOSITE, Evidence.SIZE_DERIVED):
        yield f"The hairy class of this bundle was learned from {hairy} images. {description.policy.hairy_advice}"
    if unseen := [entry.name for entry in description.classes if entry.evidence is Evidence.NONE]:
        yield f"This bundle cannot name: {', '.join(unseen)}. Such cells are counted under other classes."
    if doubtful:
        yield f"{doubtful} cells are marked for review; the differential is preliminary until someone has looked."
    if refused:
        yield f"{refused} images were refused and are not counted."
    if duplicates:
        yield f"{duplicates} images occur more than once and count once."
