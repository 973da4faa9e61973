"""McNemar's exact test: do two networks differ in how often they are right on the same images?"""

from scipy.stats import binomtest

from training.evaluation.predictions import Predictions
from training.evaluation.results import EvaluationError, Record


class McNemar(Record):
    """The images on which only one of two networks is right, and the two-sided exact p-value (McNemar 1947).

    Without a difference between the networks each of those images is as likely to be the one's as the other's.
    """

    first: str
    second: str
    split: str
    images: int
    only_first_right: int
    only_second_right: int
    p_value: float


def mcnemar(first: Predictions, second: Predictions) -> McNemar:
    """Test two networks. Raises EvaluationError: their images or labels differ."""
    require_same_images([first, second])
    right = []
    for each in (first, second):
        order = sorted(range(len(each.digests)), key=each.digests.__getitem__)
        right.append((each.evaluation.predicted == each.labels)[order])
    only_first, only_second = int((right[0] & ~right[1]).sum()), int((right[1] & ~right[0]).sum())
    differing = only_first + only_second
    return McNemar(
        first=first.network,
        second=second.network,
        split=first.split,
        images=len(first.images),
        only_first_right=only_first,
        only_second_right=only_second,
        p_value=float(binomtest(only_first, differing, 0.5).pvalue) if differing else 1.0,
    )


def require_same_images(predictions: list[Predictions]) -> None:
    """Figures of different images cannot be compared.

    Raises:
        EvaluationError: tells for every network how its images or labels differ from those of the first.
    """
    first, *others = predictions
    problems = [problem for other in others for problem in _differences(first, other)]
    if problems:
        raise EvaluationError(
            f"the networks were evaluated on different {first.split} images and cannot be compared:\n"
            + "\n".join(f"  - {problem}" for problem in problems)
            + "\nGive all of them the same images with --data; images of classes that one of them was never trained on "
            "are left out for all."
        )


def _differences(first: Predictions, other: Predictions) -> list[str]:
    names = {
        digest: image.path.name
        for each in (first, other)
        for digest, image in zip(each.digests, each.images, strict=True)
    }
    labels = [dict(zip(each.digests, (i.label for i in each.images), strict=True)) for each in (first, other)]
    problems = []
    for missing, has, lacks in (
        (labels[0].keys() - labels[1].keys(), first, other),
        (labels[1].keys() - labels[0].keys(), other, first),
    ):
        if missing:
            example = names[min(missing)]
            problems.append(f"{lacks.network} lacks {len(missing)} images of {has.network}'s, such as {example}")
    if differing := [d for d in labels[0].keys() & labels[1].keys() if labels[0][d] != labels[1][d]]:
        example = min(differing)
        problems.append(
            f"{len(differing)} images have another label for {other.network} than for {first.network}, such as "
            f"{names[example]}: {labels[1][example]!r} and {labels[0][example]!r}"
        )
    if not problems and len(first.digests) != len(other.digests):
        problems.append(f"{other.network} has {len(other.digests)} rows, {first.network} has {len(first.digests)}")
    return problems
