"""The client for asyncio; the same as :mod:`client.sync` but for its waiting."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterable
from types import TracebackType
from typing import Any, Self

import httpx

from . import protocol
from .answers import Answer, Outcome
from .errors import RefusedRequestError
from .fhir import FhirReport
from .images import Numbered, Slice, Source, bytes_of, groups, read
from .retry import BUSY, Attempts, Retries
from .slides import Slide, Summary, results_document


class AsyncHalClient:
    """A connection to one service. Arguments: see :class:`client.sync.HalClient`."""

    def __init__(
        self,
        url: str,
        *,
        api_key: str | None = None,
        timeout: float | httpx.Timeout = protocol.DEFAULT_TIMEOUT,
        retries: Retries | None = None,
        priority: str | None = None,
        deadline_s: float | None = None,
        **options: Any,
    ) -> None:
        headers = protocol.headers(api_key, priority=priority, deadline_s=deadline_s)
        self._http = httpx.AsyncClient(base_url=protocol.service_url(url), timeout=timeout, headers=headers, **options)
        self._retries = retries or Retries()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def classify(self, *images: Source, request_id: str | None = None) -> Answer:
        """Classify images in one request: a result for each, in order.

        Raises:
            OSError: a file cannot be read; nothing was sent.
            RefusedRequestError, UnavailableError, AnswerError: see there.
        """
        data = await asyncio.to_thread(lambda: [bytes_of(image) for image in images])
        return await self._classify(data, request_id or protocol.new_request_id())

    async def classify_many(
        self,
        images: Iterable[Source],
        *,
        images_per_request: int = 32,
        bytes_per_request: int = 16 * 1024 * 1024,
        concurrency: int = 4,
        ordered: bool = True,
    ) -> AsyncGenerator[Outcome, None]:
        """Classify any number of images: see :meth:`client.sync.HalClient.classify_many`.

        To stop early, close the iterator (``contextlib.aclosing``); requests under way are cancelled.
        """
        running: deque[asyncio.Task[list[Outcome]]] = deque()
        waiting = groups(images, images_per_request)
        free = asyncio.Semaphore(concurrency)

        async def work(group: list[Numbered]) -> list[Outcome]:
            async with free:
                parts = await asyncio.to_thread(read, group, bytes_per_request)
                found = [outcome for part in parts for outcome in await self._slice(part)]
            return sorted(found, key=lambda outcome: outcome.index)

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

    async def classify_slide(
        self,
        images: Iterable[Source],
        *,
        images_per_request: int = 32,
        bytes_per_request: int = 16 * 1024 * 1024,
        concurrency: int = 4,
    ) -> Slide:
        """Classify the images of one slide and summarise them: see :meth:`client.sync.HalClient.classify_slide`."""
        sources = list(images)
        part = await asyncio.to_thread(protocol.whole_slide, sources, images_per_request, bytes_per_request)
        if part:
            request_id = protocol.new_request_id()
            data = [image for _, image in part.images]
            try:
                return protocol.slide_in(await self._post(data, request_id, protocol.CLASSIFY_SLIDE), request_id, part)
            except RefusedRequestError as error:
                if error.status != protocol.TOO_LARGE:
                    raise
        bulk = self.classify_many(
            sources, images_per_request=images_per_request, bytes_per_request=bytes_per_request, concurrency=concurrency
        )
        outcomes = tuple([outcome async for outcome in bulk])
        return Slide(outcomes, await self.summarise_slide(outcomes))

    async def summarise_slide(self, results: Iterable[Answer | Outcome], *, request_id: str | None = None) -> Summary:
        """Summarise results that are there already: see :meth:`client.sync.HalClient.summarise_slide`."""
        request_id = request_id or protocol.new_request_id()
        document = results_document(results, request_id)
        response = await self._send(lambda: protocol.summary_request(self._http, document, request_id), request_id)
        return protocol.summary_in(response, request_id)

    async def slide_as_fhir(self, results: Iterable[Answer | Outcome], *, request_id: str | None = None) -> FhirReport:
        """The summary as a FHIR R4 report: see :meth:`client.sync.HalClient.slide_as_fhir`."""
        request_id = request_id or protocol.new_request_id()
        document = results_document(results, request_id)
        response = await self._send(lambda: protocol.fhir_request(self._http, document, request_id), request_id)
        return protocol.fhir_in(response, request_id)

    async def model(self) -> dict[str, Any]:
        """What is served and what is known about it (``GET /model``)."""
        request_id = protocol.new_request_id()
        response = await self._send(lambda: protocol.model_request(self._http, request_id), request_id)
        return protocol.checked(response, request_id)

    async def is_ready(self) -> bool:
        """Whether images can be sent now."""
        try:
            return (await self._http.get("/health/ready")).status_code == httpx.codes.OK
        except httpx.TransportError:
            return False

    async def _slice(self, part: Slice) -> list[Outcome]:
        if not part.images:
            return protocol.outcomes(part, None)
        try:
            answer = await self._classify([data for _, data in part.images], protocol.new_request_id())
        except RefusedRequestError as error:
            if error.status != protocol.TOO_LARGE:
                raise
            rest = protocol.outcomes(Slice((), part.unreadable), None)
            if len(part.images) == 1:
                return [protocol.too_large_alone(part, error), *rest]
            return [outcome for half in part.halves() for outcome in await self._slice(half)] + rest
        return protocol.outcomes(part, answer)

    async def _classify(self, images: list[bytes], request_id: str) -> Answer:
        return protocol.answer_in(await self._post(images, request_id), request_id, len(images))

    async def _post(self, images: list[bytes], request_id: str, path: str = protocol.CLASSIFY) -> httpx.Response:
        return await self._send(lambda: protocol.classify_request(self._http, images, request_id, path), request_id)

    async def _send(self, build: Callable[[], httpx.Request], request_id: str) -> httpx.Response:
        attempts = Attempts(self._retries, request_id)
        while True:
            failure: httpx.Response | httpx.TransportError
            try:
                failure = await self._http.send(build())
                if failure.status_code not in BUSY:
                    return failure
            except httpx.TransportError as error:
                failure = error
            await asyncio.sleep(attempts.delay_after(failure))
