"""What both clients share: how a request is made and how its answer is read. Nothing here sends anything."""

import hashlib
import json
import secrets
from collections.abc import Callable
from typing import Any, Final, TypeVar

import httpx

from .answers import Answer, Outcome, answer_of, refused_here
from .errors import AnswerError, OtherModelError, RefusedRequestError
from .fhir import FhirReport, report_of
from .images import UNREADABLE, Slice, Source, form, groups, read
from .slides import Slide, Summary, summary_of

CLASSIFY: Final = "/classify"
CLASSIFY_SLIDE: Final = "/slides/classify"
SUMMARISE_SLIDE: Final = "/slides/summary"
DEFAULT_TIMEOUT: Final = httpx.Timeout(60.0, connect=5.0)
ANSWERED: Final = frozenset({200, 422})
"""422 has the body of 200: not one of its images could be classified."""
TOO_LARGE: Final = 413
FHIR: Final = "application/fhir+json"
OTHER_MODEL: Final = "other_model"

Http = httpx.Client | httpx.AsyncClient


def service_url(url: str) -> str:
    """The address of a service.

    Raises:
        ValueError: it is not one.
    """
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL:
        parsed = httpx.URL("")
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise ValueError(f"{url!r} is not the address of a service; expected for example http://127.0.0.1:8000")
    return url


def new_request_id() -> str:
    """An id for one request and all its attempts."""
    return secrets.token_hex(16)


def headers(
    api_key: str | None = None, *, priority: str | None = None, deadline_s: float | None = None
) -> dict[str, str]:
    """Headers of every request.

    Args:
        api_key: sent as a bearer token.
        priority: ``routine`` or ``bulk``; bulk work waits for routine work.
        deadline_s: seconds after which the service need not answer any more.
    """
    found = {"Accept": "application/json"}
    if api_key is not None:
        found["Authorization"] = f"Bearer {api_key}"
    if priority is not None:
        found["X-Priority"] = priority
    if deadline_s is not None:
        found["X-Request-Timeout-Ms"] = str(max(1, round(deadline_s * 1000)))
    return found


def classify_request(http: Http, images: list[bytes], request_id: str, path: str = CLASSIFY) -> httpx.Request:
    """One ``POST`` of images; to be built anew for each attempt."""
    return http.build_request("POST", path, files=form(images), headers={"X-Request-ID": request_id})


def summary_request(http: Http, results: dict[str, Any], request_id: str) -> httpx.Request:
    """One ``POST /slides/summary``."""
    return http.build_request("POST", SUMMARISE_SLIDE, json=results, headers={"X-Request-ID": request_id})


def fhir_request(http: Http, results: dict[str, Any], request_id: str) -> httpx.Request:
    """One ``POST /slides/summary`` that wants FHIR."""
    wanted = {"X-Request-ID": request_id, "Accept": FHIR}
    return http.build_request("POST", SUMMARISE_SLIDE, params={"format": "fhir"}, json=results, headers=wanted)


def model_request(http: Http, request_id: str) -> httpx.Request:
    """One ``GET /model``."""
    return http.build_request("GET", "/model", headers={"X-Request-ID": request_id})


def answer_in(response: httpx.Response, request_id: str, images: int) -> Answer:
    """The answer to a request with so many images.

    Raises:
        RefusedRequestError: the service refused the request as a whole.
        AnswerError: the body is not an answer to it.
    """
    return _whole(checked(response, request_id), request_id, images)


def summary_in(response: httpx.Response, request_id: str) -> Summary:
    """The summary in an answer of either of ``/slides``.

    Raises:
        RefusedRequestError, OtherModelError, AnswerError: see :func:`checked`.
    """
    return _parsed(summary_of, checked(response, request_id), request_id)


def fhir_in(response: httpx.Response, request_id: str) -> FhirReport:
    """The report in an answer that wanted FHIR.

    Raises:
        RefusedRequestError, OtherModelError, AnswerError: see :func:`checked`.
    """
    return _parsed(lambda document: report_of(document, request_id), checked(response, request_id), request_id)


def slide_in(response: httpx.Response, request_id: str, part: Slice) -> Slide:
    """The answer to a slide that was sent in one request.

    Raises:
        RefusedRequestError, OtherModelError, AnswerError: see :func:`checked`.
    """
    answer = _whole(checked(response, request_id), request_id, len(part.images))
    return Slide(tuple(outcomes(part, answer)), summary_in(response, request_id))


def whole_slide(sources: list[Source], most_images: int, most_bytes: int) -> Slice | None:
    """The images of a slide for one request; ``None`` if there are too many, too large or unreadable ones.

    An unreadable image counts as refused, and only a summary of results can be told of it.
    """
    if not 0 < len(sources) <= most_images:
        return None
    part, *rest = read(next(groups(sources, most_images)), most_bytes)
    return None if rest or part.unreadable else part


Parsed = TypeVar("Parsed")


def _parsed(parse: Callable[[dict[str, Any]], Parsed], document: dict[str, Any], request_id: str) -> Parsed:
    try:
        return parse(document)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise AnswerError(f"The answer is not one of HAL's: {type(error).__name__}: {error}", request_id) from error


def _whole(document: dict[str, Any], request_id: str, images: int) -> Answer:
    answer = _parsed(answer_of, document, request_id)
    if len(answer.results) != images:
        raise AnswerError(f"The answer has {len(answer.results)} results for {images} images", request_id)
    return answer


def checked(response: httpx.Response, request_id: str) -> dict[str, Any]:
    """The JSON object of an answer.

    Raises:
        RefusedRequestError: the service refused the request as a whole.
        OtherModelError: it did because the results were made with another model.
        AnswerError: the body is not an answer to it.
    """
    document = _document(response)
    if response.status_code in ANSWERED and document is not None and "error" not in document:
        return document
    fault = (document or {}).get("error")
    if not isinstance(fault, dict):
        if response.is_success:
            raise AnswerError(f"The answer is not a JSON object of HAL's: {response.text[:80]!r}", request_id)
        fault = {"code": "http_error", "message": response.reason_phrase}
    code, message = str(fault.get("code")), str(fault.get("message"))
    if code == OTHER_MODEL:
        raise OtherModelError(message, request_id)
    raise RefusedRequestError(response.status_code, code, message, request_id)


def _document(response: httpx.Response) -> dict[str, Any] | None:
    try:
        document = json.loads(response.content)
    except ValueError:
        return None
    return document if isinstance(document, dict) else None


def outcomes(part: Slice, answer: Answer | None) -> list[Outcome]:
    """The outcomes of a slice in the order of its images."""
    found = []
    if answer is not None:
        for (item, _), result in zip(part.images, answer.results, strict=True):
            found.append(Outcome(item.index, item.source, result, answer.model, answer.request_id))
    for item, reason in part.unreadable:
        found.append(Outcome(item.index, item.source, refused_here("", UNREADABLE, reason), None, ""))
    return sorted(found, key=lambda outcome: outcome.index)


def too_large_alone(part: Slice, error: RefusedRequestError) -> Outcome:
    """The outcome of an image whose request is too large although nothing else is in it."""
    ((item, data),) = part.images
    sha256 = hashlib.sha256(data).hexdigest()
    return Outcome(item.index, item.source, refused_here(sha256, error.code, str(error)), None, error.request_id)
