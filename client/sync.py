"""The client for ordinary code; bulk work uses threads."""

import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Any, Self, Unpack

import httpx

from . import connection, protocol
from .answers import Answer, Outcome, Parsed
from .connection import Connection
from .images import Bulk, Source, bytes_of, flat, groups, read
from .slides import FhirReport, Slide, Summary

Pause = Callable[[float], bool | None]
"""Waits so many seconds; true if nobody wants the answer any more."""


class HalClient(Connection[httpx.Client]):
    """A connection to one service, as :class:`client.connection.Connection` says; safe to use from several threads.

    Every method raises ``RefusedRequestError``, ``UnavailableError`` or ``AnswerError`` for a request that fails as a
    whole.
    """

    _kind = httpx.Client

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def classify(
        self,
        *images: Source | Iterable[Source],
        client_refs: Sequence[str] | None = None,
        request_id: str | None = None,
    ) -> Answer:
        """Classify images in one request, given one by one or in a list: a result for each, in order.

        ``client_refs`` are what you call them, which their results repeat.

        Raises:
            OSError: a file cannot be read; nothing was sent.
            TypeError: one of them is no image.
        """
        return self._run(protocol.classify([bytes_of(image) for image in flat(images)], request_id, client_refs))

    def classify_many(
        self,
        images: Iterable[Source],
        *,
        images_per_request: int = 32,
        bytes_per_request: int = 16 * 1024 * 1024,
        concurrency: int = 4,
        ordered: bool = True,
    ) -> Generator[Outcome, None, None]:
        """Classify any number of images in requests of bounded size, ``concurrency`` of them at once.

        An outcome comes for every image, in the order of the images or, not ``ordered``, as they are answered. A file
        that cannot be read or is refused has its reason in its outcome. ``images`` is consumed as the work goes on.
        To stop early, close the generator; what was not sent yet is not sent. A request that fails as a whole ends it.
        """
        stop = threading.Event()

        def work(group: list[tuple[int, Source]]) -> list[Outcome]:
            return self._run(protocol.classify_slices(read(group, bytes_per_request)), stop.wait)

        pool = ThreadPoolExecutor(concurrency, "hal-client")
        running: deque[Future[list[Outcome]]] = deque()
        waiting = groups(images, images_per_request)
        try:
            while True:
                while len(running) < 2 * concurrency and (group := next(waiting, None)):
                    running.append(pool.submit(work, group))
                if not running:
                    return
                if not ordered:
                    done, _ = wait(running, return_when=FIRST_COMPLETED)
                    running = deque(sorted(running, key=lambda future: future not in done))
                yield from running.popleft().result()
        finally:
            stop.set()
            pool.shutdown(wait=True, cancel_futures=True)

    def classify_stream(
        self,
        *images: Source | Iterable[Source],
        client_refs: Sequence[str] | None = None,
        request_id: str | None = None,
    ) -> Generator[Outcome, None, None]:
        """Classify up to a thousand images in one request and give each outcome as soon as it is there, in any order.

        To stop early, close the generator: the service classifies no more of them. What has begun is not sent again.

        Raises:
            UnavailableError: also where the answer ends before every image has its outcome.
            OSError, TypeError: see :meth:`classify`.
        """
        sources = flat(images)
        begun = protocol.begin_stream([bytes_of(image) for image in sources], request_id, client_refs)
        response, request_id = self._run(begun, stream=True)
        lines = protocol.Lines(sources, request_id)
        with contextlib.closing(response):
            try:
                for line in response.iter_lines():
                    yield from lines.read(line)
            except httpx.TransportError as error:
                raise lines.cut_off(error) from error
            lines.end()

    def classify_slide(self, images: Iterable[Source], **bulk: Unpack[Bulk]) -> Slide:
        """Classify the images of one slide as by :meth:`classify_many` and summarise them: differential and advice.

        A file that cannot be read or is refused has its reason in its outcome and is counted.

        Raises:
            OtherModelError: the service's model was replaced meanwhile.
        """
        outcomes = tuple(self.classify_many(images, **bulk))
        return Slide(outcomes, self.summarise_slide(outcomes))

    def summarise_slide(self, results: Iterable[Answer | Outcome], *, request_id: str | None = None) -> Summary:
        """Summarise results that are there already: answers of :meth:`classify` or outcomes, of one slide.

        Raises:
            OtherModelError: they were made with another model than the one that is served, or with several.
        """
        return self._run(protocol.summarise_slide(results, request_id))

    def slide_as_fhir(self, results: Iterable[Answer | Outcome], *, request_id: str | None = None) -> FhirReport:
        """What :meth:`summarise_slide` says, as a FHIR R4 report for a laboratory information system.

        Of a slide that :meth:`classify_slide` gave: ``slide_as_fhir(slide.outcomes)``.

        Raises:
            OtherModelError: see :meth:`summarise_slide`.
        """
        return self._run(protocol.slide_as_fhir(results, request_id))

    def model(self) -> dict[str, Any]:
        """What is served and what is known about it (``GET /model``)."""
        return self._run(protocol.model())

    def is_ready(self) -> bool:
        """Whether images can be sent now."""
        return self.why_not_ready() is None

    def why_not_ready(self) -> str | None:
        """Why images cannot be sent now, with the status or error and the proxy's variable; ``None`` if they can."""
        try:
            response: httpx.Response | Exception = self._http.get(connection.READY)
        except connection.FAILURES as error:
            response = error
        return connection.why_not_ready(self._http.base_url, response)

    def _run(self, exchange: protocol.Exchange[Parsed], pause: Pause = time.sleep, *, stream: bool = False) -> Parsed:
        steps = protocol.repeated(exchange, self._retries)
        answer: protocol.Answered = None
        try:
            while True:
                step = steps.send(answer)
                try:
                    if isinstance(step, float):
                        answer = pause(step)
                        continue
                    response = self._http.send(step.build(self._http), stream=stream)
                    if not response.is_success:
                        response.read()
                    answer = response
                except httpx.TransportError as error:
                    answer = error
        except StopIteration as end:
            found: Parsed = end.value
            return found
