"""``hal slides summary``: results that were saved, as one slide's differential and advice."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from contract.files import write_text
from service.errors import UserError
from service.jobs.exit_codes import fail

if TYPE_CHECKING:
    from contract.bundle import Bundle
    from contract.parts import ModelFile
    from contract.slide import SlideSummary
    from service.serving.answers import ModelStamp
    from service.slides import GivenSlide

app = typer.Typer(no_args_is_help=True, help="The cells of a slide together: differential and advice.")


@app.callback()
def _group() -> None:
    """The cells of a slide together: differential and advice."""


@app.command("summary")
def summary(
    results: Annotated[
        list[Path],
        typer.Argument(
            help="Results of one slide: .csv or .jsonl of 'hal classify', an export of the page, or saved answers."
        ),
    ],
    bundle: Annotated[
        Path | None, typer.Option(help="Folder of the bundle that made the results (HAL_BUNDLE).")
    ] = None,
    site_fpr: Annotated[
        float | None, typer.Option(help="Rate of false hairy flags measured on your own slides (HAL_SITE_FPR).")
    ] = None,
    format: Annotated[Literal["text", "json", "fhir"], typer.Option(help="A table, JSON, or FHIR R4.")] = "text",
    out: Annotated[Path | None, typer.Option(help="Write to this file instead of the terminal.")] = None,
) -> None:
    """Differential per 100 white cells, hairy-cell flags with their test, and advice, from saved results of one slide.

    The rule is that of the service: HAL_SLIDE_MIN_CELLS, HAL_SLIDE_MIN_HITS, HAL_SLIDE_SIGNIFICANCE, HAL_SITE_FPR.

    Example: hal classify slide-4711/ --out slide-4711.jsonl && hal slides summary slide-4711.jsonl
    """
    from contract.bundle import BundleError, load
    from contract.slide import OtherBundleError, summarise
    from service.environment import load_settings
    from service.serving.answers import ModelStamp
    from service.serving.fhir import fhir_bundle
    from service.slides import read_files

    try:
        settings = load_settings({"bundle": bundle, "site_fpr": site_fpr})
        loaded = load(settings.bundle)
        slide = read_files(results)
        file = _file_of(slide, loaded)
        policy = loaded.description.policy
        found = summarise(
            slide.cells(policy.hairy_threshold),
            loaded.description,
            settings.slide_rule,
            site_rate=settings.site_fpr,
            refused=slide.refused,
        )
        match format:
            case "fhir":
                text = fhir_bundle(found, ModelStamp.of(loaded, file))
            case "json":
                text = found.model_dump_json(indent=2)
            case "text":
                text = _as_text(found, ModelStamp.of(loaded, file))
        if out is None:
            typer.echo(text)
        else:
            write_text(out, text + "\n")
    except (UserError, BundleError, OtherBundleError, OSError) as error:
        fail("hal slides summary", str(error))


def _file_of(slide: "GivenSlide", bundle: "Bundle") -> "ModelFile":
    """The file of the bundle that made the results, its first if they do not say."""
    from contract.slide import OtherBundleError

    if slide.model is None:
        return bundle.file()
    made_by = [file for file in bundle.description.files if file.sha256 == slide.model.sha256]
    if not made_by or slide.model.decision_policy not in (None, bundle.description.policy.version):
        raise OtherBundleError(
            f"the results were made with the model {slide.model.sha256[:12]} (policy {slide.model.decision_policy}), "
            f"which is not {bundle.root}; name its bundle with --bundle"
        )
    return made_by[0]


def _as_text(summary: "SlideSummary", model: "ModelStamp") -> str:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    table.add_column("Class")
    for heading in ("Cells", "Per 100 WBC", "95 % interval"):
        table.add_column(heading, justify="right")
    for row in sorted(summary.differential, key=lambda row: not row.is_wbc):
        interval = "" if row.interval95 is None else "{:.1f} to {:.1f}".format(*row.interval95)
        per_100 = "not known" if row.evidence == "none" else f"{row.per_100_wbc or 0:.1f}"
        table.add_row(row.class_name + ("" if row.is_wbc else " (not a white cell)"), str(row.count), per_100, interval)
    console = Console(width=100, color_system=None)
    with console.capture() as captured:
        console.print(
            f"{summary.images} images, {summary.white_cells} white cells, {summary.doubtful} cells for review"
            + ("" if summary.unfamiliar is None else f", {summary.unfamiliar.unfamiliar} unfamiliar images")
            + "\n"
        )
        console.print(table)
        console.print(f"\n{summary.advice.upper()}: {summary.reason}")
        for caution in summary.cautions:
            console.print(f"- {caution}")
        if summary.hairy is not None:
            console.print(f"Rate of false flags: {summary.hairy.false_flag_basis}.")
        console.print(f"Model {model.name} {model.version}. Preliminary; for research use.")
    return captured.get().rstrip()
