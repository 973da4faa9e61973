"""What a run is: written beside its results, and compared by every rerun."""

import hashlib
import os
from collections.abc import Iterator, Sequence
from typing import Final, Self

import msgspec
from pydantic import BaseModel, ConfigDict, Field

from contract.bundle import MANIFEST_NAME, Bundle, sha256_of
from service.jobs.folders.records import STAMP
from service.jobs.score.images import folder_of_relative
from service.serving.answers import ModelStamp
from service.settings import Fit, Settings

LAYOUT: Final = 1


class Plan(BaseModel):
    """Everything that decides what stands in which file of results."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    layout: int = Field(default=LAYOUT, description="of the folder of results")
    bundle_sha256: str = Field(description="bundle (SHA-256 of its bundle.json)")
    model: dict[str, str] = Field(description="model")
    fit: Fit = Field(description="HAL_FIT")
    max_image_bytes: int = Field(description="HAL_MAX_IMAGE_BYTES")
    max_pixels: int = Field(description="HAL_MAX_PIXELS")
    images: int = Field(description="number of images")
    list_sha256: str = Field(description="list of images (SHA-256)")
    working_directory: str | None = Field(description="working directory, on which relative paths depend")
    shard_size: int = Field(description="--shard-size")
    format: str = Field(description="--format")

    @classmethod
    def of(cls, settings: Settings, bundle: Bundle, paths: Sequence[str], *, shard_size: int, format: str) -> Self:
        """The plan of scoring ``paths``, which are sorted."""
        stamp = msgspec.to_builtins(ModelStamp.of(bundle, bundle.file(settings.precision)))
        digest = hashlib.sha256()
        for path in paths:
            digest.update(os.fsencode(path) + b"\0")
        return cls(
            bundle_sha256=sha256_of(bundle.root / MANIFEST_NAME),
            model={name: str(stamp[name]) for name in STAMP},
            fit=settings.fit,
            max_image_bytes=settings.max_image_bytes,
            max_pixels=settings.max_pixels,
            images=len(paths),
            list_sha256=digest.hexdigest(),
            working_directory=folder_of_relative(paths),
            shard_size=shard_size,
            format=format,
        )

    @property
    def shards(self) -> int:
        """How many files of results there will be."""
        return -(-self.images // self.shard_size)

    def differences(self, now: Self) -> Iterator[str]:
        """What is not the same in another plan, for people."""
        for name, field in type(self).model_fields.items():
            mine, other = getattr(self, name), getattr(now, name)
            if name == "model":
                for part in STAMP:
                    if mine.get(part) != other.get(part):
                        yield f"model {part} {mine.get(part)} there, {other.get(part)} now"
            elif mine != other:
                yield f"{field.description} {mine} there, {other} now"
