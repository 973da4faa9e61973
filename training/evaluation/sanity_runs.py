"""Which runs can do the sanity test: they must have been trained on A and B, and on A, B and C."""

from collections import Counter
from collections.abc import Sequence

from training.data.manifest import LabelledImage
from training.data.sets import set_of
from training.evaluation.network import Network
from training.evaluation.results import EvaluationError


def training_sets(networks: Sequence[Network], images: Sequence[LabelledImage]) -> list[Counter[str]]:
    """How many images of each set each network was trained on; ``images`` help to know the hairy cells' sources."""
    everything = [*images, *(image for network in networks for image in network.images)]
    found = []
    for network in networks:
        trained_on = [image for image in network.images if image.split in network.recipe["train_splits"]]
        found.append(Counter[str](set_of([*trained_on, *everything])[: len(trained_on)]))
    return found


def require_sets(networks: Sequence[Network], trained_on: Sequence[Counter[str]]) -> None:
    """Check that the first network was trained on A and B, the second on A, B and C, and neither on D.

    Raises:
        EvaluationError: lists everything that is not so.
    """
    problems = []
    for network, counts, expected in zip(networks, trained_on, ("AB", "ABC"), strict=True):
        for name in "ABCD":
            if (counts[name] > 0) != (name in expected):
                has = f"{counts[name]} images of set {name}" if counts[name] else f"no image of set {name}"
                problems.append(f"{network.root} was trained on {has}, expected {' and '.join(expected)} only")
    if problems:
        raise EvaluationError(
            "these runs cannot do the sanity test:\n"
            + "\n".join(f"  - {problem}" for problem in problems)
            + '\nTrain the first with --set \'sets=["A","B"]\', the second with --set \'sets=["A","B","C"]\'.'
        )


def differing_choices(networks: Sequence[Network]) -> list[str]:
    """A remark where two recipes differ in more than their names and sets."""
    first, second = (network.recipe for network in networks)
    ignored = {"name", "sets", "thesis"}
    differing = sorted(key for key in first.keys() | second.keys() if first.get(key) != second.get(key))
    if found := [key for key in differing if key not in ignored]:
        return [f"The recipes differ in more than their sets ({', '.join(found)}), which may make a difference too."]
    return []
