"""The client for asyncio; the same as :mod:`client.sync` but for its waiting."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Iterable, Sequence
from typing import Any, Self, Unpack

import httpx

from . import connection, protocol
from .answers import Answer, Outcome, Parsed
from .connection import Connection
from .images import Bulk, Source, bytes_of, flat, groups, read
from .slides import FhirReport, Slide, Summary


class AsyncHalClient(Connection[httpx.AsyncClient]):
    """A connection to one service; arguments, methods and errors are those of :class:`client.sync.HalClient`."""

    _kind = httpx.AsyncClient

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def classify(
        self,
        *images: Source | Iterable[Source],
        client_refs: Sequence[str] | None = None,
        request_id: str | None = None,
    ) -> Answer:
        """Classify images in one request, given one by one or in a list: a result for each, in order."""
        data = await asyncio.to_thread(lambda: [bytes_of(image) for image in flat(images)])
        return await self._run(protocol.classify(data, request_id, client_refs))

    async def classify_many(
        self,
        images: Iterable[Source],
        *,
        images_per_request: int = 32,
        bytes_per_request: int = 16 * 1024 * 1024,
        concurrency: int = 4,
        ordered: bool = True,
    ) -> AsyncGenerator[Outcome, None]:
        """Classify any number of images in requests of bounded size, ``concurrency`` of them at once.

        To stop early, close the iterator (``contextlib.aclosing``); requests under way are cancelled.
        """
        running: deque[asyncio.Task[list[Outcome]]] = deque()
        waiting = groups(images, images_per_request)
        free = asyncio.Semaphore(concurrency)

        async def work(group: list[tuple[int, Source]]) -> list[Outcome]:
            async with free:
                parts = await asyncio.to_thread(read, group, bytes_per_request)
                return await self._run(protocol.classify_slices(parts))

        try:
            while True:
                while len(running) < 2 * concurrency and (group := next(waiting, None)):
                    running.append(asyncio.create_task(work(group)))
                if not running:
                    return
                if not ordered:
                    done, _ = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
                    running = deque(sorted(running, key=lambda task: task not in done))
                for outcome in await running[0]:
                    yield outcome
                running.popleft()
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)

    async def classify_stream(
        self,
        *images: Source | Iterable[Source],
        client_refs: Sequence[str] | None = None,
        request_id: str | None = None,
    ) -> AsyncGenerator[Outcome, None]:
        """Classify up to a thousand images in one request and give each outcome as soon as it is there, in any order.

        To stop early, close the iterator (``contextlib.aclosing``).
        """
        sources = flat(images)
        data = await asyncio.to_thread(lambda: [bytes_of(image) for image in sources])
        response, name = await self._run(protocol.begin_stream(data, request_id, client_refs), stream=True)
        lines = protocol.Lines(sources, name)
        try:
            async for line in response.aiter_lines():
                for outcome in lines.read(line):
                    yield outcome
        except httpx.TransportError as error:
            raise lines.cut_off(error) from error
        finally:
            await response.aclose()
        lines.end()

    async def classify_slide(self, images: Iterable[Source], **bulk: Unpack[Bulk]) -> Slide:
        """Classify the images of one slide and summarise them: its differential and advice."""
        outcomes = tuple([outcome async for outcome in self.classify_many(images, **bulk)])
        return Slide(outcomes, await self.summarise_slide(outcomes))

    async def summarise_slide(self, results: Iterable[Answer | Outcome], *, request_id: str | None = None) -> Summary:
        """Summarise results of one slide that are there already."""
        return await self._run(protocol.summarise_slide(results, request_id))

    async def slide_as_fhir(self, results: Iterable[Answer | Outcome], *, request_id: str | None = None) -> FhirReport:
        """What :meth:`summarise_slide` says, as a FHIR R4 report."""
        return await self._run(protocol.slide_as_fhir(results, request_id))

    async def model(self) -> dict[str, Any]:
        """What is served and what is known about it (``GET /model``)."""
        return await self._run(protocol.model())

    async def is_ready(self) -> bool:
        """Whether images can be sent now."""
        return await self.why_not_ready() is None

    async def why_not_ready(self) -> str | None:
        """Why images cannot be sent now; ``None`` if they can."""
        try:
            response: httpx.Response | Exception = await self._http.get(connection.READY)
        except connection.FAILURES as error:
            response = error
        return connection.why_not_ready(self._http.base_url, response)

    async def _run(self, exchange: protocol.Exchange[Parsed], *, stream: bool = False) -> Parsed:
        steps = protocol.repeated(exchange, self._retries)
        answer: protocol.Answered = None
        try:
            while True:
                step = steps.send(answer)
                try:
                    if isinstance(step, float):
                        await asyncio.sleep(step)
                        answer = None
                        continue
                    response = await self._http.send(step.build(self._http), stream=stream)
                    if not response.is_success:
                        await response.aread()
                    answer = response
                except httpx.TransportError as error:
                    answer = error
        except StopIteration as end:
            found: Parsed = end.value
            return found
