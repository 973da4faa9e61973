"""``hal evaluate``: every figure, picture and test of one network on one split, in one folder."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from contract.bundle import MANIFEST_NAME, BundleNotFoundError
from contract.description import Evidence
from contract.files import write_text
from contract.parts import Precision
from training.data import manifest
from training.data.manifest import LabelledImage
from training.data.sets import ImageSet, set_of
from training.evaluation.figures.confusion import draw_confusion, draw_lymphocytes
from training.evaluation.figures.embedding_map import draw_embedding_map
from training.evaluation.figures.gallery import draw_gallery, galleries
from training.evaluation.figures.reliability import draw_reliability
from training.evaluation.figures.training_curves import draw_training_curves
from training.evaluation.measures import measure
from training.evaluation.network import BundleNetwork, TrainedNetwork
from training.evaluation.predictions import Predictions, predict
from training.evaluation.probe import probe
from training.evaluation.report import REPORT, Figure, caveats, publish, tables_of, write
from training.evaluation.results import EvaluationError

RUN_FILE: Final = "recipe.json"
METRICS: Final = "metrics"
"""``metrics.json`` and, for people, ``metrics.md``."""
PROBE_FILE: Final = "probe.json"
ORDINARY_SETS: Final[tuple[ImageSet, ...]] = ("A", "B", "C")
"""Look-alikes of set D are for the sanity test: whether their labels are right is not known."""


def is_run(folder: Path) -> bool:
    """Whether ``hal train`` wrote this folder."""
    return (folder / RUN_FILE).is_file()


def open_network(folder: Path, precision: Precision | None = None) -> TrainedNetwork:
    if is_run(folder):
        from training.evaluation.run_network import RunNetwork  # loads TensorFlow, which a bundle does without

        return RunNetwork.open(folder, precision)
    if (folder / MANIFEST_NAME).is_file():
        return BundleNetwork.open(folder, precision)
    raise BundleNotFoundError(
        f"no {MANIFEST_NAME} and no {RUN_FILE} in {folder}; give the folder of a bundle ('hal export'), for example "
        "models/hal-c/3, or of a run ('hal train')"
    )


def evaluate(folder: Path, data: Path | None, split: str, precision: Precision | None, out: Path | None) -> Path | None:
    """Evaluate a run or a bundle, print its figures and write the report.

    It is written to ``out``, else to ``RUN/evaluation/SPLIT`` for a run and nowhere for a bundle.
    """
    network = open_network(folder, precision)
    out = out or default_folder(network, split)
    predictions = predictions_of(network, data, split, out)
    seed = int(network.recipe["seed"])
    measures = measure(predictions, network.classes)
    found = probe(predictions.embeddings, predictions.images, seed)
    notes, tables = caveats(measures, predictions), tables_of(measures, found, network)
    publish(network.name, measures, tables, [f"note: {note}" for note in notes], None if out is None else out / METRICS)
    if out is None:
        return None
    write_text(out / PROBE_FILE, found.model_dump_json(indent=2) + "\n")
    write(out / REPORT, network, measures, notes, tables, _draw(network, predictions, out / "figures", seed))
    return out / REPORT


def default_folder(network: TrainedNetwork, split: str) -> Path | None:
    """Where a run keeps its own evaluation; ``None`` of a bundle."""
    return network.root / "evaluation" / split if is_run(network.root) else None


def images_of(network: TrainedNetwork, data: Path | None) -> list[LabelledImage]:
    if data is not None:
        return manifest.read(data)
    if not is_run(network.root):
        raise EvaluationError(
            f"{network.root} is a bundle, which holds no images; name them with --data, for example "
            "--data datasets/open.csv"
        )
    return list(network.images)


def predictions_of(network: TrainedNetwork, data: Path | None, split: str, out: Path | None = None) -> Predictions:
    """What a network says about a split, kept with the run or in ``out`` and taken from there when still true."""
    images, left_out = choose(images_of(network, data), split, [network], ORDINARY_SETS)
    return predict(network, images, split, sets_of(images, [network]), left_out, out or default_folder(network, split))


def _draw(network: TrainedNetwork, predictions: Predictions, folder: Path, seed: int) -> list[Figure]:
    evaluation, images = predictions.evaluation, predictions.images
    title = f"{predictions.network}, {len(images)} images ({predictions.split})"
    matrix, map_title = evaluation.confusion, f"t-SNE, {title}"
    figures = [
        Figure(
            draw_confusion(matrix, folder, "confusion", title),
            "Confusion matrix. Counts are images; a cell's colour is the share of its row (the true class), on a "
            "square-root scale. Classes without images are grey.",
        ),
        Figure(
            draw_lymphocytes(matrix, folder, "lymphocytes", title),
            "The lymphocyte classes, all others together as Other.",
        ),
        Figure(
            draw_embedding_map(predictions.embeddings, images, folder, "embedding-map", map_title, seed),
            "t-SNE of the l2-normalised encoder output, the same points by class and by source. Neighbours are "
            "meaningful, distances between clusters are not. A class that falls apart by source is a class whose "
            "source the network sees. There is none of fewer than five images, nor where all embeddings are (almost) "
            "equal, as of an encoder that has collapsed.",
        ),
        Figure(
            draw_reliability(evaluation, predictions.uncalibrated, folder, "reliability", title),
            "Reliability: share of right answers by the largest probability, with Wilson 95 % intervals. "
            f"Temperature {predictions.fitted.temperature:.3f}, {predictions.fitted.basis}.",
        ),
    ]
    curves = draw_training_curves(network.root / "history.csv", folder, "training-curves", predictions.network)
    if curves is not None:
        figures.append(Figure(curves, "Training curves, a row a stage. Contrastive stages have another loss."))
    for gallery in galleries(predictions):
        path = draw_gallery(gallery, predictions, folder)
        more = f" All {len(gallery.chosen)} are listed in figures/{gallery.name}.csv." if path else " None."
        figures.append(Figure(path, f"{gallery.title}, the most confident first.{more}"))
    return figures


def choose(
    images: Sequence[LabelledImage], split: str, networks: Sequence[TrainedNetwork], sets: Sequence[ImageSet]
) -> tuple[list[LabelledImage], dict[str, int]]:
    """The images of a split that every network can be asked about, and how many were left out for which reason.

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
            f"manifest holds {held}: choose another --split, or give a manifest with such images with --data"
        )
    return chosen, dict(left_out)


def sets_of(images: Sequence[LabelledImage], networks: Sequence[TrainedNetwork]) -> list[ImageSet]:
    """The set of each image; what the networks were trained on tells too which sources hold hairy cells."""
    others = [image for network in networks for image in network.images]
    return set_of([*images, *others])[: len(images)]
