"""The client for ordinary code; bulk work uses threads."""

import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
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

Pause = Callable[[float], bool | None]
"""Waits so many seconds; true if nobody wants the answer any more."""


class HalClient:
    """A connection to one service; safe to use from several threads.

    Args:
        url: where the service is, such as ``http://127.0.0.1:8000``.
        api_key: sent as ``Authorization: Bearer``.
        timeout: seconds or an :class:`httpx.Timeout`, for each attempt.
        retries: when to send again.
        priority: ``routine`` or ``bulk``.
        deadline_s: seconds after which the service drops a request.
        options: further arguments of :class:`httpx.Client`, such as ``verify`` or ``proxy``.
    """

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
        self._http = httpx.Client(base_url=protocol.service_url(url), timeout=timeout, headers=headers, **options)
        self._retries = retries or Retries()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def classify(self, *images: Source, request_id: str | None = None) -> Answer:
        """Classify images in one request: a result for each, in order.

        Raises:
            OSError: a file cannot be read; nothing was sent.
            RefusedRequestError, UnavailableError, AnswerError: see there.
        """
        return self._classify([bytes_of(image) for image in images], request_id or protocol.new_request_id())

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
        To stop early, close the generator; what was not sent yet is not sent.

        Raises:
            RefusedRequestError, UnavailableError, AnswerError: a request failed as a whole; the rest is abandoned.
        """
        stop = threading.Event()

        def work(group: list[Numbered]) -> list[Outcome]:
            found = [outcome for part in read(group, bytes_per_request) for outcome in self._slice(part, stop.wait)]
            return sorted(found, key=lambda outcome: outcome.index)

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

    def classify_slide(
        self,
        images: Iterable[Source],
        *,
        images_per_request: int = 32,
        bytes_per_request: int = 16 * 1024 * 1024,
        concurrency: int = 4,
    ) -> Slide:
        """Classify the images of one slide and summarise them: its differential and advice.

        A slide that fits into one request is one; a larger one is classified as by :meth:`classify_many` and its
        results are summarised. A file that cannot be read or is refused has its reason in its outcome and is counted.

        Raises:
            OtherModelError: the service's model was replaced meanwhile.
            RefusedRequestError, UnavailableError, AnswerError: a request failed as a whole.
        """
        sources = list(images)
        if part := protocol.whole_slide(sources, images_per_request, bytes_per_request):
            request_id = protocol.new_request_id()
            data = [image for _, image in part.images]
            try:
                return protocol.slide_in(self._post(data, request_id, protocol.CLASSIFY_SLIDE), request_id, part)
            except RefusedRequestError as error:
                if error.status != protocol.TOO_LARGE:
                    raise
        outcomes = tuple(
            self.classify_many(
                sources,
                images_per_request=images_per_request,
                bytes_per_request=bytes_per_request,
                concurrency=concurrency,
            )
        )
        return Slide(outcomes, self.summarise_slide(outcomes))

    def summarise_slide(self, results: Iterable[Answer | Outcome], *, request_id: str | None = None) -> Summary:
        """Summarise results that are there already: answers of :meth:`classify` or outcomes, of one slide.

        Raises:
            OtherModelError: they were made with another model than the one that is served, or with several.
            RefusedRequestError, UnavailableError, AnswerError: see there.
        """
        request_id = request_id or protocol.new_request_id()
        document = results_document(results, request_id)
        response = self._send(lambda: protocol.summary_request(self._http, document, request_id), request_id)
        return protocol.summary_in(response, request_id)

    def slide_as_fhir(self, results: Iterable[Answer | Outcome], *, request_id: str | None = None) -> FhirReport:
        """What :meth:`summarise_slide` says, as a FHIR R4 report for a laboratory information system.

        Of a slide that :meth:`classify_slide` gave: ``slide_as_fhir(slide.outcomes)``.

        Raises:
            RefusedRequestError: also with the code ``fhir_not_installed``, where the service lacks the extra ``fhir``.
            OtherModelError, UnavailableError, AnswerError: see there.
        """
        request_id = request_id or protocol.new_request_id()
        document = results_document(results, request_id)
        response = self._send(lambda: protocol.fhir_request(self._http, document, request_id), request_id)
        return protocol.fhir_in(response, request_id)

    def model(self) -> dict[str, Any]:
        """What is served and what is known about it (``GET /model``)."""
        request_id = protocol.new_request_id()
        return protocol.checked(
            self._send(lambda: protocol.model_request(self._http, request_id), request_id), request_id
        )

    def is_ready(self) -> bool:
        """Whether images can be sent now."""
        try:
            return self._http.get("/health/ready").status_code == httpx.codes.OK
        except httpx.TransportError:
            return False

    def _slice(self, part: Slice, pause: Pause) -> list[Outcome]:
        if not part.images:
            return protocol.outcomes(part, None)
        try:
            answer = self._classify([data for _, data in part.images], protocol.new_request_id(), pause)
        except RefusedRequestError as error:
            if error.status != protocol.TOO_LARGE:
                raise
            rest = protocol.outcomes(Slice((), part.unreadable), None)
            if len(part.images) == 1:
                return [protocol.too_large_alone(part, error), *rest]
            return [outcome for half in part.halves() for outcome in self._slice(half, pause)] + rest
        return protocol.outcomes(part, answer)

    def _classify(self, images: list[bytes], request_id: str, pause: Pause = time.sleep) -> Answer:
        return protocol.answer_in(self._post(images, request_id, pause=pause), request_id, len(images))

    def _post(
        self, images: list[bytes], request_id: str, path: str = protocol.CLASSIFY, pause: Pause = time.sleep
    ) -> httpx.Response:
        return self._send(lambda: protocol.classify_request(self._http, images, request_id, path), request_id, pause)

    def _send(self, build: Callable[[], httpx.Request], request_id: str, pause: Pause = time.sleep) -> httpx.Response:
        attempts = Attempts(self._retries, request_id)
        while True:
            failure: httpx.Response | httpx.TransportError
            try:
                failure = self._http.send(build())
                if failure.status_code not in BUSY:
                    return failure
            except httpx.TransportError as error:
                failure = error
            if pause(attempts.delay_after(failure)):
                raise attempts.unavailable(failure)
