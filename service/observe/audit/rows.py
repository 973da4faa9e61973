"""What is kept about an image: never the image, never a file name, nothing about a patient."""

import hashlib
import json
import secrets
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple, Self

from contract.description import BundleDescription
from contract.parts import ModelFile
from service.settings import Settings


class Row(NamedTuple):
    """One image that was answered; the fields are the columns of ``hal_audit_images``.

    Attributes:
        id: 32 hexadecimal digits that grow with time; makes a row that is forwarded twice one row.
        time: when it was answered, ISO 8601, UTC.
        predicted_class, probabilities: the latter by class id, as JSON; ``None`` if the image was refused.
        hairy_flag, novelty_score: ``None`` also if the bundle cannot tell.
        error: the code of the refusal.
        key: name of the API key that was used.
    """

    id: str
    time: str
    request_id: str
    image_index: int
    image_sha256: str
    model_sha256: str
    settings_version: str
    predicted_class: str | None = None
    probabilities: str | None = None
    hairy_flag: bool | None = None
    novelty_score: float | None = None
    error: str | None = None
    key: str | None = None

    @classmethod
    def of(
        cls,
        request_id: str,
        image_index: int,
        image_sha256: str,
        model_sha256: str,
        settings_version: str,
        *,
        probabilities: Mapping[str, float] | None = None,
        **said: Any,
    ) -> Self:
        """A row of this moment; ``said`` are the other fields."""
        return cls(
            f"{time.time_ns():016x}{secrets.token_hex(8)}",
            datetime.now(UTC).isoformat(" ", "microseconds"),
            request_id,
            image_index,
            image_sha256,
            model_sha256,
            settings_version,
            probabilities=None if probabilities is None else json.dumps(probabilities, separators=(",", ":")),
            **said,
        )


class SettingsVersion(NamedTuple):
    """Everything beside image and weights that decides an answer, as JSON, named by the beginning of its SHA-256."""

    version: str
    document: str

    @classmethod
    def of(cls, settings: Settings, description: BundleDescription, file: ModelFile, device: str, service: str) -> Self:
        """The version in force for one model on one device by one release of the service."""
        document = {
            "service": service,
            "model": {"name": description.name, "version": description.version, "sha256": file.sha256},
            "precision": file.precision,
            "device": device,
            "fit": str(settings.fit),
            "preprocessing": description.input.preprocessing_version,
            "calibration": description.calibration.model_dump(mode="json"),
            "policy": description.policy.model_dump(mode="json"),
            "novelty": description.novelty and description.novelty.model_dump(mode="json"),
            "suppressed": [cell.name for cell in description.classes if cell.evidence == "none"],
        }
        canonical = json.dumps(document, sort_keys=True, separators=(",", ":"))
        return cls(hashlib.sha256(canonical.encode()).hexdigest()[:16], canonical)
