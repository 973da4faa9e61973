"""What is kept about an image: never the image, never a file name, nothing about a patient."""

import hashlib
import json
import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

from contract.description import BundleDescription, ModelFile
from service.settings import Settings


@dataclass(frozen=True, slots=True)
class Row:
    """One image that was answered.

    Attributes:
        request_id: of the answer that it was part of.
        image_index: its place in the request.
        image_sha256: of the bytes that were sent.
        model_sha256: of the file that answered.
        settings_version: see :class:`SettingsVersion`.
        predicted_class: the slug; ``None`` if the image was refused.
        probabilities: calibrated, by the slug of the class; ``None`` if it was refused.
        hairy_flag: ``None`` if it was refused or the bundle cannot tell.
        error: the code of the refusal.
        key: name of the API key that was used.
        time: when it was answered, UTC.
        id: makes a row that is delivered twice one row.
    """

    request_id: str
    image_index: int
    image_sha256: str
    model_sha256: str
    settings_version: str
    predicted_class: str | None = None
    probabilities: Mapping[str, float] | None = None
    hairy_flag: bool | None = None
    error: str | None = None
    key: str | None = None
    time: datetime = field(default_factory=lambda: datetime.now(UTC))
    id: str = field(default_factory=lambda: uuid.uuid4().hex)

    def values(self) -> dict[str, Any]:
        """By column."""
        return asdict(self)

    def to_json(self) -> str:
        """One line of a spool file."""
        return json.dumps(self.values() | {"time": self.time.isoformat()}, separators=(",", ":"))

    @classmethod
    def from_json(cls, line: str) -> "Row":
        """A line that :meth:`to_json` wrote.

        Raises:
            ValueError, KeyError, TypeError: it did not.
        """
        values = json.loads(line)
        return cls(**values | {"time": datetime.fromisoformat(values["time"])})


@dataclass(frozen=True, slots=True)
class SettingsVersion:
    """Everything beside image and weights that decides an answer, and a short name for it.

    Attributes:
        document: the settings, calibration and policy themselves.
        version: 16 hexadecimal digits of their SHA-256.
    """

    document: Mapping[str, Any]
    version: str

    @classmethod
    def of(
        cls, settings: Settings, description: BundleDescription, file: ModelFile, device: str, service: str
    ) -> "SettingsVersion":
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
            "suppressed": [cell.name for cell in description.classes if cell.evidence == "none"],
        }
        canonical = json.dumps(document, sort_keys=True, separators=(",", ":")).encode()
        return cls(document, hashlib.sha256(canonical).hexdigest()[:16])
