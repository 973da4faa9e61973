"""Which images of a manifest are shown to networks: those of a split, of sets and of classes that all of them know."""

from collections import Counter
from collections.abc import Sequence

from contract.description import Evidence
from training.data.manifest import LabelledImage
from training.data.sets import ImageSet, set_of
from training.evaluation.network import Network
from training.evaluation.results import EvaluationError


def choose(
    images: Sequence[LabelledImage], split: str, networks: Sequence[Network], sets: Sequence[ImageSet]
) -> tuple[list[LabelledImage], dict[str, int]]:
    """The images of a split that every network can be asked about.

    Args:
        images: the whole manifest.
        split: ``train``, ``val`` or ``test``.
        networks: images of classes that one of them was never trained on are left out.
        sets: images of other sets are left out.

    Returns:
        The images, and how many were left out for which reason.

    Raises:
        EvaluationError: no image is left.
    """
    known = [{entry.name for entry in each.classes if entry.evidence is not Evidence.NONE} for each in networks]
    unknown = f"of a class that {'was never' if len(networks) == 1 else 'one of the networks was never'} trained on"
    left_out: Counter[str] = Counter()
    chosen = []
    for image, of_set in zip(images, sets_of(images, networks), strict=True):
        if image.split != split:
            continue
        if of_set not in sets:
            left_out[f"of set {of_set}"] += 1
        elif not all(image.label in names for names in known):
            left_out[unknown] += 1
        else:
            chosen.append(image)
    if not chosen:
        splits = Counter(image.split for image in images)
        held = ", ".join(f"{count} of split {name!r}" for name, count in sorted(splits.items()))
        unused = "".join(f"; left out {count} {reason}" for reason, count in left_out.items())
        raise EvaluationError(
            f"no image of split {split!r} in set {' or '.join(sets)} and in a class that was trained on{unused}; the "
            f"manifest holds {held}: choose another --split, or give a manifest with such images by --data"
        )
    return chosen, dict(left_out)


def sets_of(images: Sequence[LabelledImage], networks: Sequence[Network]) -> list[ImageSet]:
    """The set of each image; what the networks were trained on tells too which sources hold hairy cells."""
    others = [image for network in networks for image in network.images]
    return set_of([*images, *others])[: len(images)]
