"""Pictures of the figures, as SVG."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.service.report import KINDS


def plot_null(rows: Sequence[dict[str, Any]], target: Path) -> None:
    """Images a second by candidate and kind of request."""
    from matplotlib.figure import Figure

    measured = [row for row in rows if "note" not in row]
    figure = Figure(figsize=(7, 0.35 * len(measured) + 1), layout="constrained")
    axes = figure.add_subplot()
    names = [f"{row['candidate']}, {KINDS[row['kind']]}" for row in measured]
    colours = ["tab:blue" if row["candidate"] == "HAL" else "tab:grey" for row in measured]
    bars = axes.barh(names, [row["images_per_second"] for row in measured], color=colours)
    axes.bar_label(bars, fmt="%.0f", padding=3)
    axes.margins(x=0.12)
    axes.invert_yaxis()
    axes.set_xlabel("images a second, null bundle")
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    figure.savefig(target, metadata={"Date": None})


def plot_device(rows: Sequence[dict[str, Any]], target: Path) -> None:
    """Latency and batch size by offered load, one line for each way of forming batches."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 3.2), layout="constrained")
    latency, batch = figure.subplots(1, 2)
    for way in dict.fromkeys(row["way"] for row in rows if row["rate"] is not None):
        own = [row for row in rows if row["way"] == way]
        offered = [row["rate"] for row in own]
        (line,) = latency.plot(offered, [row["latency_ms"]["p50"] for row in own], marker="o", label=f"{way}, median")
        p99 = [row["latency_ms"]["p99"] for row in own]
        latency.plot(offered, p99, marker="o", linestyle=":", color=line.get_color(), label=f"{way}, p99")
        if "batch" in own[0]:
            batch.plot(offered, [row["batch"] for row in own], marker="o", color=line.get_color(), label=way)
    latency.set(ylabel="ms", yscale="log", xlabel="offered images a second")
    batch.set(ylabel="images in a batch", xlabel="offered images a second")
    for axes in (latency, batch):
        axes.legend(fontsize=7)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
    figure.savefig(target, metadata={"Date": None})


def plot_soak(figures: dict[str, Any], target: Path) -> None:
    """Memory by time, from zero, so that a ripple looks like one."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 2.6), layout="constrained")
    axes = figure.add_subplot()
    axes.plot(*zip(*((at, held / 2**20) for at, held in figures["memory"]), strict=True) if figures["memory"] else ())
    axes.set(xlabel="seconds at saturation", ylabel="MiB", ylim=(0, None))
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    figure.savefig(target, metadata={"Date": None})
