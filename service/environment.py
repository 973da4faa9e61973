"""What the service finds at its start: settings in ``HAL_*`` variables, names that nothing reads, two runtimes."""

import difflib
import importlib.metadata
import os
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from pydantic import ValidationError

from service.errors import UserError
from service.settings import Settings

_RUNTIMES: Final = ("onnxruntime", "onnxruntime-gpu")
_KUBERNETES_ADDRESS: Final = re.compile(r"(tcp|udp|sctp)://")
_KUBERNETES_NAME: Final = re.compile(r"(HAL\w*?)_(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT(_\d+_(TCP|UDP|SCTP)(_\w+)?)?)")
_READ_ELSEWHERE: Final = frozenset({"HAL_API_KEY", "HAL_SHARED", "HAL_XCEPTION_WEIGHTS"})


class SettingsError(UserError):
    """Settings cannot be used; the message lists every wrong one with its value and what is allowed."""


def load_settings(overrides: Mapping[str, Any] | None = None) -> Settings:
    """Read the environment; ``overrides`` (by field name, ``None`` for "not given") win over it.

    Raises:
        SettingsError: one or more values are not allowed; all of them are listed.
    """
    given = {name: value for name, value in (overrides or {}).items() if value is not None}
    try:
        return Settings(**given)
    except ValidationError as error:
        lines = "\n".join(f"  - {_fault(detail)}" for detail in error.errors())
        raise SettingsError(f"wrong settings:\n{lines}") from error


def _fault(detail: Any) -> str:
    message = str(detail["msg"]).removeprefix("Value error, ")
    if not detail["loc"]:
        return message
    field = str(detail["loc"][0])
    name = field if field.isupper() else f"HAL_{field.upper()}"
    if name == "PORT" and not os.environ.get("PORT"):
        name = "HAL_PORT"
    if name == "HAL_PORT" and _KUBERNETES_ADDRESS.match(str(detail["input"])):
        return (
            f"HAL_PORT={detail['input']!r}: Kubernetes sets this in every pod beside a Service named hal; put "
            "'enableServiceLinks: false' into the pod's spec, or set PORT, which wins"
        )
    described = Settings.model_fields.get(field.removeprefix("HAL_").lower())
    about = f" ({described.description})" if described else ""
    return f"{name}={str(detail['input'])!r}: {message[0].lower()}{message[1:]}{about}"


def unknown_variables(environment: Mapping[str, str]) -> Iterator[str]:
    """A warning for each ``HAL_*`` variable that no setting reads, with the nearest name that one does."""
    known = {f"HAL_{name.upper()}" for name in Settings.model_fields}
    others = {name for name in environment if not _is_of_kubernetes(name, environment)}
    for name in sorted(others):
        if name.upper().startswith("HAL_") and name.upper() not in known | _READ_ELSEWHERE:
            nearest = difflib.get_close_matches(name.upper(), sorted(known), n=1)
            hint = f"; did you mean {nearest[0]}?" if nearest else ""
            yield f"{name} is set but no setting of the service has that name{hint}"


def _is_of_kubernetes(name: str, environment: Mapping[str, str]) -> bool:
    """Whether Kubernetes set it for a Service whose name begins with hal (``enableServiceLinks``)."""
    found = _KUBERNETES_NAME.fullmatch(name)
    return found is not None and _KUBERNETES_ADDRESS.match(environment.get(f"{found[1]}_PORT", "")) is not None


def clashing_runtimes() -> Iterator[str]:
    """A warning if both packages of ONNX Runtime are installed: they share a folder (onnxruntime #26996)."""
    found = [f"{name} {version}" for name in _RUNTIMES if (version := _version_of(name)) is not None]
    if len(found) > 1:
        yield (
            f"{' and '.join(found)} are both installed: each overwrites files of the other, and the devices depend on "
            f"which came last. Only one of them may be there: run 'pip uninstall {' '.join(_RUNTIMES)}', then "
            "in the folder of HAL's source pip install -e '.[service]' (CPU) or pip install -e '.[service-gpu]' (CUDA)."
        )


def _version_of(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None
