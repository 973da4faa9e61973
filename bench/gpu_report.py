"""The table, the verdicts and the files of ``hal bench gpu``."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from bench.report import LARGEST_GROWTH, table
from bench.service import growth
from contract.files import write_text

LEAST_RATIO: Final = 0.97
"""Of the engine's images a second to those of ONNX Runtime alone."""
LEAST_ON_DEVICE: Final = 0.9
"""Of the nodes' time; the arithmetic of shapes stays on the CPU."""
MOST_AFTER_A_CHANGE: Final = 1.5
"""Times what a batch takes otherwise; cuDNN's planning takes ten times as long and more (onnxruntime #23006)."""

Figures = dict[str, Any]


def write(figures: Figures, out: Path, must: Sequence[str]) -> tuple[str, bool]:
    """Write ``gpu.json`` and ``gpu.md`` into ``out``; the text of the latter, and whether every verdict is good.

    ``must`` are the providers that may not be left out.
    """
    found = [
        f"{'ok  ' if good else 'FAIL'} {name}: {words}"
        for name, each in figures["measured"].items()
        for good, words in verdicts(each)
    ]
    for name, reason in figures["left_out"].items():
        found.append(f"{'FAIL' if name in must else '-   '} {name}: left out, {reason}")
    figures["verdicts"] = found
    machine, gpu = figures["machine"], ", ".join(figures["machine"]["gpu"]) or "no GPU"
    title = f"{figures['bundle']} on {gpu}; {machine['processor']}, {machine['cores']} cores"
    told = "\n".join(f"    {line}" for line in found)
    text = f"{title}\n\n{as_table(figures['measured'])}\n{told}\n"
    write_text(out / "gpu.json", json.dumps(figures, indent=1) + "\n")
    write_text(out / "gpu.md", text)
    return text, not any(line.startswith("FAIL") for line in found)


def verdicts(figures: Figures) -> Iterator[tuple[bool, str]]:
    """Whether each thing holds that is promised of one provider, and the figures that say so."""
    asked, nodes = figures["providers"][0][0], figures["nodes"]
    on_cpu_ms = nodes.get("CPUExecutionProvider", {"ms": 0.0})["ms"] if figures["device"] != "cpu" else 0.0
    share = 1 - on_cpu_ms / (sum(ran["ms"] for ran in nodes.values()) or 1.0)
    told = ", ".join(f"{name} {ran['nodes']} nodes" for name, ran in nodes.items())
    on_device = asked in nodes and share >= LEAST_ON_DEVICE
    yield on_device, f"{asked} was asked for, {share:.1%} of the time is on the device: {told}"
    for each in figures["parity"]:
        yield (
            each["other_class"] == 0 and each["difference"] <= each["tolerance"],
            f"{figures['precision']} beside {each['against']} on the CPU: {each['other_class']} of {each['images']} "
            f"images in another class, probabilities differ by {each['difference']:.2g}, at most {each['tolerance']:g}",
        )
    times, size = max((bucket["changed_ms"] / bucket["ms"], bucket["size"]) for bucket in figures["buckets"])
    told = f"a batch takes {times:.2f} times as long (bucket {size}), at most {MOST_AFTER_A_CHANGE:g}"
    yield times <= MOST_AFTER_A_CHANGE, f"after a change of shape {told}"
    ratio = figures["engine"]["ratio"]
    yield ratio >= LEAST_RATIO, f"the engine reaches {ratio:.3f} of ONNX Runtime alone, at least {LEAST_RATIO:g}"
    for kind in ("single", "bulk"):
        load = figures[kind]
        refused = sum(count for outcome, count in load["outcomes"].items() if outcome != "ok")
        yield (
            refused == 0 and load["images_s"] > 0,
            f"over HTTP, {kind}: {load['images_s']:.0f} images/s, {refused} requests not answered, batches of "
            f"{load['batch']:.1f}, the device works {load['busy']:.0%} of the time",
        )
    grown = {where: growth(held) or 0.0 for where, held in figures["memory"].items() if held}
    told = ", ".join(f"{where} {grew:+.1%}" for where, grew in grown.items())
    steady = all(grew < LARGEST_GROWTH for grew in grown.values())
    yield steady, f"memory while batch sizes change: {told}, less than {LARGEST_GROWTH:.0%} is steady"
    first, again = figures["start_s"]
    cached = figures["device"] == "tensorrt"
    yield again < first or not cached, f"starts in {first:.1f} s, {'with its engines ' * cached}again in {again:.1f} s"


def as_table(measured: dict[str, Figures]) -> str:
    columns = [dict(_rows(each)) for each in measured.values()]
    names = dict.fromkeys(name for column in columns for name in column)
    return table(["measured", *measured], [[name, *(column.get(name, "") for column in columns)] for name in names])


def _rows(figures: Figures) -> Iterator[tuple[str, str]]:
    yield "file", figures["precision"]
    yield "start, start again, s", "{:.1f}, {:.1f}".format(*figures["start_s"])
    for bucket in figures["buckets"]:
        took = "{ms:.2f}, {changed_ms:.2f}".format(**bucket)
        yield "batch of {size}, after a change of shape, ms".format(**bucket), took
    yield "engine, ONNX Runtime alone, images/s", "{images_s:.0f}, {bare_images_s:.0f}".format(**figures["engine"])
    for kind in ("single", "bulk"):
        yield f"HTTP {kind}, images/s", "{images_s:.0f}".format(**figures[kind])
        yield f"HTTP {kind}, images a batch, device busy", "{batch:.1f}, {busy:.2f}".format(**figures[kind])
    for where, held in figures["memory"].items():
        if held:
            yield f"memory of the {where}, first, last, MiB", f"{held[0]}, {held[-1]}"
