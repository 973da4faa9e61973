"""What people read of an evaluation: tables and caveats, in the terminal, as Markdown and in one HTML file."""

import base64
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from jinja2 import Environment, PackageLoader, StrictUndefined
from rich.console import Console
from rich.table import Table as RichTable

from contract.classes import CLASS_COUNT
from contract.description import Evidence
from contract.files import write_text
from training.evaluation.measures import Measures
from training.evaluation.network import TrainedNetwork
from training.evaluation.predictions import Predictions
from training.evaluation.probe import ProbeReport
from training.evaluation.results import Proportion, Record

WIDTH: Final = 132
FEW: Final = 30
REPORT: Final = "report.html"


@dataclass(frozen=True, slots=True)
class Table:
    """Title, column names, rows of text, and what must be known to read them."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""

    def for_terminal(self) -> RichTable:
        shown = RichTable(*self.columns, title=self.title)
        for row in self.rows:
            shown.add_row(*row)
        return shown

    def markdown(self) -> str:
        lines = [f"## {self.title}", "", *([self.note, ""] if self.note else [])]
        lines += [_line(self.columns), _line(["---"] * len(self.columns)), *map(_line, self.rows)]
        return "\n".join([*lines, ""])


def publish(title: str, result: Record, tables: Sequence[Table], sentences: Sequence[str], stem: Path | None) -> None:
    """Print tables and sentences, and write them to ``stem.md`` and the result to ``stem.json`` where there is one."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=WIDTH)
    for table in tables:
        console.print(table.for_terminal())
        if table.note:
            console.print(table.note, markup=False)
    for sentence in sentences:
        console.print(sentence, markup=False)
    if stem is not None:
        lines = [f"# {title}", "", *(table.markdown() for table in tables), *(f"{each}\n" for each in sentences)]
        stem.parent.mkdir(parents=True, exist_ok=True)
        write_text(stem.with_suffix(".md"), "\n".join(lines))
        write_text(stem.with_suffix(".json"), result.model_dump_json(indent=2) + "\n")


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def short(share: Proportion | None) -> str:
    """A share with its interval, or ``-``."""
    return "-" if share is None else f"{share.value:.3f} ({_interval(share.interval95)})"


def _interval(interval: tuple[float, float]) -> str:
    return f"{interval[0]:.3f} to {interval[1]:.3f}"


def tables_of(measures: Measures, probe: ProbeReport, network: TrainedNetwork) -> list[Table]:
    first = [_figures(measures), *_hairy_cells(measures), _classes(measures), *_confusions(measures)]
    return [*first, _probe(probe), _origin(measures, network)]


def _figures(measures: Measures) -> Table:
    shares = {"Accuracy": measures.accuracy}
    shares |= {f"Accuracy, source {source}": each for source, each in measures.by_source.items()}
    shares |= {f"Accuracy, set {of_set}": each for of_set, each in measures.by_set.items()}
    if measures.expert_labelled is not None:
        shares["Accuracy, ten expert-labelled classes of pbc"] = measures.expert_labelled
    shares |= {f"Unfamiliar images, source {source}": each for source, each in measures.unfamiliar.items()}
    others = {
        "Macro F1, mean over the classes that occur": measures.macro_f1,
        "Cross-entropy": measures.loss,
        "Cross-entropy after temperature scaling": measures.calibrated_loss,
        "Expected calibration error": measures.calibration_error_before,
        "Expected calibration error after temperature scaling": measures.calibration_error,
    }
    return Table(
        f"{measures.network} on {measures.split}",
        ("Figure", "Value", "95 % interval", "Images"),
        (
            *((name, f"{s.value:.4f}", _interval(s.interval95), str(s.images)) for name, s in shares.items()),
            *((name, f"{value:.4f}", "", str(measures.images)) for name, value in others.items()),
        ),
        "Intervals are Wilson's. Sets (thesis Table 4.11): A hairy cells, B other cells of sources without hairy "
        "cells, C other cells of the sources of the hairy cells.",
    )


def _hairy_cells(measures: Measures) -> Iterable[Table]:
    if not measures.hairy:
        return
    fields = ("recall", "precision", "precision_on_hairy_slides", "false_calls", "false_calls_on_hairy_slides")
    cells = [[getattr(each, field) for field in fields] for each in measures.hairy]
    counted = [[f"{short(c)}, {c.hits} of {c.images}" if c else "no images" for c in row] for row in cells]
    yield Table(
        "Hairy cells",
        ("Called hairy by", "Recall", "Precision", "Precision, set C only", "False calls", "False calls, set C only"),
        tuple((each.rule, *row) for each, row in zip(measures.hairy, counted, strict=True)),
        "Exact intervals (Clopper and Pearson). Set C holds only other cells from the sources of the hairy cells: a "
        "network that has learned to tell sources apart is caught there.",
    )


def _classes(measures: Measures) -> Table:
    return Table(
        "Classes",
        ("Class", "Learned from", "Trained on", "Images here", "Recall", "Precision"),
        tuple(
            (c.name, c.evidence.value, str(c.training_images), str(c.images), short(c.recall), short(c.precision))
            for c in measures.classes
        ),
        "95 % intervals are Wilson's.",
    )


def _confusions(measures: Measures) -> Iterable[Table]:
    if measures.confusions:
        rows = tuple((true, predicted, str(count)) for true, predicted, count in measures.confusions)
        yield Table("Commonest confusions", ("True class", "Predicted class", "Images"), rows)


def _probe(probe: ProbeReport) -> Table:
    folds = {None: "", False: ", folds by image", True: ", folds by slide"}
    rows = []
    for each in probe.classes:
        sources = ", ".join(f"{source} ({count})" for source, count in each.sources.items())
        measured = (each.balanced_accuracy, each.interval95, each.chance, each.area_under_curve)
        figures = ("-" if f is None else _interval(f) if isinstance(f, tuple) else f"{f:.3f}" for f in measured)
        rows.append((each.name, sources, *figures, each.outcome + folds[each.grouped_by_slide]))
    return Table(
        "Shortcut probe",
        ("Class", "Sources (images)", "Balanced accuracy", "95 % interval", "Chance", "AUC", "Outcome"),
        tuple(rows),
        f"{probe.verdict} A linear classifier tries to name the source of a cell from its embedding, among cells of "
        "the same class; figures are of images it was not fitted on, the interval is that of repeated "
        "cross-validation (Nadeau and Bengio 2003).",
    )


def _origin(measures: Measures, network: TrainedNetwork) -> Table:
    threshold = measures.hairy_threshold
    held_out = sum(image.split == "val" for image in network.images)
    rows = {
        "Recipe": network.recipe["name"],
        "Seed": str(network.recipe["seed"]),
        "Trained on": f"{sum(each.training_images for each in network.classes)} images, validated with {held_out}",
        "Sources": ", ".join(sorted({image.source for image in network.images})),
        "Temperature": f"{measures.temperature:.4f}: {measures.fitted_on}",
        "Hairy threshold": "none" if threshold is None else f"{threshold:.6g}",
        "SHA-256 of the weights": measures.network_sha256,
    }
    return Table("Origin", ("", ""), tuple(rows.items()))


def caveats(measures: Measures, predictions: Predictions) -> list[str]:
    """One sentence a caveat, the gravest first."""
    return [*_of_images(measures, predictions), *_of_hairy_cells(measures), *_of_classes(measures)]


def _of_images(measures: Measures, predictions: Predictions) -> Iterable[str]:
    count = measures.images
    if measures.trained_on:
        yield (
            f"{measures.trained_on} of {count} images were trained on: these figures tell how well the network "
            "remembers, not how well it will do."
        )
    if measures.validated_with:
        yield (
            f"{measures.validated_with} of {count} images are validation images that the temperature and the "
            "thresholds were fitted on (and recipes may have been chosen by): the loss after scaling, the calibration "
            "error and the figures of the flag are somewhat too good."
        )
    if measures.split != "test":
        yield f"These are not test images (split {measures.split})."
    for reason, left_out in measures.left_out.items():
        yield f"Left out: {left_out} images {reason}."
    if unknown := sum(not image.slide_id for image in predictions.images):
        yield (
            f"The slide or patient of {unknown} of {count} images is not known. Intervals treat images as independent, "
            "and images of one patient may be on both sides of the split: expect lower figures for new patients."
        )
    else:
        slides = len({(image.source, image.slide_id) for image in predictions.images})
        yield (
            f"{count} images come from {slides} slides. Intervals treat images as independent; cells of one slide are "
            "alike, so the true intervals are wider."
        )


def _of_hairy_cells(measures: Measures) -> Iterable[str]:
    if not measures.hairy:
        yield "The network was never trained on hairy cells and cannot name one."
    elif measures.hairy[0].recall is None:
        yield "There are no hairy cells among the images: nothing is known about how many would be found."
    elif measures.hairy[0].false_calls_on_hairy_slides is None:
        yield (
            "No other cell comes from the sources of the hairy cells (set C is empty), so the precision of hairy cells "
            "is confounded: the network may have told sources apart and not cells."
        )


def _of_classes(measures: Measures) -> Iterable[str]:
    known = [each for each in measures.classes if each.evidence is not Evidence.NONE]
    if unknown := [each.name for each in measures.classes if each.evidence is Evidence.NONE]:
        yield f"Only {len(known)} of {CLASS_COUNT} classes were trained on; never trained on: {', '.join(unknown)}."
    if weak := [each.name for each in known if each.evidence is not Evidence.REAL]:
        yield f"Labels not given by experts, or images that were edited: {', '.join(weak)}."
    if absent := [each.name for each in known if each.images == 0]:
        yield f"Trained on, but without images here: {', '.join(absent)}."
    if few := [f"{each.name} ({each.images})" for each in known if 0 < each.images < FEW]:
        yield f"Fewer than {FEW} images, so that recall is little more than a hint: {', '.join(few)}."


@dataclass(frozen=True, slots=True)
class Figure:
    """A picture with its caption; ``path`` is ``None`` where there was nothing to draw, which ``caption`` explains."""

    path: Path | None
    caption: str


def write(
    path: Path,
    network: TrainedNetwork,
    measures: Measures,
    notes: Sequence[str],
    tables: Sequence[Table],
    figures: Sequence[Figure],
) -> None:
    """Write the HTML report; pictures are inside it and nothing is loaded from elsewhere."""
    environment = Environment(
        loader=PackageLoader("training.evaluation", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["inline"] = lambda picture: base64.b64encode(picture.read_bytes()).decode("ascii")
    recipe = json.dumps(network.recipe, indent=2, ensure_ascii=False)
    shown = {"measures": measures, "caveats": notes, "tables": tables, "figures": figures, "recipe": recipe}
    write_text(path, environment.get_template("report.html.jinja").render(shown))
