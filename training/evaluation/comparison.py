"""``hal compare``: Tables 5.1 to 5.3 of the thesis for any set of runs, and McNemar's test between each two."""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Final

from training.evaluation.evaluate import ORDINARY_SETS, choose, images_of, predictions_of
from training.evaluation.figures.accuracy_bars import Bar, draw_accuracy_bars
from training.evaluation.figures.training_curves import figures_of, read_history
from training.evaluation.mcnemar import McNemar, mcnemar, require_same_images
from training.evaluation.measures import Ratio
from training.evaluation.network import TrainedNetwork, open_network
from training.evaluation.predictions import Predictions
from training.evaluation.report import Table, publish
from training.evaluation.results import EvaluationError, Proportion, Record

SPLITS: Final = {"val": "Validation", "test": "Test"}
FIGURES: Final = (
    "training_accuracy",
    "training_loss",
    "validation_accuracy",
    "validation_loss",
    "test_accuracy",
    "test_loss",
)
NOTE: Final = (
    "Losses are cross-entropies at temperature 1, as in the thesis. Training figures are those of the last epoch, of "
    "augmented images. The thesis's figures are of its own images, which are not public. Intervals are Wilson's, "
    "95 %."
)


class ComparedNetwork(Record):
    """A network's figures; ``None`` where there are no images or they were trained on.

    ``thesis`` has those of :data:`FIGURES` that the thesis reports for the recipe.
    """

    network: str
    folder: str
    recipe: str
    seed: int
    thesis_table: str
    training_accuracy: float | None
    training_loss: float | None
    validation_accuracy: Ratio | None
    validation_loss: float | None
    test_accuracy: Ratio | None
    test_loss: float | None
    thesis: dict[str, float]


class Comparison(Record):
    """What ``comparison.json`` holds; ``left_out`` are images by the split and the reason."""

    rows: tuple[ComparedNetwork, ...]
    tests: tuple[McNemar, ...]
    left_out: dict[str, dict[str, int]]
    note: str = NOTE


def compare(folders: Sequence[Path], data: Path | None, out: Path | None) -> Comparison:
    """Compare networks on the same images, print the tables and write them.

    Args:
        out: gets ``comparison.md``, ``comparison.json`` and ``accuracy.png``; nothing is written when ``None``.

    Raises:
        EvaluationError: nothing to compare, or the evaluated images differ; it says how.
    """
    if len(folders) < 2:
        raise EvaluationError("one network cannot be compared; give the folders of at least two runs")
    networks = [open_network(folder) for folder in folders]
    names = distinct_names(networks)
    predictions = {split: _of_split(networks, names, data, split) for split in SPLITS}
    if not any(predictions.values()):
        raise EvaluationError("there are no validation or test images to compare by; give a manifest with --data")
    result = Comparison(
        rows=tuple(_row(name, network, predictions) for name, network in zip(names, networks, strict=True)),
        tests=tuple(mcnemar(a, b) for of_split in predictions.values() for a, b in combinations(of_split.values(), 2)),
        left_out={split: _left_out(of_split.values()) for split, of_split in predictions.items()},
    )
    publish("Comparison", result, tables_of(result), [NOTE], None if out is None else out / "comparison")
    if out is not None:
        _draw_bars(result, out)
    return result


def distinct_names(networks: Sequence[TrainedNetwork]) -> list[str]:
    """Names in tables; with their folder where two would be the same."""
    names = [network.name for network in networks]
    return [
        name if names.count(name) == 1 else f"{name}, {network.root}"
        for name, network in zip(names, networks, strict=True)
    ]


def _of_split(
    networks: Sequence[TrainedNetwork], names: Sequence[str], data: Path | None, split: str
) -> dict[str, Predictions]:
    """Predictions by the network's name, of the networks that may be measured on this split.

    They are for images of the classes that all of them know; what is kept with a run has all that the run knows.
    """
    measured = {
        name: network
        for name, network in zip(names, networks, strict=True)
        if split not in network.recipe.get("train_splits", ())
        and any(image.split == split for image in images_of(network, data))
    }
    found = {}
    for name, network in measured.items():
        shown, left_out = choose(images_of(network, data), split, list(measured.values()), ORDINARY_SETS)
        predictions = predictions_of(network, data, split).of_labels({image.label for image in shown}, left_out)
        found[name] = replace(predictions, network=name)
    if len(found) > 1:
        require_same_images(list(found.values()))
    return found


def _left_out(predictions: Iterable[Predictions]) -> dict[str, int]:
    """The most that were left out for each reason: runs may have manifests of their own."""
    found = Counter[str]()
    for each in predictions:
        found |= Counter(each.left_out)
    return dict(found)


def _row(name: str, network: TrainedNetwork, predictions: dict[str, dict[str, Predictions]]) -> ComparedNetwork:
    figures: dict[str, Ratio | float | None] = {}
    for split, word in SPLITS.items():
        each = predictions[split].get(name)
        right = each and each.uncalibrated.accuracy
        figures[f"{word.lower()}_accuracy"] = Ratio.of(right.hits, right.images) if right else None
        figures[f"{word.lower()}_loss"] = each.uncalibrated.loss if each else None
    accuracy, loss = _of_training(network.root)
    thesis = network.recipe.get("thesis") or {}
    return ComparedNetwork(
        network=name,
        folder=str(network.root),
        recipe=network.recipe["name"],
        seed=network.recipe["seed"],
        thesis_table=_thesis_table(network),
        training_accuracy=accuracy,
        training_loss=loss,
        thesis={figure: thesis[figure] for figure in FIGURES if thesis.get(figure) is not None},
        **figures,
    )


def _of_training(root: Path) -> tuple[float | None, float | None]:
    """Accuracy and loss of the last epoch of the last stage."""
    stages = list(read_history(root / "history.csv").values())
    if not stages:
        return None, None
    accuracy, loss = (figures_of(stages[-1][-1], column) for column in ("accuracy", "loss"))
    return (None, None) if math.isnan(accuracy) else (accuracy, loss)


def _thesis_table(network: TrainedNetwork) -> str:
    """Which table of the thesis shows networks of this kind."""
    if network.recipe.get("projection_head") or network.recipe.get("projection_units"):
        return "5.3 (HAL-C)"
    return "5.2 (HAL-R)" if network.recipe.get("initial_weights") == "random" else "5.1 (HAL-T)"


def tables_of(result: Comparison) -> list[Table]:
    """The comparison as people read it."""
    columns = ("Network", "As in table", *(figure.replace("_", " ").capitalize() for figure in FIGURES))
    rows: list[tuple[str, ...]] = []
    for row in result.rows:
        rows.append((row.network, row.thesis_table, *(_cell(getattr(row, figure)) for figure in FIGURES)))
        if row.thesis:
            rows.append((f"  {row.recipe} in the thesis", "", *(_cell(row.thesis.get(figure)) for figure in FIGURES)))
    tests = tuple(
        (SPLITS[t.split], t.first, t.second, str(t.only_first_right), str(t.only_second_right), f"{t.p_value:.2g}")
        for t in result.tests
    )
    headings = ("Images", "First", "Second", "Only first right", "Only second right", "p")
    found = [Table(f"Accuracy and loss ({_how_many(result)})", columns, tuple(rows))]
    if tests:
        how_many = "" if len(tests) == 1 else f"; {len(tests)} tests: compare p with {0.05 / len(tests):.2g}, not 0.05"
        found.append(Table(f"McNemar's exact test{how_many}", headings, tests))
    return found


def _how_many(result: Comparison) -> str:
    """The images of each split, which are the same for all networks, and those that were left out."""
    counts = {
        word.lower(): share.images
        for word in SPLITS.values()
        for row in result.rows
        if (share := getattr(row, f"{word.lower()}_accuracy"))
    }
    shown = [f"{count} {word} images" for word, count in counts.items()]
    left_out = [
        f"left out {count} {SPLITS[split].lower()} images {reason}"
        for split, reasons in result.left_out.items()
        for reason, count in reasons.items()
    ]
    return "; ".join([", ".join(shown), *left_out])


def _cell(value: Ratio | float | None) -> str:
    if value is None:
        return "-"
    if isinstance(value, Ratio):
        low, high = value.interval95
        return f"{value.value:.4f} [{low:.3f}, {high:.3f}]"
    return f"{value:.4f}"


def _draw_bars(result: Comparison, out: Path) -> None:
    bars = []
    for row in result.rows:
        for word in SPLITS.values():
            share: Ratio | None = getattr(row, f"{word.lower()}_accuracy")
            if share is not None:
                thesis = row.thesis.get(f"{word.lower()}_accuracy")
                bars.append(Bar(row.network, word.lower(), Proportion(share.hits, share.images), thesis))
    draw_accuracy_bars(bars, out, "accuracy", "Accuracy")
