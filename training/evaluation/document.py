"""The report: one HTML file with everything in it, for reading, mailing and printing."""

import base64
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from jinja2 import Environment, PackageLoader, StrictUndefined

from contract.atomic import write_text
from training.data.manifest import counts
from training.evaluation.measures import Measures, Share
from training.evaluation.network import Network
from training.evaluation.predictions import Predictions
from training.evaluation.probe import ProbeReport

REPORT: Final = "report.html"
TEMPLATE: Final = "report.html.jinja"


@dataclass(frozen=True, slots=True)
class Figure:
    """A picture with its caption; ``path`` is ``None`` where there was nothing to draw, which ``caption`` explains."""

    path: Path | None
    caption: str


@dataclass(frozen=True, slots=True)
class Results:
    """All that a report tells."""

    network: Network
    predictions: Predictions
    measures: Measures
    probe: ProbeReport
    caveats: tuple[str, ...]
    figures: tuple[Figure, ...]


def write(results: Results, folder: Path) -> Path:
    """Render ``folder/report.html``; pictures are inside it and nothing is loaded from elsewhere."""
    path = folder / REPORT
    write_text(path, render(results))
    return path


def render(results: Results) -> str:
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


def _share(share: Share | None) -> str:
    """A share with its interval, short."""
    if share is None:
        return "-"
    low, high = share.interval95
    return f"{share.value:.3f} ({low:.3f} to {high:.3f})"


def _inline(path: Path) -> str:
    """A picture as the address of its own content."""
    return "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode("ascii")
