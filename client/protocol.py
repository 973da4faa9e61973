"""What both clients share: requests in, answers out. Nothing here sends anything or waits.

An :data:`Exchange` is a generator: it yields each request that is to be sent, is given the response, and returns what
the responses say. It raises ``RefusedRequestError`` where the service refuses a request as a whole, ``OtherModelError``
where it does because results were made with another model, ``AnswerError`` where an answer is none of HAL's.
"""

import errno
import hashlib
import json
import secrets
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, TypeAlias

import httpx

from .answers import Answer, Outcome, Parsed, answer_of, refused_here, result_of
from .errors import AnswerError, OtherModelError, RefusedRequestError, UnavailableError
from .images import Numbered, Source
from .retry import BUSY, Attempts, Retries
from .slides import FhirReport, Summary, report_of, results_document, summary_of

ANSWERED: Final = frozenset({200, 422})
"""422 has the body of 200: not one of its images could be classified."""
_TOO_LARGE: Final = 413
_LINES: Final = "application/x-ndjson"
_FHIR: Final = "application/fhir+json"
_FILENAME: Final = "image"
"""The service gives names back, and names of files may tell patients'."""


@dataclass(frozen=True, slots=True)
class Call:
    """One request, built anew for each attempt; ``options`` are those of :meth:`httpx.Client.build_request`."""

    request_id: str
    method: str
    path: str
    options: Mapping[str, Any]

    def build(self, http: httpx.Client | httpx.AsyncClient) -> httpx.Request:
        """The request for one attempt."""
        headers = {"X-Request-ID": self.request_id, **self.options.get("headers", {})}
        return http.build_request(self.method, self.path, **{**self.options, "headers": headers})


Exchange: TypeAlias = Generator[Call, httpx.Response, Parsed]


Answered: TypeAlias = httpx.Response | httpx.TransportError | bool | None
"""What came of a step: of a request its response or failure, of a pause whether nobody wants the answer any more."""


def repeated(exchange: Exchange[Parsed], retries: Retries) -> Generator[Call | float, Answered, Parsed]:
    """The same exchange with pauses (seconds) and further attempts after failures; the first send is ``None``.

    Raises:
        UnavailableError: there is no further attempt, or nobody wants the answer any more.
    """
    try:
        call = next(exchange)
        while True:
            attempts = Attempts(retries, call.request_id)
            while not isinstance(answer := (yield call), httpx.Response) or answer.status_code in BUSY:
                assert isinstance(answer, httpx.Response | httpx.TransportError)  # noqa: S101 - for mypy
                if (yield attempts.delay_after(answer)):
                    raise attempts.unavailable(answer)
            call = exchange.send(answer)
    except StopIteration as end:
        found: Parsed = end.value
        return found


def new_request_id() -> str:
    """An id for one request and all its attempts."""
    return secrets.token_hex(16)


def classify(
    images: list[bytes], request_id: str | None = None, client_refs: Sequence[str] | None = None
) -> Exchange[Answer]:
    """One request with these images."""
    call = _of_images(images, request_id, client_refs)
    response = yield call
    answer = _parsed(answer_of, _document(response, call.request_id), call.request_id)
    if len(answer.results) != len(images):
        raise AnswerError(f"The answer has {len(answer.results)} results for {len(images)} images", call.request_id)
    return answer


def begin_stream(
    images: list[bytes], request_id: str | None, client_refs: Sequence[str] | None
) -> Exchange[tuple[httpx.Response, str]]:
    """The response whose lines :class:`Lines` reads, once it has begun."""
    call = _of_images(images, request_id, client_refs)
    call = replace(call, options={**call.options, "headers": {"Accept": _LINES}})
    response = yield call
    if response.status_code != httpx.codes.OK:
        _document(response, call.request_id)
    return response, call.request_id


class Lines:
    """Reads the lines of an answer: the outcome of each image.

    Args:
        sources: the images that were sent.
        request_id: of the request.
    """

    def __init__(self, sources: Sequence[Source], request_id: str) -> None:
        self._sources = sources
        self._request_id = request_id
        self._head: Answer | None = None
        self._left = len(sources)

    def read(self, line: str) -> Iterator[Outcome]:
        """The outcome in a line; the first has none.

        Raises:
            UnavailableError: the service says why there are no more.
            AnswerError: it is no line of HAL's.
        """
        document = _parsed(json.loads, line, self._request_id)
        if self._head is None:
            self._head = _parsed(answer_of, document | {"results": []}, self._request_id)
        elif "index" not in document:
            raise self.cut_off(f"{document['error']['code']}: {document['error']['message']}")
        else:
            result = _parsed(result_of, document, self._request_id)
            index, self._left = int(document["index"]), self._left - 1
            head = self._head
            yield Outcome(index, self._sources[index], result, head.model, head.hairy_rule, head.request_id)

    def end(self) -> None:
        """To be called behind the last line.

        Raises:
            UnavailableError: an image has no line.
        """
        if self._left:
            raise self.cut_off("the connection ended")

    def cut_off(self, why: object) -> UnavailableError:
        """What to raise where the lines end too early."""
        message = f"The answer ended with {self._left} of {len(self._sources)} images left: {why}"
        return UnavailableError(message, self._request_id, attempts=1, status=httpx.codes.OK, retry_after_s=None)


def classify_slice(part: Sequence[Numbered]) -> Exchange[list[Outcome]]:
    """The outcomes of the images of a request, or of several smaller ones where the service finds it too large."""
    found = [_unreadable(image, image.data) for image in part if isinstance(image.data, OSError)]
    sent = [(image, image.data) for image in part if isinstance(image.data, bytes)]
    try:
        if sent:
            answer = yield from classify([data for _, data in sent])
            found += [
                Outcome(image.index, image.source, result, answer.model, answer.hairy_rule, answer.request_id)
                for (image, _), result in zip(sent, answer.results, strict=True)
            ]
    except RefusedRequestError as error:
        if error.status != _TOO_LARGE:
            raise
        if len(sent) == 1:
            ((image, data),) = sent
            refused = refused_here(hashlib.sha256(data).hexdigest(), error.code, str(error))
            found.append(Outcome(image.index, image.source, refused, None, None, error.request_id))
        else:
            images, middle = [image for image, _ in sent], len(sent) // 2
            found += yield from classify_slices([images[:middle], images[middle:]])
    return sorted(found, key=lambda outcome: outcome.index)


def classify_slices(parts: Iterable[Sequence[Numbered]]) -> Exchange[list[Outcome]]:
    """The outcomes of all parts of a group, in the order of its images."""
    found = []
    for part in parts:
        found += yield from classify_slice(part)
    return found


def summarise_slide(results: Iterable[Answer | Outcome], request_id: str | None) -> Exchange[Summary]:
    """The summary of results of one slide."""
    call = _of_results(results, request_id)
    return summary_in((yield call), call.request_id)


def slide_as_fhir(results: Iterable[Answer | Outcome], request_id: str | None) -> Exchange[FhirReport]:
    """The same as a FHIR report."""
    call = _of_results(results, request_id, params={"format": "fhir"}, headers={"Accept": _FHIR})
    return fhir_in((yield call), call.request_id)


def model() -> Exchange[dict[str, Any]]:
    """What is served."""
    call = Call(new_request_id(), "GET", "/model", {})
    return _document((yield call), call.request_id)


def summary_in(response: httpx.Response, request_id: str) -> Summary:
    """The summary in an answer of either of ``/slides``."""
    return _parsed(summary_of, _document(response, request_id), request_id)


def fhir_in(response: httpx.Response, request_id: str) -> FhirReport:
    """The report in an answer that wanted FHIR."""
    return _parsed(lambda document: report_of(document, request_id), _document(response, request_id), request_id)


def _of_images(images: list[bytes], request_id: str | None, client_refs: Sequence[str] | None) -> Call:
    files = [("file", (_FILENAME, data, "application/octet-stream")) for data in images]
    fields = {"client_ref": list(client_refs or ())}
    return Call(request_id or new_request_id(), "POST", "/classify", {"files": files, "data": fields})


def _of_results(results: Iterable[Answer | Outcome], request_id: str | None, **options: Any) -> Call:
    request_id = request_id or new_request_id()
    return Call(request_id, "POST", "/slides/summary", {"json": results_document(results, request_id), **options})


def _parsed(parse: Callable[[Any], Parsed], document: Any, request_id: str) -> Parsed:
    try:
        return parse(document)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise AnswerError(f"The answer is not one of HAL's: {type(error).__name__}: {error}", request_id) from error


def _document(response: httpx.Response, request_id: str) -> dict[str, Any]:
    try:
        document = json.loads(response.content)
    except ValueError:
        document = None
    fault = document.get("error") if isinstance(document, dict) else None
    if response.status_code in ANSWERED and isinstance(document, dict) and "error" not in document:
        return document
    if not isinstance(fault, dict):
        if response.is_success:
            raise AnswerError(f"The answer is not a JSON object of HAL's: {response.text[:80]!r}", request_id)
        fault = {"code": "http_error", "message": response.reason_phrase}
    code, message = str(fault.get("code")), str(fault.get("message"))
    if code == "other_model":
        raise OtherModelError(message, request_id)
    raise RefusedRequestError(response.status_code, code, message, request_id)


def _unreadable(image: Numbered, error: OSError) -> Outcome:
    code = "image_too_large" if error.errno == errno.EFBIG else "unreadable_file"
    reason = f"The file cannot be read: {error.strerror or error}."
    return Outcome(image.index, image.source, refused_here("", code, reason), None, None, "")
