"""``hal compare``: Tables 5.1 to 5.3 of the thesis for any set of runs, and McNemar's test between each two."""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any, Final

from training.evaluation.evaluate import ORDINARY_SETS, choose, images_of, open_network, predictions_of
from training.evaluation.figures.accuracy_bars import Bar, draw_accuracy_bars
from training.evaluation.figures.training_curves import figure_of, read_history
from training.evaluation.mcnemar import McNemar, mcnemar, require_same_images
from training.evaluation.network import TrainedNetwork
from training.evaluation.predictions import Predictions
from training.evaluation.report import Table, publish
from training.evaluation.results import EvaluationError, Proportion, Record

SPLITS: Final = {"val": "validation", "test": "test"}
FIGURES: Final = tuple(
    f"{split}_{figure}" for split in ("training", *SPLITS.values()) for figure in ("accuracy", "loss")
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
    training_accuracy: float | None = None
    training_loss: float | None = None
    validation_accuracy: Proportion | None = None
    validation_loss: float | None = None
    test_accuracy: Proportion | None = None
    test_loss: float | None = None
    thesis: dict[str, float]

    def accuracies(self) -> Iterable[tuple[str, Proportion]]:
        """Of each split that it was measured on, by ``validation`` and ``test``."""
        for split, found in (("validation", self.validation_accuracy), ("test", self.test_accuracy)):
            if found is not None:
                yield split, found


class Comparison(Record):
    """What ``comparison.json`` holds; ``left_out`` are images by the split and the reason."""

    rows: tuple[ComparedNetwork, ...]
    tests: tuple[McNemar, ...]
    left_out: dict[str, dict[str, int]]
    note: str = NOTE


def compare(folders: Sequence[Path], data: Path | None, out: Path | None) -> Comparison:
    """Compare networks on the same images and print the tables.

    ``comparison.md``, ``comparison.json`` and ``accuracy.png`` are written to ``out``, if it is not ``None``.

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
        bars = [
            Bar(row.network, split, found, row.thesis.get(f"{split}_accuracy"))
            for row in result.rows
            for split, found in row.accuracies()
        ]
        draw_accuracy_bars(bars, out)
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
    figures: dict[str, Any] = _of_training(network.root)
    for split, word in SPLITS.items():
        if name in predictions[split]:
            found = predictions[split][name].uncalibrated
            figures |= {f"{word}_accuracy": found.accuracy, f"{word}_loss": found.loss}
    thesis = network.recipe.get("thesis") or {}
    return ComparedNetwork(
        network=name,
        folder=str(network.root),
        recipe=network.recipe["name"],
        seed=network.recipe["seed"],
        thesis_table=_thesis_table(network),
        thesis={figure: thesis[figure] for figure in FIGURES if thesis.get(figure) is not None},
        **figures,
    )


def _of_training(root: Path) -> dict[str, float]:
    """Accuracy and loss of the last epoch of the last stage."""
    stages = list(read_history(root / "history.csv").values())
    if not stages or math.isnan(figure_of(stages[-1][-1], "accuracy")):
        return {}
    return {f"training_{figure}": figure_of(stages[-1][-1], figure) for figure in ("accuracy", "loss")}


def _thesis_table(network: TrainedNetwork) -> str:
    if network.recipe.get("projection_head"):
        return "5.3 (HAL-C)"
    return "5.2 (HAL-R)" if network.recipe.get("initial_weights") == "random" else "5.1 (HAL-T)"


def tables_of(result: Comparison) -> list[Table]:
    columns = ("Network", "As in table", *(figure.replace("_", " ").capitalize() for figure in FIGURES))
    rows: list[tuple[str, ...]] = []
    for row in result.rows:
        rows.append((row.network, row.thesis_table, *(_cell(getattr(row, figure)) for figure in FIGURES)))
        if row.thesis:
            rows.append((f"  {row.recipe} in the thesis", "", *(_cell(row.thesis.get(figure)) for figure in FIGURES)))
    tables = [Table(f"Accuracy and loss ({_how_many(result)})", columns, tuple(rows))]
    if count := len(result.tests):
        title = "McNemar's exact test"
        if count > 1:
            title += f"; {count} tests: compare p with {0.05 / count:.2g}, not 0.05"
        columns = ("Images", "First", "Second", "Only first right", "Only second right", "p")
        counts = ((str(t.only_first_right), str(t.only_second_right), f"{t.p_value:.2g}") for t in result.tests)
        named = ((SPLITS[t.split], t.first, t.second) for t in result.tests)
        tables.append(Table(title, columns, tuple(n + c for n, c in zip(named, counts, strict=True))))
    return tables


def _how_many(result: Comparison) -> str:
    """The images of each split, which are the same for all networks, and those that were left out."""
    counts = {split: found.images for row in result.rows for split, found in row.accuracies()}
    left_out = [
        f"left out {count} {SPLITS[split]} images {reason}"
        for split, reasons in result.left_out.items()
        for reason, count in reasons.items()
    ]
    return "; ".join([", ".join(f"{count} {split} images" for split, count in counts.items()), *left_out])


def _cell(value: Proportion | float | None) -> str:
    if value is None:
        return "-"
    if isinstance(value, Proportion):
        low, high = value.interval95
        return f"{value.value:.4f} [{low:.3f}, {high:.3f}]"
    return f"{value:.4f}"
