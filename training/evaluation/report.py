"""What people read of an evaluation: tables, caveats, the terminal, and one HTML file for reading and printing."""

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
from training.data.manifest import counts
from training.evaluation.measures import HairyMeasures, Measures, Ratio
from training.evaluation.network import TrainedNetwork
from training.evaluation.predictions import Predictions
from training.evaluation.probe import ProbeReport
from training.evaluation.results import Record

WIDTH: Final = 132


@dataclass(frozen=True, slots=True)
class Table:
    """Title, column names and rows of text."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def for_terminal(self) -> RichTable:
        """To be printed by a rich console."""
        shown = RichTable(*self.columns, title=self.title)
        for row in self.rows:
            shown.add_row(*row)
        return shown

    def markdown(self) -> str:
        """A heading and a pipe table."""
        lines = [f"## {self.title}", "", _line(self.columns), _line(["---"] * len(self.columns))]
        return "\n".join([*lines, *(_line(row) for row in self.rows), ""])


def terminal() -> Console:
    """As wide as the terminal; in a file or a log wide enough for the tables."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=WIDTH)


def publish(title: str, result: Record, tables: Sequence[Table], sentences: Sequence[str], stem: Path | None) -> None:
    """Print tables and sentences, and write them to ``stem.md`` and the result to ``stem.json`` where there is one."""
    console = terminal()
    for table in tables:
        console.print(table.for_terminal())
    for sentence in sentences:
        console.print(sentence, markup=False)
    if stem is not None:
        stem.parent.mkdir(parents=True, exist_ok=True)
        lines = [f"# {title}", "", *(table.markdown() for table in tables), *(f"{each}\n" for each in sentences)]
        write_text(stem.with_suffix(".md"), "\n".join(lines))
        write_text(stem.with_suffix(".json"), result.model_dump_json(indent=2) + "\n")


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


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


def print_measures(measures: Measures, caveats: tuple[str, ...], probe: ProbeReport) -> None:
    """The figures, the verdict of the shortcut probe and the caveats."""
    console = terminal()
    table = RichTable(
        "Class",
        "Images",
        "Recall, 95 % (Wilson)",
        "Precision, 95 % (Wilson)",
        title=f"{measures.network} on {measures.split}",
    )
    for each in measures.classes:
        if each.images or each.predicted:
            table.add_row(each.name, str(each.images), _short(each.recall), _short(each.precision))
    console.print(table)
    console.print(f"accuracy {measures.accuracy}", markup=False)
    if len(measures.by_source) > 1:
        for source, share in measures.by_source.items():
            console.print(f"  of {source}: {share}", markup=False)
    for source, share in measures.unfamiliar.items():
        console.print(f"unfamiliar images of {source}: {share}", markup=False)
    if measures.expert_labelled is not None:
        console.print(f"accuracy, ten expert-labelled classes of pbc {measures.expert_labelled}", markup=False)
    console.print(f"macro F1 {measures.macro_f1:.4f}")
    console.print(f"cross-entropy {measures.loss:.4f}, after temperature scaling {measures.calibrated_loss:.4f}")
    console.print(
        f"expected calibration error {measures.calibration_error:.4f} "
        f"(before scaling by {measures.temperature:.3f}: {measures.calibration_error_before:.4f})"
    )
    for hairy in measures.hairy:
        _print_hairy(console, hairy)
    console.print("commonest confusions (true -> predicted):")
    for true, predicted, count in measures.confusions:
        console.print(f"  {true} -> {predicted}: {count}", markup=False)
    console.print(f"shortcut probe: {probe.verdict}", markup=False)
    for caveat in caveats:
        console.print(f"note: {caveat}", markup=False)


def _print_hairy(console: Console, hairy: HairyMeasures) -> None:
    console.print(f"hairy cells by {hairy.rule} (95 % intervals of Clopper and Pearson):", markup=False)
    for name, share in (
        ("recall", hairy.recall),
        ("precision, all negatives", hairy.precision),
        ("precision, negatives of the hairy slides (set C)", hairy.precision_on_hairy_slides),
        ("false calls, all negatives", hairy.false_calls),
        ("false calls, negatives of the hairy slides (set C)", hairy.false_calls_on_hairy_slides),
    ):
        console.print(f"  {name}: {share or 'no images'}", markup=False)


def _short(share: Ratio | None) -> str:
    return "" if share is None else f"{share.value:.3f} [{share.interval95[0]:.3f}, {share.interval95[1]:.3f}]"


REPORT: Final = "report.html"
TEMPLATE: Final = "report.html.jinja"


@dataclass(frozen=True, slots=True)
class Figure:
    """A picture with its caption; ``path`` is ``None`` where there was nothing to draw, which ``caption`` explains."""

    path: Path | None
    caption: str


@dataclass(frozen=True, slots=True)
class ReportContent:
    """All that a report tells."""

    network: TrainedNetwork
    predictions: Predictions
    measures: Measures
    probe: ProbeReport
    caveats: tuple[str, ...]
    figures: tuple[Figure, ...]


def write(results: ReportContent, folder: Path) -> Path:
    """Render ``folder/report.html``; pictures are inside it and nothing is loaded from elsewhere."""
    path = folder / REPORT
    write_text(path, render(results))
    return path


def render(results: ReportContent) -> str:
    """The report of an evaluation as HTML."""
    environment = Environment(
        loader=PackageLoader("training.evaluation", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"share": _share, "inline": _inline}
    network = results.network
    splits = counts(network.images)
    return environment.get_template(TEMPLATE).render(
        network=network,
        measures=results.measures,
        probe=results.probe,
        caveats=results.caveats,
        figures=results.figures,
        recipe=json.dumps(network.recipe, indent=2, ensure_ascii=False),
        seed=network.recipe["seed"],
        training_images=sum(each.training_images for each in network.classes),
        validation_images=sum(count for (_, split), count in splits.items() if split == "val"),
        sources=sorted({image.source for image in network.images}),
    )


def _share(share: Ratio | None) -> str:
    """A share with its interval, short."""
    if share is None:
        return "-"
    low, high = share.interval95
    return f"{share.value:.3f} ({low:.3f} to {high:.3f})"


def _inline(path: Path) -> str:
    """A picture as the address of its own content."""
    return "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode("ascii")
