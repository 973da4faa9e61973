"""The reference page, made from the code: every setting where it is declared, every metric where it is counted."""

import html
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final, get_args

from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from service.settings import Settings

_HEAD: Final = """\
# Reference

Written by `hal reference --out docs/reference.md`; a test compares it with the code.

## Settings

Environment variables, read at the start; an empty one counts as not set. A wrong value ends the start and is named with
its limits; unknown `HAL_*` names are warned about. OpenTelemetry's own variables configure traces.

| Variable | Default (allowed) | Meaning |
|---|---|---|
"""
_METRICS_HEAD: Final = """
## Metrics

`GET /metrics`, in Prometheus's text format or OpenMetrics ([access](operate.md#keys)).

| Metric | Type (labels) | Meaning |
|---|---|---|
"""
_LABELS_LISTED: Final = 6


def variable(name: str, field: FieldInfo) -> str:
    aliases: Any = field.validation_alias
    return str(aliases.choices[0]) if aliases is not None else f"HAL_{name.upper()}"


def settings_lines() -> Iterator[str]:
    for name, field in Settings.model_fields.items():
        default = _default(field)
        yield f"{variable(name, field)}{f' = {default}' if default else ''}: {field.description}"


def page() -> str:
    rows = (_setting_row(name, field) for name, field in Settings.model_fields.items())
    return _HEAD + "\n".join(rows) + "\n" + _METRICS_HEAD + "\n".join(_metric_rows()) + "\n"


def _setting_row(name: str, field: FieldInfo) -> str:
    value = _with(_code(_default(field)), _allowed(field))
    return f"| `{variable(name, field)}` | {value} | {_cell(field.description or '')} |"


def _default(field: FieldInfo) -> str:
    value = field.default
    if value is None or value is PydanticUndefined:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    return value.as_posix() if isinstance(value, Path) else str(value)


def _allowed(field: FieldInfo) -> str:
    kinds = [kind for kind in get_args(field.annotation) or (field.annotation,) if kind is not type(None)]
    return _cell(", ".join(f"`{word}`" for kind in kinds for word in _words(kind)))


def _words(kind: Any) -> list[str]:
    if isinstance(kind, str):
        return [kind]
    if members := getattr(kind, "__members__", None):
        return [str(member.value) for member in members.values()]
    return [str(word) for word in get_args(kind)]


def _metric_rows() -> Iterator[str]:
    # Here, since a page of settings does not need the service.
    from service.observe.metrics import Metrics

    for collector in Metrics().collectors:
        for family in collector.collect():
            suffix = {"counter": "_total", "info": "_info"}.get(family.type, "")
            labels = _labels(family, getattr(collector, "_labelnames", ()))
            kind = _with(family.type, _cell(labels))
            yield f"| `{family.name}{suffix}` | {kind} | {_cell(family.documentation)} |"


def _labels(family: Any, names: Iterable[str]) -> str:
    """Names of the labels, with their values where there are few."""
    if family.type == "info":
        return ", ".join(f"`{name}`" for name in family.samples[0].labels)
    said = []
    for name in names:
        values = list(dict.fromkeys(sample.labels[name] for sample in family.samples))
        few = 0 < len(values) <= _LABELS_LISTED
        said.append(f"`{name}`: {', '.join(values)}" if few else f"`{name}`")
    return ", ".join(said)


def _with(text: str, detail: str) -> str:
    return f"{text} ({detail})".strip() if detail else text


def _code(text: str) -> str:
    return f"`{text}`" if text else ""


def _cell(text: str) -> str:
    return html.escape(text, quote=False).replace("|", "\\|")
