"""An evaluation in the terminal."""

from rich.console import Console
from rich.table import Table

from training.evaluation.measures import HairyMeasures, Measures, Share
from training.evaluation.probe import ProbeReport
from training.evaluation.tables import terminal


def print_measures(measures: Measures, caveats: tuple[str, ...], probe: ProbeReport) -> None:
    """The figures, the verdict of the shortcut probe and the caveats."""
    console = terminal()
    table = Table(
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
        console.print(f"  {name}: {_share(share) or 'no images'}", markup=False)


def _short(share: Share | None) -> str:
    return "" if share is None else f"{share.value:.3f} [{share.interval95[0]:.3f}, {share.interval95[1]:.3f}]"


def _share(share: Share | None) -> str:
    return "" if share is None else str(share)
