"""Every knob of the service, documented where it is declared; :mod:`service.environment` reads them."""

import os
from enum import StrEnum
from pathlib import Path
from typing import Final, Literal, Self

from pydantic import AliasChoices, Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from contract.description import Precision
from contract.slide import SlideRule

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
    """Cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Settings(BaseSettings):
    """The service's settings; an empty variable counts as not set."""

    model_config = SettingsConfigDict(
        env_prefix="HAL_", env_ignore_empty=True, extra="ignore", frozen=True, populate_by_name=True
    )

    bundle: Path = Field(
        default=Path("models/hal-c/2"),
        description="Folder of the bundle to serve, relative to the working directory.",
    )
    host: str = Field(
        default="127.0.0.1",
        description="Address to listen on; 0.0.0.0 answers the whole network and so needs HAL_KEYS_FILE.",
    )
    keys_file: Path | None = Field(
        default=None,
        description="File of API keys, made by 'hal keys add'; a change is seen within a second. Not set: no keys are "
        "asked for, and only this machine is answered.",
    )
    allow_anonymous: bool = Field(
        default=False,
        description="true answers other machines without keys; for a network that is protected otherwise.",
    )
    port: int = Field(
        default=8000,
        ge=0,
        le=65535,
        validation_alias=AliasChoices("PORT", "HAL_PORT"),
        description="Port to listen on, 0 for any free one. PORT wins over HAL_PORT, since platforms set PORT.",
    )
    device: Device = Field(
        default=Device.AUTO,
        description="auto takes CUDA if it works and the CPU otherwise; cuda or tensorrt refuse to start without it.",
    )
    precision: Precision | None = Field(
        default=None, description="Which file of the bundle to serve; not set: the bundle's first."
    )
    max_batch: int | None = Field(
        default=None,
        ge=1,
        le=1024,
        description="Images that the device works on at once. Not set: 8 on a CPU, 64 on a GPU, at most "
        "HAL_QUEUE_LIMIT.",
    )
    queue_limit: int = Field(
        default=256,
        ge=1,
        le=65536,
        description="Images accepted and not yet answered (192 KiB each); above it requests get 429.",
    )
    bulk_share: float = Field(
        default=0.5,
        gt=0,
        le=1,
        description="Largest part of the queue that bulk images may hold, so that routine ones are always admitted.",
    )
    bulk_above: int = Field(
        default=16,
        ge=1,
        le=65536,
        description="A request with more images than this is bulk, unless its X-Priority says routine.",
    )
    deadline_ms: int = Field(
        default=30_000,
        ge=1,
        le=3_600_000,
        description="Milliseconds in which an image must be answered once it is in the queue; past them 504. "
        "X-Request-Timeout-Ms can only make it earlier.",
    )
    max_upload_bytes: int = Field(
        default=64 * MEBIBYTE, ge=1, description="Bytes of a whole request body; above them 413."
    )
    max_uploads_bytes: int = Field(
        default=256 * MEBIBYTE,
        ge=1,
        description="Bytes of all request bodies that are received or worked on at once, in each process; above 429.",
    )
    max_json_bytes: int = Field(
        default=8 * MEBIBYTE,
        ge=1024,
        description="Bytes of a request to /v2 that is all JSON, where a cell takes some 1 MiB and as a binary tensor "
        "192 KiB; above them 413.",
    )
    upload_timeout_s: float = Field(
        default=60, gt=0, le=3600, description="Seconds in which a request body must have arrived; past them 408."
    )
    header_timeout_s: float = Field(
        default=10,
        gt=0,
        le=3600,
        description="Seconds in which the head of a request must have arrived; past them the connection is closed.",
    )
    keep_alive_s: float = Field(
        default=75,
        gt=0,
        le=3600,
        description="Seconds that a connection is kept open between two requests. Keep it above a load balancer's "
        "idle timeout, 60 for most.",
    )
    answer_timeout_s: float = Field(
        default=60,
        gt=0,
        le=3600,
        description="Seconds in which a client must take something of its answer; past them the connection is closed.",
    )
    max_image_bytes: int = Field(
        default=16 * MEBIBYTE, ge=1, description="Bytes of one encoded image; a larger one is refused on its own."
    )
    max_pixels: int = Field(
        default=4096 * 4096,
        ge=256 * 256,
        description="Pixels that an image may declare, checked before it is decoded.",
    )
    max_files: int = Field(default=1024, ge=1, le=65536, description="Images in one request; above them 413.")
    fit: Fit = Field(
        default=Fit.STRICT,
        description="strict refuses all but 256x256; crop takes the centre of larger images; pad reflects the border "
        "of smaller ones. None resamples, since that would change the cell's size.",
    )
    site_fpr: float | None = Field(
        default=None,
        gt=0,
        lt=1,
        description="Rate of false hairy flags measured on the site's own slides, for the advice on slides: take the "
        "upper limit of its 95 % interval. Not set: what the bundle states.",
    )
    slide_min_cells: int = Field(
        default=_RULE.min_cells, ge=1, description="Fewest white cells of a slide for the advice 'no indication'."
    )
    slide_min_hits: int = Field(
        default=_RULE.min_hits, ge=1, description="Fewest flagged cells of a slide for the advice to follow up."
    )
    slide_significance: float = Field(
        default=_RULE.significance,
        gt=0,
        lt=1,
        description="Largest p-value for the advice to follow up: the share of slides without hairy cells that may be "
        "followed up for nothing.",
    )
    decode_threads: int = Field(
        default=0,
        ge=0,
        le=256,
        description="Threads that decode images; 0: one for each core, at most 8.",
    )
    engine_threads: int = Field(
        default=0,
        ge=0,
        le=256,
        description="Threads of the network on the CPU; 0: one for each core. Set it under a container's CPU quota.",
    )
    tensorrt_cache: Path | None = Field(
        default=None,
        description="Writable folder that keeps TensorRT's engines between starts; not set: built at every start.",
    )
    cuda_graphs: bool = Field(
        default=False,
        description="With HAL_DEVICE=cuda: record the launches of each batch size once and replay them as one. Refused "
        "by ONNX Runtime if a part of the graph runs on the CPU. Not verified on a GPU.",
    )
    drain_s: float = Field(
        default=25,
        gt=0,
        le=3600,
        description="Seconds after SIGTERM until the process has ended; accepted work must have finished by then. Keep "
        "it below the platform's kill timeout.",
    )
    drain_delay_s: float = Field(
        default=0,
        ge=0,
        le=600,
        description="Seconds of HAL_DRAIN_S in which the service is not ready any more but still serves: for load "
        "balancers that go on sending for a while, 5 in Kubernetes.",
    )
    stall_s: float = Field(
        default=60,
        gt=0,
        le=3600,
        description="Seconds that one batch may take; past them /health/live fails, so that the service is restarted.",
    )
    drift: bool = Field(
        default=True,
        description="Compare embeddings with the bundle's reference, if it has one, so that /metrics shows a change of "
        "stain; costs some 20 microseconds a batch.",
    )
    audit: SecretStr | None = Field(
        default=None,
        description="Database that keeps one row for each image: sqlite:////var/lib/hal/audit.db or "
        "postgresql+psycopg://user:password@host/database (the latter needs the extra 'audit'). Not set: nothing is "
        "kept.",
    )
    audit_journal: Path = Field(
        default=Path("audit-journal"),
        description="Writable folder, on a disk of this machine, of the journal that rows are written to before their "
        "answer is sent and that keeps them until PostgreSQL has got them. With HAL_AUDIT=sqlite:... that file is the "
        "journal.",
    )
    audit_journal_bytes: int = Field(
        default=256 * MEBIBYTE,
        ge=MEBIBYTE,
        description="Most bytes in HAL_AUDIT_JOURNAL (some 1,000 a row); when they are taken no more images are.",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="Least severe log line that is written."
    )
    log_format: Literal["auto", "json", "text"] = Field(
        default="auto",
        description="Log lines as JSON objects or as text to read; auto: text on a terminal, JSON elsewhere.",
    )

    @property
    def slide_rule(self) -> SlideRule:
        """When the flags of a slide become advice."""
        return SlideRule(
            min_cells=self.slide_min_cells, min_hits=self.slide_min_hits, significance=self.slide_significance
        )

    @property
    def bulk_limit(self) -> int:
        """Most images of the queue that may be bulk, at least one."""
        return max(1, int(self.queue_limit * self.bulk_share))

    @model_validator(mode="after")
    def _the_delay_is_a_part_of_the_drain(self) -> Self:
        if self.drain_delay_s > self.drain_s / 2:
            raise ValueError(
                f"HAL_DRAIN_DELAY_S={self.drain_delay_s:g} is more than half of HAL_DRAIN_S={self.drain_s:g}: too "
                "little is left for accepted work; lower the first or raise the second"
            )
        return self

    @model_validator(mode="after")
    def _one_upload_fits_among_all(self) -> Self:
        if self.max_uploads_bytes < self.max_upload_bytes:
            raise ValueError(
                f"HAL_MAX_UPLOADS_BYTES={self.max_uploads_bytes} for all request bodies is less than "
                f"HAL_MAX_UPLOAD_BYTES={self.max_upload_bytes} for one; raise the first or lower the second"
            )
        return self

    @model_validator(mode="after")
    def _a_batch_fits_the_queue(self) -> Self:
        if self.max_batch is not None and self.queue_limit < self.max_batch:
            raise ValueError(
                f"HAL_QUEUE_LIMIT={self.queue_limit} is below HAL_MAX_BATCH={self.max_batch}: no batch would ever be "
                "full; raise the first or lower the second"
            )
        return self
