"""A slide's summary as FHIR R4, for a laboratory information system."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Resource = Mapping[str, Any]
"""A FHIR resource as JSON."""


@dataclass(frozen=True, slots=True)
class FhirReport:
    """A ``Bundle`` of type ``collection``, made and validated by the service; everything in it is ``preliminary``.

    It names no patient, no specimen and no performer: who imports it adds them.

    Attributes:
        request_id: of the answer that it came in.
        report: the ``DiagnosticReport``.
        observations: each ``Observation`` of the report, in its order: white cells, classes, hairy-cell flags.
        device: the ``Device``, which names the exact model.
        document: the whole bundle as it was received.
    """

    request_id: str
    report: Resource = field(repr=False)
    observations: tuple[Resource, ...] = field(repr=False)
    device: Resource = field(repr=False)
    document: Resource = field(repr=False)

    @property
    def conclusion(self) -> str:
        """Advice, reason and cautions in sentences."""
        return str(self.report["conclusion"])


def report_of(document: Mapping[str, Any], request_id: str) -> FhirReport:
    """The body of ``POST /slides/summary?format=fhir``.

    Raises:
        KeyError, TypeError, ValueError: it is something else.
    """
    if document["resourceType"] != "Bundle":
        raise ValueError(f"a {document['resourceType']}, expected a Bundle")
    by_url = {entry["fullUrl"]: entry["resource"] for entry in document["entry"]}
    (report,) = _of_type(by_url, "DiagnosticReport")
    (device,) = _of_type(by_url, "Device")
    observations = tuple(by_url[result["reference"]] for result in report["result"])
    return FhirReport(request_id, report, observations, device, document)


def _of_type(resources: Mapping[str, Resource], name: str) -> list[Resource]:
    return [resource for resource in resources.values() if resource["resourceType"] == name]
