"""The pictures of the reports, as SVG text."""

import io
from collections.abc import Sequence
from typing import Any, Final

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatter

from bench.load import OK
from bench.load_test import Step
from bench.statistics import Batches, latencies_ms

KINDS: Final = {"form": "form, 1 image", "raw": "raw body, 1 image", "bulk": "form, 64 images"}
COLOURS: Final = ("#0072B2", "#009E73", "#E69F00", "#D55E00", "#CC79A7")
"""Okabe and Ito 2008, "Color Universal Design"."""
_GREY: Final = "#8a8a8a"
_PLAIN: Final[Any] = {"svg.fonttype": "none", "font.family": "sans-serif", "font.size": 9, "svg.hashsalt": "hal"}


def latency_against_load(steps: Sequence[Step], saturation: Step) -> str:
    figure, (axes,) = _figure(3.6)
    offered = [step.figures.offered for step in steps]
    for colour, name in zip(COLOURS, steps[0].figures.latency_ms, strict=True):
        known = [(x, y) for x, step in zip(offered, steps, strict=True) if (y := step.figures.latency_ms[name])]
        if known:
            axes.plot(*zip(*known, strict=True), "o-", color=colour, label=name, markersize=4)
    axes.axvline(saturation.figures.requests_s, color=_GREY, linestyle=":", label="saturation")
    axes.set(xlabel="offered load (requests/s)", ylabel="latency from when due (ms)", yscale="log", xlim=(0, None))
    axes.yaxis.set_major_formatter(LogFormatter())
    axes.yaxis.set_minor_formatter(LogFormatter(minor_thresholds=(1, 0.4)))
    return _svg(figure)


def rate_against_load(steps: Sequence[Step]) -> str:
    figure, (axes,) = _figure(2.8)
    offered = [step.figures.offered for step in steps]
    axes.plot([0, max(offered)], [0, max(offered)], color=_GREY, linestyle=":", label="all answered")
    axes.plot(offered, [step.figures.requests_s for step in steps], "o-", color=COLOURS[0], label="answered")
    errors = [step.figures.errors / step.load.duration_s for step in steps]
    axes.plot(offered, errors, "s-", color=COLOURS[3], label="errors")
    axes.set(xlabel="offered load (requests/s)", ylabel="requests/s", xlim=(0, None), ylim=(0, None))
    return _svg(figure)


def batch_against_load(steps: Sequence[Step]) -> str | None:
    """Mean batch size against offered load; ``None`` where the service does not tell."""
    known = [(step.figures.offered, step.batches.mean) for step in steps if step.batches and step.batches.mean]
    if not known:
        return None
    figure, (axes,) = _figure(2.8)
    axes.plot(*zip(*known, strict=True), "o-", color=COLOURS[0])
    axes.set(xlabel="offered load (requests/s)", ylabel="images in a batch (mean)", xlim=(0, None), ylim=(0, None))
    return _svg(figure)


def batch_sizes(batches: Batches | None) -> str | None:
    """Share of the batches by size; ``None`` without a batch."""
    if batches is None or not batches.count:
        return None
    figure, (axes,) = _figure(2.4)
    shares = batches.shares()
    axes.bar(list(shares), [100 * share for share in shares.values()], color=COLOURS[0], width=0.7)
    axes.set(xlabel="images in a batch", ylabel="% of the batches")
    return _svg(figure)


def latency_histogram(step: Step) -> str | None:
    """Histogram of latencies on a logarithmic axis; ``None`` without answers."""
    values = latencies_ms(step.samples, step.load)
    if not len(values):
        return None
    figure, (axes,) = _figure(2.8)
    low, high = max(values.min(), 0.01), max(values.max(), values.min() * 1.1)
    axes.hist(values, bins=np.geomspace(low, high, 60).tolist(), color=COLOURS[0], label="requests")
    for colour, name in zip(COLOURS[1:], ("p50", "p95", "p99"), strict=False):
        if (value := step.figures.latency_ms[name]) is not None:
            axes.axvline(value, color=colour, linewidth=1.2, label=f"{name} {value:.1f} ms")
    axes.set(xlabel="latency (ms)", ylabel="requests", xscale="log")
    return _svg(figure)


def latency_over_time(step: Step) -> str | None:
    """Median and 99th percentile in each second, warm-up included; ``None`` without answers."""
    ok = np.array([outcome == OK for outcome in step.samples.outcomes], dtype=bool)
    if not ok.any():
        return None
    figure, (axes,) = _figure(2.8)
    due = np.array(step.samples.due)[ok]
    values = 1000 * (np.array(step.samples.ended)[ok] - due)
    seconds = np.unique(np.floor(due))
    for colour, percent in ((COLOURS[0], 50), (COLOURS[3], 99)):
        each = [float(np.percentile(values[np.floor(due) == second], percent)) for second in seconds]
        axes.plot(seconds + 0.5, each, color=colour, label=f"p{percent}")
    if seconds[0] < 0:
        axes.axvspan(float(seconds[0]), 0, color="#ececec", label="warm-up")
    axes.set(xlabel="seconds", ylabel="latency (ms)", ylim=(0, None))
    return _svg(figure)


def null(rows: Sequence[dict[str, Any]]) -> str:
    measured = [row for row in rows if "note" not in row]
    figure, (axes,) = _figure(0.35 * len(measured) + 1)
    names = [f"{row['candidate']}, {KINDS[row['kind']]}" for row in measured]
    colours = [COLOURS[0] if row["candidate"] == "HAL" else _GREY for row in measured]
    bars = axes.barh(names, [row["images_s"] for row in measured], color=colours)
    axes.bar_label(bars, fmt="%.0f", padding=3)
    axes.margins(x=0.12)
    axes.invert_yaxis()
    axes.set_xlabel("images a second, null bundle")
    return _svg(figure)


def device(rows: Sequence[dict[str, Any]]) -> str:
    """Latency and batch size by offered load, one line for each way of forming batches."""
    figure, (latency, batch) = _figure(3.2, columns=2)
    for way in dict.fromkeys(row["way"] for row in rows if row["rate"] is not None):
        own = [row for row in rows if row["way"] == way]
        offered = [row["rate"] for row in own]
        for name, style in (("p50", "o-"), ("p99", "o:")):
            latencies = [row["latency_ms"][name] or np.nan for row in own]
            latency.plot(offered, latencies, style, color=COLOURS[way != "HAL"], label=f"{way}, {name}")
        if "batch" in own[0]:
            batch.plot(offered, [row["batch"] for row in own], "o-", color=COLOURS[0], label=way)
    latency.set(ylabel="ms", yscale="log", xlabel="offered images a second")
    batch.set(ylabel="images in a batch", xlabel="offered images a second")
    return _svg(figure)


def soak(memory: Sequence[tuple[float, int]]) -> str:
    """Memory by time, from zero, so that a ripple looks like one."""
    figure, (axes,) = _figure(2.6)
    axes.plot([at for at, _ in memory], [held / 2**20 for _, held in memory], color=COLOURS[0])
    axes.set(xlabel="seconds at saturation", ylabel="MiB", ylim=(0, None))
    return _svg(figure)


def _figure(height: float, columns: int = 1) -> tuple[Figure, list[Axes]]:
    with mpl.rc_context(_PLAIN):
        figure = Figure(figsize=(7.0, height), layout="constrained")
        every = [figure.add_subplot(1, columns, column + 1) for column in range(columns)]
    for axes in every:
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="y", color="#ececec")
        axes.set_axisbelow(True)
    return figure, every


def _svg(figure: Figure) -> str:
    stream = io.StringIO()
    with mpl.rc_context(_PLAIN):
        for axes in figure.axes:
            if len(axes.get_legend_handles_labels()[0]) > 1:
                axes.legend(frameon=False, fontsize=8)
        figure.savefig(stream, format="svg", facecolor="white", metadata={"Date": None})
    return stream.getvalue()
