"""``MODEL_CARD.md``: one page for people of what ``bundle.json`` says; all figures are there."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from contract import bundle
from contract.description import AS_PHOTOGRAPHED, BundleDescription, Evidence, Metric, StartedFrom
from contract.files import write_text
from training.export import triton

FILE_NAME = "MODEL_CARD.md"
RECALL = "recall, "
ELSEWHERE = "never trained on"
"""Split of figures of data sets that had no part in the bundle."""
MEANING = {
    Evidence.REAL: "photographs labelled by experts",
    Evidence.SIZE_DERIVED: "photographs, label from a measured size",
    Evidence.COMPOSITE: "edited photographs of other cells",
    Evidence.NONE: "nothing: suppressed",
}
_ACCURACY = "accuracy, real images"
_FALSE_FLAGS = "false hairy flags, real images"
_SHOWN = (
    "mean recall",
    "mean recall before adapting",
    "accuracy, ten expert-labelled classes",
    _ACCURACY,
    "expected calibration error",
    _FALSE_FLAGS,
    "hairy cells flagged, composites",
    "false hairy flags, composites",
    "unfamiliar images",
)
_REAL_HAIRY = "real hairy cells flagged"
_COLUMNS = (
    _ACCURACY,
    "expected calibration error",
    "expected calibration error under perfect calibration",
    "unfamiliar images",
    "accuracy, familiar images",
    _FALSE_FLAGS,
)
"""Of the table of other laboratories."""


def render(description: BundleDescription) -> str:
    shipped, metrics = description.files[0].precision, description.metrics
    own = [metric for metric in metrics if metric.split != ELSEWHERE and metric.precision == shipped]
    split = "test" if any(metric.split == "test" for metric in own) else "val"
    measured = [metric for metric in own if metric.split == split]
    photographed = [metric for metric in measured if metric.condition == AS_PHOTOGRAPHED]
    changed = [m for m in measured if m.condition != AS_PHOTOGRAPHED and m.name == _ACCURACY]
    elsewhere = [metric for metric in metrics if metric.split == ELSEWHERE]
    accuracies = [metric for metric in photographed if metric.name == _ACCURACY]
    provenance = description.provenance
    made = any(entry.evidence is Evidence.COMPOSITE for entry in description.classes)
    environment = Environment(  # noqa: S701 - Markdown, of a description that was validated
        loader=PackageLoader("training.export", ""), undefined=StrictUndefined, keep_trailing_newline=True
    )
    return environment.get_template("model_card.md.jinja").render(
        {name: getattr(description, name) for name in type(description).model_fields},
        split=split,
        figures=[metric for name in _SHOWN for metric in photographed if metric.name == name],
        all_data=max((m.images, m.data) for m in accuracies)[1] if accuracies else None,
        worst=min(changed, key=lambda metric: metric.value, default=None),
        recalls={m.name.removeprefix(RECALL): m for m in photographed if m.name.startswith(RECALL)},
        elsewhere=_by_data(elsewhere),
        hairy=[metric for metric in elsewhere if metric.name.startswith(_REAL_HAIRY)],
        meaning=MEANING,
        made=made,
        training=[*_training(provenance.recipe["name"], provenance.run, provenance.started_from, made=made)],
        commands=[*dict.fromkeys(metric.command for metric in metrics)],
        interval=_interval,
    )


def rewrite(folder: Path, description: BundleDescription) -> None:
    """Describe a bundle anew: ``bundle.json``, the card and Triton's configuration."""
    bundle.write(folder, description)
    triton.write(folder, description)
    write_text(folder / FILE_NAME, render(description))


def _by_data(elsewhere: Iterable[Metric]) -> dict[str, dict[str, Any]]:
    """A row of the table for each data set: figures by name, nothing where there is none."""
    rows: dict[str, dict[str, Any]] = {}
    for metric in elsewhere:
        if metric.name.startswith((RECALL, _REAL_HAIRY)):
            continue
        row = rows.setdefault(metric.data, dict.fromkeys(_COLUMNS, ""))
        row[metric.name] = f"{metric.value:.3f}"
        row["images"] = max(metric.images, row.get("images", 0))
    return rows


def _training(recipe: str, run: str, origin: StartedFrom | None, *, made: bool) -> Iterable[str]:
    """The commands that train a run, those of what it began with first."""
    if origin is not None:
        yield from _training(origin.recipe["name"], origin.run, origin.started_from, made=made)
    start = "" if origin is None else f" --start-from runs/{origin.run}"
    yield f"hal train {recipe}{start} --data {manifest_path(run, made=made)} --run runs/{run}"


def manifest_path(run: str, *, made: bool) -> str:
    """Where the documents' commands keep the images of a run: a set with edited images is named like its run."""
    return f"datasets/{run}/manifest.csv" if made else "datasets/open.csv"


def _interval(metric: Metric) -> str:
    return f"{metric.interval95[0]:.3f} to {metric.interval95[1]:.3f}" if metric.interval95 else ""
