"""The plots of a report, as SVG."""

import io
from collections.abc import Sequence
from typing import Any, Final

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench.loadtest.figures import latencies_ms
from bench.loadtest.server_side import Batches
from bench.loadtest.trial import Step

COLOURS: Final = ("#0072B2", "#009E73", "#E69F00", "#D55E00", "#CC79A7")
"""Okabe and Ito 2008, "Color Universal Design"."""
_GREY: Final = "#8a8a8a"
_PLAIN: Final[Any] = {"svg.fonttype": "none", "font.family": "sans-serif", "font.size": 9, "svg.hashsalt": "hal"}


def latency_against_load(steps: Sequence[Step], saturation: Step | None) -> str:
    """Latency percentiles against offered load."""
    drawn, axes = _figure(3.6)
    offered = [step.figures.offered for step in steps]
    for colour, percent in zip(COLOURS, (50.0, 90.0, 95.0, 99.0, 99.9), strict=True):
        known = [(x, y) for x, step in zip(offered, steps, strict=True) if (y := step.figures.latency_ms[percent])]
        if known:
            axes.plot(*zip(*known, strict=True), "o-", color=colour, label=f"p{percent:g}", markersize=4)
    if saturation is not None:
        axes.axvline(saturation.figures.requests_s, color=_GREY, linestyle=":", linewidth=1)
        axes.annotate(
            "saturation", (saturation.figures.requests_s, 1), xycoords=("data", "axes fraction"),
            xytext=(-3, -3), textcoords="offset points", ha="right", va="top", color=_GREY, fontsize=8,
        )  # fmt: skip
    axes.set(xlabel="offered load (requests/s)", ylabel="latency from when due (ms)", yscale="log", xlim=(0, None))
    if axes.get_legend_handles_labels()[0]:
        axes.legend(frameon=False, ncols=5, loc="lower center", bbox_to_anchor=(0.5, 1.0))
    return _svg(drawn)


def rate_against_load(steps: Sequence[Step]) -> str:
    """Answered requests against offered ones."""
    drawn, axes = _figure(2.8)
    offered = [step.figures.offered for step in steps]
    axes.plot([0, max(offered)], [0, max(offered)], color=_GREY, linestyle=":", linewidth=1, label="all answered")
    axes.plot(offered, [step.figures.requests_s for step in steps], "o-", color=COLOURS[0], label="answered")
    errors = [step.figures.errors / step.run.load.duration_s for step in steps]
    if any(errors):
        axes.plot(offered, errors, "s-", color=COLOURS[3], label="errors")
    axes.set(xlabel="offered load (requests/s)", ylabel="requests/s", xlim=(0, None), ylim=(0, None))
    axes.legend(frameon=False)
    return _svg(drawn)


def batch_against_load(steps: Sequence[Step]) -> str | None:
    """Mean batch size against offered load; ``None`` where the service does not tell."""
    known = [
        (step.figures.offered, step.batches.mean)
        for step in steps
        if isinstance(step.batches, Batches) and step.batches.mean is not None
    ]
    if not known:
        return None
    drawn, axes = _figure(2.8)
    axes.plot(*zip(*known, strict=True), "o-", color=COLOURS[0])
    axes.set(xlabel="offered load (requests/s)", ylabel="images in a batch (mean)", xlim=(0, None), ylim=(0, None))
    return _svg(drawn)


def batch_sizes(batches: Batches) -> str:
    """Share of the batches by size."""
    drawn, axes = _figure(2.4)
    shares = batches.shares()
    axes.bar(list(shares), [100 * share for share in shares.values()], color=COLOURS[0], width=0.7)
    axes.set(xlabel="images in a batch", ylabel="% of the batches")
    return _svg(drawn)


def latency_histogram(step: Step) -> str | None:
    """Histogram of latencies on a logarithmic axis; ``None`` without answers."""
    values = latencies_ms(step.run)
    if not len(values):
        return None
    drawn, axes = _figure(2.8)
    low, high = max(values.min(), 0.01), max(values.max(), values.min() * 1.1)
    axes.hist(values, bins=np.geomspace(low, high, 60).tolist(), color=COLOURS[0])
    for colour, percent in zip(COLOURS[1:], (50.0, 95.0, 99.0), strict=False):
        if (value := step.figures.latency_ms[percent]) is not None:
            axes.axvline(value, color=colour, linewidth=1.2, label=f"p{percent:g} {value:.1f} ms")
    axes.set(xlabel="latency (ms)", ylabel="requests", xscale="log")
    if axes.get_legend_handles_labels()[0]:
        axes.legend(frameon=False)
    return _svg(drawn)


def latency_over_time(step: Step) -> str | None:
    """Median and 99th percentile in each second of the measured time; ``None`` without answers."""
    samples = [sample for sample in step.run.samples if sample.outcome == "ok"]
    if not samples:
        return None
    drawn, axes = _figure(2.8)
    seconds = np.floor([sample.due for sample in samples])
    values = 1000 * np.array([sample.ended - sample.due for sample in samples])
    each = np.unique(seconds)
    for colour, percent in ((COLOURS[0], 50), (COLOURS[3], 99)):
        line = [float(np.percentile(values[seconds == second], percent)) for second in each]
        axes.plot(each + 0.5, line, color=colour, label=f"p{percent}")
    if seconds.min() < 0:
        axes.axvspan(float(seconds.min()), 0, color="#ececec", label="warm-up")
    axes.set(xlabel="seconds", ylabel="latency (ms)", ylim=(0, None))
    axes.legend(frameon=False)
    return _svg(drawn)


def _figure(height: float) -> tuple[Figure, Axes]:
    with mpl.rc_context(_PLAIN):
        drawn = Figure(figsize=(7.0, height), layout="constrained")
        axes = drawn.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="#ececec")
    axes.set_axisbelow(True)
    return drawn, axes


def _svg(drawn: Figure) -> str:
    stream = io.StringIO()
    with mpl.rc_context(_PLAIN):
        drawn.savefig(stream, format="svg", facecolor="white", metadata={"Date": None})
    return stream.getvalue()
