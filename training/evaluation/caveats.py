"""What a reader must know before believing the figures of an evaluation."""

from collections.abc import Iterable
from typing import Final

from contract.classes import CLASS_COUNT
from contract.description import Evidence
from training.evaluation.measures import Measures
from training.evaluation.predictions import Predictions

FEW: Final = 30


def caveats(measures: Measures, predictions: Predictions) -> tuple[str, ...]:
    """One sentence a caveat, the gravest first."""
    return (*_overlap(measures), *_patients(predictions), *_hairy(measures), *_classes(measures))


def _overlap(measures: Measures) -> Iterable[str]:
    if measures.trained_on:
        yield (
            f"{measures.trained_on} of {measures.images} images were trained on: these figures tell how well the "
            "network remembers, not how well it will do."
        )
    if measures.validated_with:
        yield (
            f"{measures.validated_with} of {measures.images} images are validation images that the temperature and the "
            "thresholds were fitted on (and recipes may have been chosen by): the loss after scaling, the calibration "
            "error and the figures of the flag are somewhat too good."
        )
    if measures.split != "test":
        yield f"These are not test images (split {measures.split})."
    for reason, count in measures.left_out.items():
        yield f"Left out: {count} images {reason}."


def _patients(predictions: Predictions) -> Iterable[str]:
    unknown = sum(not image.slide_id for image in predictions.images)
    if unknown:
        yield (
            f"The slide or patient of {unknown} of {len(predictions.images)} images is not known. Intervals treat "
            "images as independent, and images of one patient may be on both sides of the split: expect lower "
            "figures for new patients."
        )
    else:
        slides = len({(image.source, image.slide_id) for image in predictions.images})
        yield (
            f"{len(predictions.images)} images come from {slides} slides. Intervals treat images as independent; cells "
            "of one slide are alike, so the true intervals are wider."
        )


def _hairy(measures: Measures) -> Iterable[str]:
    if not measures.hairy:
        yield "The network was never trained on hairy cells and cannot name one."
        return
    first = measures.hairy[0]
    if first.recall is None:
        yield "There are no hairy cells among the images: nothing is known about how many would be found."
    elif first.false_calls_on_hairy_slides is None:
        yield (
            "No other cell comes from the sources of the hairy cells (set C is empty), so the precision of hairy cells "
            "is confounded: the network may have told sources apart and not cells."
        )


def _classes(measures: Measures) -> Iterable[str]:
    unknown = [each.name for each in measures.classes if each.evidence is Evidence.NONE]
    weak = [each.name for each in measures.classes if each.evidence in (Evidence.SIZE_DERIVED, Evidence.COMPOSITE)]
    known = [each for each in measures.classes if each.evidence is not Evidence.NONE]
    absent = [each.name for each in known if each.images == 0]
    few = [f"{each.name} ({each.images})" for each in known if 0 < each.images < FEW]
    if unknown:
        yield f"Only {len(known)} of {CLASS_COUNT} classes were trained on; never trained on: {', '.join(unknown)}."
    if weak:
        yield f"Labels not given by experts, or images that were edited: {', '.join(weak)}."
    if absent:
        yield f"Trained on, but without images here: {', '.join(absent)}."
    if few:
        yield f"Fewer than {FEW} images, so that recall is little more than a hint: {', '.join(few)}."
