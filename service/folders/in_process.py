"""Classify files in this process: the service's own way of an image, without HTTP."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Sequence
from pathlib import Path
from typing import Final

import msgspec

from contract.bundle import Bundle
from service.folders.files import ImageFile
from service.folders.records import STAMP
from service.folders.sources import UNREADABLE, Outcome
from service.lifecycle import Hal
from service.schemas import ModelStamp
from service.settings import Settings

_GROUPS_AT_ONCE: Final = 3
_BATCHES_A_GROUP: Final = 4
"""While one group ends, the others keep the device busy."""
_NO_HURRY_MS: Final = 3_600_000


class InProcess:
    """A bundle, opened when the first file is classified."""

    def __init__(self, settings: Settings, bundle: Bundle) -> None:
        group = _BATCHES_A_GROUP * settings.max_batch
        roomy = {"queue_limit": max(settings.queue_limit, _GROUPS_AT_ONCE * group), "deadline_ms": _NO_HURRY_MS}
        self._settings = settings.model_copy(update=roomy)
        self._bundle = bundle
        self._group = group
        self._model = ModelStamp.of(bundle, bundle.file(settings.precision)).model_dump(mode="json")

    @property
    def stamp(self) -> tuple[str, ...]:  # noqa: D102
        return tuple(str(self._model[name]) for name in STAMP)

    async def outcomes(self, files: Sequence[ImageFile]) -> AsyncGenerator[Outcome, None]:
        """See :class:`service.folders.sources.Source`.

        Raises:
            EngineError, BundleError: the network cannot be opened.
        """
        hal = Hal(self._settings, self._bundle)
        running: deque[asyncio.Task[list[Outcome]]] = deque()
        try:
            await hal.open()
            if hal.failure is not None:
                raise hal.failure
            starts = iter(range(0, len(files), self._group))
            while True:
                while len(running) < _GROUPS_AT_ONCE and (start := next(starts, None)) is not None:
                    running.append(asyncio.create_task(self._classify(hal, files[start : start + self._group])))
                if not running:
                    return
                for outcome in await running[0]:
                    yield outcome
                running.popleft()
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)
            await hal.close()

    async def _classify(self, hal: Hal, files: Sequence[ImageFile]) -> list[Outcome]:
        read = await asyncio.to_thread(lambda: [_read(file) for file in files])
        images = [data for data in read if isinstance(data, bytes)]
        done = await hal.classify(hal.batcher, images) if images else None
        results = iter(done.results if done is not None else ())
        return [
            Outcome(file, msgspec.to_builtins(next(results)), self._model)
            if isinstance(data, bytes)
            else Outcome(file, {"image_sha256": "", "error": {"code": UNREADABLE, "message": data}}, None)
            for file, data in zip(files, read, strict=True)
        ]


def _read(file: ImageFile) -> bytes | str:
    try:
        return Path(file.path).read_bytes()
    except OSError as error:
        return f"The file cannot be read: {error.strerror or error}."
