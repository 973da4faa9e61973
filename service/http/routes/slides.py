"""``/slides``: the cells of one slide in, their differential and advice out. Nothing is stored."""

from collections.abc import Callable
from http import HTTPStatus
from typing import Any, Final

from fastapi import APIRouter, Request
from fastapi.responses import Response

from contract.classes import BY_ID
from contract.description import BundleDescription
from contract.differential import SlideCell
from contract.slide import OtherBundleError, SlideSummary, summarise
from service.batching.admission import RequestOptions
from service.errors import RequestError
from service.http import documentation
from service.http.documentation import JSON, Responses, answered, failed
from service.http.requests import LONGEST_TIMEOUT_MS, TIMEOUT, due, read_options, respond, service_of, while_connected
from service.http.routes.classify import classify_request
from service.http.uploads import read_body
from service.serving.answers import ClassifiedImage, ModelStamp, SlideAnswer, SummaryAnswer
from service.serving.fhir import MEDIA_TYPE, fhir_bundle
from service.serving.service import Service
from service.slides import MOST_BYTES, GivenModel, GivenReport, GivenSlide, ResultsError, read_slide

router = APIRouter(prefix="/slides", tags=["slides"])

_FORMAT: Final = "format"
_FORMATS: Final = {
    "name": _FORMAT,
    "in": "query",
    "required": False,
    "description": f"`fhir` gives the summary as FHIR R4, and so does `Accept: {MEDIA_TYPE}`: a collection of a "
    "DiagnosticReport, its Observations with LOINC codes and the Device. It names no patient and no "
    "specimen.",
    "schema": {"type": "string", "enum": ["json", "fhir"], "default": "json"},
}
_TIMEOUT: Final = documentation.header(
    TIMEOUT,
    "Milliseconds from the request's arrival after which nobody waits for the answer: 504.",
    type="integer",
    minimum=1,
    maximum=LONGEST_TIMEOUT_MS,
)
_NO_FHIR: Final = failed("The format is neither `json` nor `fhir`.", "unknown_format")


def _summarised(kind: type[Any], description: str) -> dict[str, Any]:
    described = answered(kind, description)
    fhir = {"type": "object", "description": "FHIR R4 Bundle of type collection"}
    described["content"][MEDIA_TYPE] = {"schema": fhir}
    return described


_CLASSIFY_RESPONSES: Final[Responses] = {
    **documentation.CLASSIFY_RESPONSES,
    200: _summarised(SlideAnswer, "At least one image was classified; a refused one has `error` in its place."),
    406: _NO_FHIR,
    422: answered(SlideAnswer, "Not one image could be classified; each `error` says why."),
}
_SUMMARY_RESPONSES: Final[Responses] = {
    200: _summarised(SummaryAnswer, "The differential and the advice."),
    400: failed(
        "The body is not JSON of the expected form, and the first breaches are listed; or a header is wrong.",
        "invalid_results",
    ),
    406: _NO_FHIR,
    408: documentation.CLASSIFY_RESPONSES[408],
    409: failed("The results were made with another model than the one that is served.", "other_model"),
    413: failed("The body has too many bytes.", "request_too_large"),
    415: failed(f"The Content-Type is not {JSON}, or the body is compressed.", "unsupported_media_type"),
    429: documentation.CLASSIFY_RESPONSES[429],
    503: documentation.CLASSIFY_RESPONSES[503],
    504: failed("There was no answer within the milliseconds of the request's header.", "deadline_exceeded"),
}
_RESULTS: Final = {
    "required": True,
    "content": {
        JSON: {
            "schema": documentation.reference(GivenSlide),
            "example": {
                "model": {"sha256": "9f86d081884c7d65…", "decision_policy": "1"},
                "hairy_cell": {"threshold": 0.2},
                "results": [
                    {
                        "image_sha256": "60303ae22b998861bce3b28f33eec1be758a213c86c93c076dbe9f558c11c752",
                        "class_id": "lymphocyte",
                        "hairy_cell": {"flag": False},
                        "novelty": {"unfamiliar": False},
                        "review": [],
                    }
                ],
            },
        }
    },
}


@router.post(
    "/classify",
    summary="Classify the cells of one slide and summarise them",
    responses=_CLASSIFY_RESPONSES,
    openapi_extra={"parameters": [*documentation.REQUEST_HEADERS, _FORMATS], "requestBody": documentation.IMAGES},
)
async def classify_slide(request: Request) -> Response:
    """Classify images as `POST /classify` does; they are taken for the cells of one slide.

    `summary` holds the differential per 100 white cells, the hairy-cell flags with their exact interval and their test
    against the rate of false flags, and one of five pieces of advice with its reason. A slide with more images than
    one request may carry is classified in several requests to `/classify` and summarised by `/slides/summary`.
    """
    service, wants_fhir = service_of(request), _wants_fhir(request)
    done, status = await classify_request(request)
    cells = [_cell(result) for result in done.results if isinstance(result, ClassifiedImage)]
    summary = await _summarise(service, done.description, lambda: cells, len(done.results) - len(cells))
    if wants_fhir:
        return await _fhir(service, summary, done.model, status)
    request_id = request.state.request_id
    answer = SlideAnswer(
        request_id=request_id, model=done.model, hairy_cell=done.hairy_rule, results=done.results, summary=summary
    )
    return respond(answer, status)


@router.post(
    "/summary",
    summary="Summarise results of one slide that a client already has",
    responses=_SUMMARY_RESPONSES,
    openapi_extra={"parameters": [_FORMATS, _TIMEOUT], "requestBody": _RESULTS},
)
async def summarise_slide(request: Request) -> Response:
    """Summarise answers of `POST /classify`: send one as it is, or the `results` of several in one list.

    Unknown fields, such as the probabilities, may be left in or out. With `model`, results of another model are
    refused; equal `image_sha256` count once. With `report`, FHIR has its references, and is `final` if it is signed:
    then the classes are those that a person has confirmed.
    """
    service, options, wants_fhir = service_of(request), read_options(request), _wants_fhir(request)
    service.check_accepting()
    async with due(options):
        given = await _given(request, service)
        request.state.images = len(given.results)
        # Not before the body is there: a reload may have come in between.
        stamp, description = service.stamp, service.bundle.description
        if given.model is not None:
            _require_same_model(given.model, stamp)
        threshold = description.policy.hairy_threshold
        work = _summarise(service, description, lambda: given.cells(threshold), given.refused)
        summary = await while_connected(request, work)
    if wants_fhir:
        return await _fhir(service, summary, stamp, HTTPStatus.OK, given.report)
    return respond(SummaryAnswer(request.state.request_id, stamp, summary))


def _cell(result: ClassifiedImage) -> SlideCell:
    unfamiliar = None if result.novelty is None else result.novelty.unfamiliar
    return SlideCell(
        BY_ID[result.class_id], result.hairy_cell.flag, bool(result.review), result.image_sha256, unfamiliar
    )


async def _given(request: Request, service: Service) -> GivenSlide:
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != JSON:
        raise RequestError(
            415, "unsupported_media_type", f"Content-Type is {media_type[:100] or 'missing'!r}, expected {JSON}."
        )
    advice = "leave the probabilities out"
    body = await read_body(request, service.settings, RequestOptions(), most_bytes=MOST_BYTES, advice=advice)
    try:
        return await while_connected(request, service.aside.call(lambda: read_slide(body)))
    except ResultsError as error:
        raise RequestError(400, "invalid_results", f"The results cannot be summarised: {error}") from error


async def _summarise(
    service: Service, description: BundleDescription, cells: Callable[[], list[SlideCell]], refused: int
) -> SlideSummary:
    rule, rate = service.settings.slide_rule, service.settings.site_fpr
    try:
        # Milliseconds for a slide, a second for the largest that is accepted: not on the event loop.
        return await service.aside.call(lambda: summarise(cells(), description, rule, refused=refused, site_rate=rate))
    except OtherBundleError as error:
        raise RequestError(409, "other_model", f"{error}.") from error


def _require_same_model(given: GivenModel, served: ModelStamp) -> None:
    if given.sha256 != served.sha256 or given.decision_policy not in (None, served.decision_policy):
        raise RequestError(
            409,
            "other_model",
            f"The results were made with the model {given.sha256[:12]} (policy {given.decision_policy}), this service "
            f"runs {served.sha256[:12]} (policy {served.decision_policy}); classify the images again.",
        )


def _wants_fhir(request: Request) -> bool:
    wanted = request.query_params.get(_FORMAT)
    if wanted not in (None, "json", "fhir"):
        raise RequestError(406, "unknown_format", f"The format is {wanted[:40]!r}, expected 'json' or 'fhir'.")
    return wanted == "fhir" or (wanted is None and MEDIA_TYPE in request.headers.get("accept", ""))


async def _fhir(
    service: Service, summary: SlideSummary, model: ModelStamp, status: HTTPStatus, report: GivenReport | None = None
) -> Response:
    # The library's import takes half a second: not on the event loop.
    document = await service.aside.call(lambda: fhir_bundle(summary, model, report))
    return Response(document, status, media_type=MEDIA_TYPE)
