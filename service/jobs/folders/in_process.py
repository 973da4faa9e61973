"""Classify files in this process: the service's own way of an image, without HTTP."""

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncGenerator, Callable, Sequence
from pathlib import Path
from typing import Final, Self, TypeAlias

import msgspec

from contract.bundle import Bundle
from service.jobs.folders.files import ImageFile
from service.jobs.folders.records import STAMP
from service.jobs.folders.sources import UNREADABLE, Outcome, refusal
from service.serving.answers import ModelStamp
from service.serving.service import Service
from service.settings import Settings

_GROUPS_AT_ONCE: Final = 3
_BATCHES_A_GROUP: Final = 4
"""While one group ends, the others keep the device busy."""
_USUAL_BATCH: Final = 16
_NO_HURRY_MS: Final = 3_600_000

ReadAll: TypeAlias = Callable[[Sequence[ImageFile]], list[bytes | OSError]]


def read_all(files: Sequence[ImageFile]) -> list[bytes | OSError]:
    """The bytes of each file, or why there are none."""
    return [_read(file) for file in files]


def _read(file: ImageFile) -> bytes | OSError:
    try:
        return Path(file.path).read_bytes()
    except OSError as error:
        return error


class InProcess:
    """A bundle, opened when the first file is classified."""

    def __init__(self, settings: Settings, bundle: Bundle) -> None:
        self._opened = OpenBundle(settings, bundle)

    @property
    def stamp(self) -> tuple[str, ...]:  # noqa: D102
        return self._opened.stamp

    async def outcomes(self, files: Sequence[ImageFile]) -> AsyncGenerator[Outcome, None]:
        """See :class:`service.jobs.folders.sources.Source`.

        Raises:
            EngineError, BundleError: the network cannot be opened.
        """
        async with self._opened, contextlib.aclosing(self._opened.outcomes(files)) as found:
            async for outcome in found:
                yield outcome


class OpenBundle:
    """The service without HTTP: open while it is a context, and as many files as there are in that time.

    Args:
        settings: of the service.
        bundle: what classifies.
        read: gives the bytes of each file or why there are none; called in threads.
        calls: most calls of :meth:`outcomes` at once.
    """

    def __init__(self, settings: Settings, bundle: Bundle, *, read: ReadAll = read_all, calls: int = 1) -> None:
        group = _BATCHES_A_GROUP * (settings.max_batch or _USUAL_BATCH)
        room = max(settings.queue_limit, calls * _GROUPS_AT_ONCE * group)
        self._settings = settings.model_copy(update={"queue_limit": room, "deadline_ms": _NO_HURRY_MS})
        self._bundle = bundle
        self._read = read
        self._group = group
        self._model = msgspec.to_builtins(ModelStamp.of(bundle, bundle.file(settings.precision)))
        self._hal: Service | None = None

    @property
    def stamp(self) -> tuple[str, ...]:
        """The model's."""
        return tuple(str(self._model[name]) for name in STAMP)

    async def __aenter__(self) -> Self:
        """Open the network.

        Raises:
            EngineError, BundleError: it cannot be opened.
        """
        self._hal = Service(self._settings, self._bundle)
        await self._hal.open()
        if self._hal.failure is not None:
            await self._hal.close()
            raise self._hal.failure
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._hal is not None:
            await self._hal.close()

    async def outcomes(self, files: Sequence[ImageFile]) -> AsyncGenerator[Outcome, None]:
        """An outcome for each file, in their order; to be called while the bundle is open."""
        running: deque[asyncio.Task[list[Outcome]]] = deque()
        try:
            starts = iter(range(0, len(files), self._group))
            while True:
                while len(running) < _GROUPS_AT_ONCE and (start := next(starts, None)) is not None:
                    running.append(asyncio.create_task(self._classify(files[start : start + self._group])))
                if not running:
                    return
                for outcome in await running[0]:
                    yield outcome
                running.popleft()
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)

    async def _classify(self, files: Sequence[ImageFile]) -> list[Outcome]:
        hal = self._hal
        assert hal is not None, "the bundle is not open"  # noqa: S101
        read = await asyncio.to_thread(self._read, files)
        images = [data for data in read if isinstance(data, bytes)]
        done = await hal.classify(images) if images else None
        results = iter(done.results if done is not None else ())
        return [
            Outcome(file, msgspec.to_builtins(next(results)), self._model)
            if isinstance(data, bytes)
            else Outcome(file, refusal(UNREADABLE, f"The file cannot be read: {data.strerror or data}."), None)
            for file, data in zip(files, read, strict=True)
        ]
