"""Classify files in this process: the service's own way of an image, without HTTP."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable, Sequence
from typing import Any, Final, Self, TypeAlias

import msgspec

from contract.bundle import Bundle
from service.engine.sessions import served_file
from service.jobs.files import ImageFile, read
from service.jobs.records import STAMP, Record, record_of
from service.serving.answers import ModelStamp
from service.serving.service import Service
from service.settings import Settings

_GROUPS_AT_ONCE: Final = 3
"""While one group ends, the others keep the device busy."""
_BATCHES_A_GROUP: Final = 4
_USUAL_BATCH: Final = 16
_NO_HURRY_MS: Final = 3_600_000

ReadAll: TypeAlias = Callable[[Sequence[ImageFile], int], list[bytes | dict[str, Any]]]
"""The bytes of each file of at most so many bytes, or its refusal."""


def read_all(files: Sequence[ImageFile], most_bytes: int) -> list[bytes | dict[str, Any]]:
    return [read(file, most_bytes) for file in files]


class InProcess:
    """The service without HTTP, open while it is a context.

    Args:
        read: called in threads.
        calls: most calls of :meth:`records` at once.
    """

    def __init__(self, settings: Settings, bundle: Bundle, *, read: ReadAll = read_all, calls: int = 1) -> None:
        self._group = _BATCHES_A_GROUP * (settings.max_batch or _USUAL_BATCH)
        room = max(settings.queue_limit, calls * _GROUPS_AT_ONCE * self._group)
        self._settings = settings.model_copy(update={"queue_limit": room, "deadline_ms": _NO_HURRY_MS})
        self._bundle = bundle
        self._hal: Service
        self._read = read
        self._hairy_threshold = bundle.description.policy.hairy_threshold
        file = served_file(bundle, settings.device, settings.precision)
        self._model = msgspec.to_builtins(ModelStamp.of(bundle, file))

    @property
    def stamp(self) -> tuple[str, ...]:
        """The model's values of :data:`~service.jobs.records.STAMP`."""
        return tuple(str(self._model[name]) for name in STAMP)

    async def __aenter__(self) -> Self:
        self._hal = Service(self._settings, self._bundle)
        await self._hal.open()
        if self._hal.failure is not None:
            await self._hal.close()
            raise self._hal.failure
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._hal.close()

    async def records(self, files: Sequence[ImageFile]) -> AsyncGenerator[Record, None]:
        running: deque[asyncio.Task[list[Record]]] = deque()
        starts = iter(range(0, len(files), self._group))
        try:
            while True:
                while len(running) < _GROUPS_AT_ONCE and (start := next(starts, None)) is not None:
                    running.append(asyncio.create_task(self._classify(files[start : start + self._group])))
                if not running:
                    return
                for record in await running[0]:
                    yield record
                running.popleft()
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)

    async def _classify(self, files: Sequence[ImageFile]) -> list[Record]:
        given = await asyncio.to_thread(self._read, files, self._settings.max_image_bytes)
        images = [data for data in given if isinstance(data, bytes)]
        done = await self._hal.classify(images) if images else None
        results = iter(done.results if done is not None else ())
        return [
            record_of(file, msgspec.to_builtins(next(results)), self._model, self._hairy_threshold)
            if isinstance(data, bytes)
            else record_of(file, data, None, None)
            for file, data in zip(files, given, strict=True)
        ]
