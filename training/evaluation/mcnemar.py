"""McNemar's exact test: do two networks differ in how often they are right on the same images?"""

from collections.abc import Iterable, Sequence

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


def require_same_images(predictions: Sequence[Predictions]) -> None:
    """Figures of different images cannot be compared.

    Raises:
        EvaluationError: tells for every network how its images or labels differ from those of the first.
    """
    first, *others = predictions
    if problems := [f"\n  - {problem}" for other in others for problem in _differences(first, other)]:
        raise EvaluationError(
            f"the networks were evaluated on different {first.split} images and cannot be compared:{''.join(problems)}"
            "\nGive all of them the same images with --data; images of classes that one of them was never trained on "
            "are left out for all."
        )


def _differences(first: Predictions, other: Predictions) -> Iterable[str]:
    one, two = (dict(zip(each.digests, each.images, strict=True)) for each in (first, other))
    for lacks, has, missing in ((other, first, one.keys() - two.keys()), (first, other, two.keys() - one.keys())):
        if missing:
            example = (one | two)[min(missing)].path.name
            yield f"{lacks.network} lacks {len(missing)} images of {has.network}'s, such as {example}"
    if differing := sorted(digest for digest in one.keys() & two.keys() if one[digest].label != two[digest].label):
        here, there = one[differing[0]], two[differing[0]]
        yield (
            f"{len(differing)} images have another label for {other.network} than for {first.network}, such as "
            f"{there.path.name}: {there.label!r} and {here.label!r}"
        )
    if one.keys() == two.keys() and len(first.digests) != len(other.digests):
        yield f"{other.network} has {len(other.digests)} rows, {first.network} has {len(first.digests)}"
