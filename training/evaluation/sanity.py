"""``hal sanity``: does a network tell cells apart, or the databases they come from? (thesis section 4.4)

Two runs of one recipe are tested on cells of the hairy cells' database (set C, part 1) and on look-alikes of hairy
cells from other databases (set D, part 2): the first was trained on A and B, where hairy cells are all that their
database gave, the second on A, B and C. If C makes the difference, the first had learned the database.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from contract.classes import HAIRY_CELL
from training.data import manifest
from training.data.manifest import LabelledImage
from training.data.sets import ImageSet, set_of
from training.evaluation.comparison import distinct_names
from training.evaluation.evaluate import choose, is_run, open_network, sets_of
from training.evaluation.figures.confusion import draw_confusion
from training.evaluation.mcnemar import McNemar, mcnemar
from training.evaluation.network import TrainedNetwork
from training.evaluation.predictions import Predictions, predict
from training.evaluation.report import Table, publish
from training.evaluation.results import EvaluationError, Proportion, Record

PARTS: Final[dict[ImageSet, tuple[int, str, str]]] = {"C": (1, "5.4", "sanity_c"), "D": (2, "5.5", "sanity_d")}
"""Part, table of the thesis and field of its figures, by the set that is tested on."""
TRAINED: Final = ("A and B", "A, B and C")
FIGURES: Final = {"C": ("5.12", "5.13"), "D": ("5.14", "5.15")}
NOTE: Final = (
    "Set C: other cells of the sources of the hairy cells. Set D: look-alikes of hairy cells; their accuracy is the "
    "share that gets the label of the manifest, which is not confirmed. The thesis's figures are of its own images."
)


class SanityPart(Record):
    """One part: two networks on one set.

    ``called_hairy`` are shares of the images, ``thesis`` what it reports for the recipe.
    """

    part: int
    tested_on: ImageSet
    accuracy: tuple[Proportion, Proportion]
    called_hairy: tuple[Proportion, Proportion]
    thesis: tuple[float, float] | None
    test: McNemar
    verdict: str


class Sanity(Record):
    networks: tuple[str, str]
    recipes: tuple[str, str]
    trained_on: tuple[dict[str, int], dict[str, int]]
    parts: tuple[SanityPart, ...]
    remarks: tuple[str, ...]


def sanity(run_ab: Path, run_abc: Path, data: Path, split: str, out: Path) -> Sanity:
    """Do the sanity test, print it and write ``sanity.md``, ``sanity.json`` and the confusion matrices.

    Raises:
        EvaluationError: a folder is not a run's, the runs were not trained on what they should have been, one was
            trained on the tested images, or there are none of C and D.
    """
    if bundles := [str(folder) for folder in (run_ab, run_abc) if not is_run(folder)]:
        raise EvaluationError(f"the sanity test needs the folders of two runs ('hal train'); not runs: {bundles}")
    networks = [open_network(folder) for folder in (run_ab, run_abc)]
    recipes = [network.recipe for network in networks]
    images = manifest.read(data)
    trained_on = training_sets(networks, images)
    require_sets(networks, trained_on)
    parts, remarks = [], differing_choices(*recipes)
    present = {of_set for image, of_set in zip(images, sets_of(images, networks), strict=True) if image.split == split}
    for tested, (part, _, field) in PARTS.items():
        if tested in present:
            predictions = _predict(networks, images, split, tested, out)
            parts.append(assess_part(predictions, tested, (recipes[0].get("thesis") or {}).get(field)))
            _draw(predictions, tested, out)
        else:
            remarks.append(f"Part {part} is left out: {data} has no {split} image of set {tested}.")
    if not parts:
        raise EvaluationError(
            f"{data} has no {split} image of set C or D: set C needs other cells from the source of the hairy cells, "
            "set D images whose column 'look_alike' is not empty"
        )
    first, second = distinct_names(networks)
    result = Sanity(
        networks=(first, second),
        recipes=(recipes[0]["name"], recipes[1]["name"]),
        trained_on=(dict(trained_on[0]), dict(trained_on[1])),
        parts=tuple(parts),
        remarks=tuple(remarks),
    )
    sentences = [*(each.verdict for each in parts), *remarks, NOTE]
    publish("Sanity test", result, tables_of(result), sentences, out / "sanity")
    return result


def training_sets(networks: Sequence[TrainedNetwork], images: Sequence[LabelledImage]) -> list[Counter[str]]:
    """How many images of each set each network was trained on; ``images`` help to know the hairy cells' sources."""
    everything = [*images, *(image for network in networks for image in network.images)]
    found = []
    for network in networks:
        trained_on = [image for image in network.images if image.split in network.recipe["train_splits"]]
        found.append(Counter[str](set_of([*trained_on, *everything])[: len(trained_on)]))
    return found


def require_sets(networks: Sequence[TrainedNetwork], trained_on: Sequence[Counter[str]]) -> None:
    """Check that the first network was trained on A and B, the second on A, B and C, and neither on D.

    Raises:
        EvaluationError: lists everything that is not so.
    """
    problems = [
        f"\n  - {network.root} was trained on {counts[name] or 'no'} image{'s' * (counts[name] > 0)} of set {name}, "
        f"expected {' and '.join(expected)} only"
        for network, counts, expected in zip(networks, trained_on, ("AB", "ABC"), strict=True)
        for name in "ABCD"
        if (counts[name] > 0) != (name in expected)
    ]
    if problems:
        raise EvaluationError(
            f"these runs cannot do the sanity test:{''.join(problems)}\n"
            'Train the first with --set \'sets=["A","B"]\', the second with --set \'sets=["A","B","C"]\'.'
        )


def differing_choices(first: Mapping[str, Any], second: Mapping[str, Any]) -> list[str]:
    """A remark where two recipes differ in more than their names and sets."""
    compared = sorted((first.keys() | second.keys()) - {"name", "sets", "thesis"})
    if found := [key for key in compared if first.get(key) != second.get(key)]:
        return [f"The recipes differ in more than their sets ({', '.join(found)}), which may make a difference too."]
    return []


def assess_part(
    predictions: tuple[Predictions, Predictions], tested: ImageSet, thesis: tuple[float, float] | None
) -> SanityPart:
    """Figures and verdict of one part, from what both networks say about the same images."""
    test = mcnemar(*predictions)
    first, second = (each.evaluation for each in predictions)
    accuracy = first.accuracy, second.accuracy
    calls, more_calls = (
        Proportion.of(int((each.predicted == HAIRY_CELL.index).sum()), test.images) for each in (first, second)
    )
    rise = f"from {accuracy[0].value:.3f} to {accuracy[1].value:.3f} (McNemar p = {test.p_value:.2g})"
    better = accuracy[1].value > accuracy[0].value and test.p_value < 0.05
    cells = "look-alikes" if tested == "D" else "set C"
    change = "rises" if better else "does not rise beyond chance"
    verdict = f"With set C among the training images the accuracy on {cells} {change}, {rise}"
    if tested == "C" and better:
        verdict += ": the network trained without it had learned to tell databases apart"
    elif tested == "C":
        verdict += ": no sign that the network trained without it had learned the database"
    return SanityPart(
        part=PARTS[tested][0],
        tested_on=tested,
        accuracy=accuracy,
        called_hairy=(calls, more_calls),
        thesis=thesis,
        test=test,
        verdict=f"{verdict}. It calls {calls.value:.1%} of them hairy, the other {more_calls.value:.1%}.",
    )


def _predict(
    networks: Sequence[TrainedNetwork], images: Sequence[LabelledImage], split: str, tested: ImageSet, out: Path
) -> tuple[Predictions, Predictions]:
    chosen, left_out = choose(images, split, networks, [tested])
    found = []
    for network, trained in zip(networks, ("ab", "abc"), strict=True):
        folder = out / f"{trained}-on-{tested.lower()}"
        found.append(predict(network, chosen, split, [tested] * len(chosen), left_out, folder))
        if known := found[-1].seen_as.count("train"):
            raise EvaluationError(
                f"{network.root} was trained on {known} of the {len(chosen)} {split} images of set {tested}: the "
                "sanity test needs images that neither run was trained on"
            )
    return found[0], found[1]


def _draw(predictions: tuple[Predictions, Predictions], tested: ImageSet, out: Path) -> None:
    for each, trained, number in zip(predictions, TRAINED, FIGURES[tested], strict=True):
        title = f"Trained on {trained}, tested on {tested} ({len(each.images)} images; as thesis Figure {number})"
        name = f"trained-{trained.replace(' and ', '').replace(', ', '').lower()}-tested-{tested.lower()}"
        draw_confusion(each.evaluation.confusion, out, name, title)


def tables_of(result: Sanity) -> list[Table]:
    """Tables 5.4 and 5.5."""
    columns, name = ("Network", *(f"Trained on {trained}" for trained in TRAINED), "Images"), result.recipes[0]
    tables = []
    for each in result.parts:
        images = str(each.test.images)
        rows = [(name, *map(str, each.accuracy), images)]
        if each.thesis:
            rows.append((f"  {name} in the thesis", *(f"{value:.4g}" for value in each.thesis), ""))
        rows.append(("called hairy", *map(str, each.called_hairy), images))
        where = f"sanity test part {each.part}, thesis Table {PARTS[each.tested_on][1]}"
        tables.append(Table(f"Accuracy on set {each.tested_on} ({where})", columns, tuple(rows)))
    return tables
