"""Every knob of the service, documented where it is declared; :mod:`service.environment` reads them."""

import os
from enum import StrEnum
from pathlib import Path
from typing import Final, Literal, Self

from pydantic import AliasChoices, Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from contract.parts import Precision
from contract.slide import SlideRule

_ORIGIN: Final = r"https?://[A-Za-z0-9.\[\]:-]+"
MEBIBYTE: Final = 1024 * 1024
_RULE: Final = SlideRule()


class Device(StrEnum):
    """What the network runs on."""

    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"
    TENSORRT = "tensorrt"


class Fit(StrEnum):
    """How an image that is not 256x256 is treated; none of the three resamples."""

    STRICT = "strict"
    CROP = "crop"
    PAD = "pad"


DEFAULT_MAX_BATCH: Final = {Device.CPU: 8, Device.CUDA: 64, Device.TENSORRT: 64}
"""Images in a batch where HAL_MAX_BATCH is not set. On a CPU an image costs the same in a batch of any size, and two
batches of 8 take less than a second on any that HAL was measured on."""


def available_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Settings(BaseSettings):
    """The service's settings; an empty variable counts as not set.

    The string below a setting, or its ``description`` where that takes more than a line, is what users read of it.
    """

    model_config = SettingsConfigDict(
        env_prefix="HAL_",
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
        populate_by_name=True,
        use_attribute_docstrings=True,
    )

    bundle: Path = Path("models/hal-c/3")
    """Folder of the bundle to serve."""
    host: str = "127.0.0.1"
    """Address to listen on; 0.0.0.0 serves the network and needs HAL_KEYS_FILE."""
    keys_file: Path | None = None
    """File of API keys ('hal keys add'); a change counts within a second. Not set: no keys, this machine only."""
    allow_anonymous: bool = False
    """Answer other machines without keys; for a network that is protected otherwise."""
    cors_origins: str | None = Field(
        default=None,
        pattern=rf"^{_ORIGIN}(,{_ORIGIN})*$",
        description="Origins of other sites whose pages may call the service: "
        "https://lis.example,https://lab.example:8443.",
    )
    port: int = Field(default=8000, ge=0, le=65535, validation_alias=AliasChoices("PORT", "HAL_PORT"))
    """Port to listen on; 0: any free one. PORT wins over HAL_PORT."""
    device: Device = Device.AUTO
    """auto: CUDA where ONNX Runtime and the driver have it, else the CPU. A GPU that does not work is an error."""
    precision: Precision | None = None
    """File of the bundle to serve. Not set: float16 on a GPU, else the bundle's first."""
    max_batch: int | None = Field(default=None, ge=1, le=1024)
    """Most images in a batch. Not set: 8 on a CPU, 64 on a GPU, at most HAL_QUEUE_LIMIT."""
    queue_limit: int = Field(default=256, ge=1, le=65536)
    """Most images accepted and not yet answered (192 KiB each); above it 429."""
    bulk_share: float = Field(default=0.5, gt=0, le=1)
    """Largest share of HAL_QUEUE_LIMIT that bulk images may hold."""
    bulk_above: int = Field(default=16, ge=1, le=65536)
    """Requests with more images are bulk, unless X-Priority says routine."""
    deadline_ms: int = Field(default=30_000, ge=1, le=3_600_000)
    """Milliseconds from an image's permit to its answer; past them 504. X-Request-Timeout-Ms can only shorten them."""
    max_upload_bytes: int = Field(default=64 * MEBIBYTE, ge=1)
    """Most bytes of a request body; above them 413."""
    max_uploads_bytes: int = Field(default=256 * MEBIBYTE, ge=1)
    """Most bytes of all request bodies in memory; above them 429."""
    max_json_bytes: int = Field(default=8 * MEBIBYTE, ge=1024)
    """Most bytes of a JSON request to /v2, some 1 MiB per image (192 KiB as a binary tensor); above them 413."""
    upload_timeout_s: float = Field(default=60, gt=0, le=3600)
    """Most seconds until a request body has arrived; past them 408."""
    header_timeout_s: float = Field(default=10, gt=0, le=3600)
    """Most seconds until the head of a request has arrived; past them the connection is closed."""
    keep_alive_s: float = Field(default=75, gt=0, le=3600)
    """Seconds that an idle connection is kept; more than the load balancer's idle timeout, often 60."""
    answer_timeout_s: float = Field(default=60, gt=0, le=3600)
    """Most seconds in which a client takes nothing of its answer; past them the connection is closed."""
    max_image_bytes: int = Field(default=16 * MEBIBYTE, ge=1)
    """Most bytes of an encoded image; larger ones are refused."""
    max_pixels: int = Field(default=4096 * 4096, ge=256 * 256)
    """Most pixels that an image may declare, checked before decoding."""
    max_files: int = Field(default=1024, ge=1, le=65536)
    """Most images in a request; above them 413."""
    fit: Fit = Field(
        default=Fit.STRICT,
        description="strict: refuse all but 256x256; crop: take the centre of larger images; pad: reflect the border "
        "of smaller ones. None resamples.",
    )
    pixels_per_micrometre: float = Field(default=10, gt=0, le=1000)
    """Pixels per micrometre of the images, for the page's scale bar."""
    site_fpr: float | None = Field(default=None, gt=0, lt=1)
    """Rate of false hairy flags on the site's slides, upper limit of its 95 % interval. Not set: the bundle's."""
    slide_min_cells: int = Field(default=_RULE.min_cells, ge=1)
    """Fewest white cells of a slide for the advice 'no indication'."""
    slide_min_hits: int = Field(default=_RULE.min_hits, ge=1)
    """Fewest flagged cells of a slide for the advice to follow up."""
    slide_significance: float = Field(default=_RULE.significance, gt=0, lt=1)
    """Largest p-value for the advice to follow up."""
    decode_threads: int = Field(default=0, ge=0, le=256)
    """Threads that decode images; 0: one per core, at most 8."""
    engine_threads: int = Field(default=0, ge=0, le=256)
    """Threads of the network on the CPU; 0: one per core. Set it under a CPU quota."""
    tensorrt_cache: Path | None = None
    """Writable folder that keeps TensorRT's engines between starts."""
    cuda_graphs: bool = Field(
        default=False,
        description="With HAL_DEVICE=cuda: replay batches as CUDA graphs; an error if part of the network runs on the "
        "CPU. Unverified.",
    )
    drain_s: float = Field(default=25, gt=0, le=3600)
    """Most seconds from SIGTERM to the end of the process. Keep it below the platform's kill timeout."""
    drain_delay_s: float = Field(
        default=0,
        ge=0,
        le=600,
        description="First seconds of HAL_DRAIN_S, in which the service is not ready but still serves, for load "
        "balancers (5 in Kubernetes).",
    )
    stall_s: float = Field(default=60, gt=0, le=3600)
    """Most seconds of a batch; past them /health/live fails."""
    drift: bool = True
    """Measure the drift of embeddings (hal_embedding_drift)."""
    audit: SecretStr | None = Field(
        default=None,
        description="Database with one row per image: sqlite:////var/lib/hal/audit.db or "
        "postgresql+psycopg://user:password@host/database.",
    )
    audit_journal: Path = Path("audit-journal")
    """Writable folder on a local disk that keeps rows until PostgreSQL has them; unused with SQLite."""
    audit_journal_bytes: int = Field(default=256 * MEBIBYTE, ge=MEBIBYTE)
    """Most bytes in HAL_AUDIT_JOURNAL (some 1,000 per row); above them 503."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """Least severe level that is logged."""
    log_format: Literal["auto", "json", "text"] = "auto"
    """auto: text on a terminal, JSON lines elsewhere."""

    def batch_limit(self, device: Device) -> int:
        """Most images in a batch on ``device``, which is not ``auto``."""
        return min(self.max_batch or DEFAULT_MAX_BATCH[device], self.queue_limit)

    @property
    def slide_rule(self) -> SlideRule:
        return SlideRule(
            min_cells=self.slide_min_cells, min_hits=self.slide_min_hits, significance=self.slide_significance
        )

    @property
    def bulk_limit(self) -> int:
        """Most images of the queue that may be bulk, at least one."""
        return max(1, int(self.queue_limit * self.bulk_share))

    @model_validator(mode="after")
    def _fit_together(self) -> Self:
        if self.drain_delay_s > self.drain_s / 2:
            raise ValueError(
                f"HAL_DRAIN_DELAY_S={self.drain_delay_s:g} is more than half of HAL_DRAIN_S={self.drain_s:g}: too "
                "little is left for accepted work; lower the first or raise the second"
            )
        if self.max_uploads_bytes < self.max_upload_bytes:
            raise ValueError(
                f"HAL_MAX_UPLOADS_BYTES={self.max_uploads_bytes} for all request bodies is less than "
                f"HAL_MAX_UPLOAD_BYTES={self.max_upload_bytes} for one; raise the first or lower the second"
            )
        if self.max_batch is not None and self.queue_limit < self.max_batch:
            raise ValueError(
                f"HAL_QUEUE_LIMIT={self.queue_limit} is below HAL_MAX_BATCH={self.max_batch}: no batch would ever be "
                "full; raise the first or lower the second"
            )
        return self
