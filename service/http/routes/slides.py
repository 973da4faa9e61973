"""``/slides``: the cells of one slide in, their differential and advice out. Nothing is stored."""

import asyncio
import functools
from http import HTTPStatus
from typing import Any, Final

from fastapi import APIRouter, Request
from fastapi.responses import Response
from starlette.requests import ClientDisconnect

from contract.classes import BY_NAME
from contract.description import BundleDescription
from contract.differential import SlideCell
from contract.slide import OtherBundleError, SlideSummary, summarise
from service.batching.errors import DeadlineExceededError
from service.http.request_options import LONGEST_TIMEOUT_MS, TIMEOUT, Terms
from service.http.routes.classify import REQUEST, RESPONSES, classify_body, status_of, while_connected
from service.http.schemas import ErrorAnswer, ModelStamp
from service.http.slide_schemas import SlideAnswer, SummaryAnswer, given_slide_schema
from service.http.uploads import UploadError, read_body
from service.serving.answers import ClassifiedImage
from service.serving.service import Service
from service.settings import Settings
from service.slides.fhir import MEDIA_TYPE, FhirNotInstalledError, fhir_bundle
from service.slides.results import MOST_BYTES, GivenModel, GivenSlide, ResultsError, read_slide

router = APIRouter(prefix="/slides", tags=["slides"])

_JSON: Final = "application/json"
_FORMAT: Final = "format"


_FORMATS: Final = {
    "name": _FORMAT,
    "in": "query",
    "required": False,
    "description": f"`fhir` gives the summary as FHIR R4, and so does `Accept: {MEDIA_TYPE}`: a collection of a "
    "preliminary DiagnosticReport, its Observations with LOINC codes and the Device. It names no patient and no "
    "specimen. Needs the extra `fhir`.",
    "schema": {"type": "string", "enum": ["json", "fhir"], "default": "json"},
}
_FHIR: Final = {"schema": {"type": "object", "description": "FHIR R4 Bundle of type collection"}}
_TIMEOUT: Final = {
    "name": TIMEOUT,
    "in": "header",
    "required": False,
    "description": "Milliseconds from the request's arrival after which nobody waits for the answer: 504.",
    "schema": {"type": "integer", "minimum": 1, "maximum": LONGEST_TIMEOUT_MS},
}
_MODEL_CHANGED: Final = "The results were made with another model than the one that is served."
_NO_FHIR: Final = "The format is neither `json` nor `fhir`, or FHIR output is not installed."


def _error(description: str) -> dict[str, Any]:
    return {"model": ErrorAnswer, "description": description}


def _answered(model: type[Any], description: str) -> dict[str, Any]:
    return {"model": model, "description": description, "content": {MEDIA_TYPE: _FHIR}}


@router.post(
    "/classify",
    summary="Classify the cells of one slide and summarise them",
    responses={
        **RESPONSES,
        200: _answered(SlideAnswer, "At least one image was classified; a refused one has `error` in its place."),
        406: _error(_NO_FHIR),
        422: {"model": SlideAnswer, "description": "Not one image could be classified; each `error` says why."},
    },
    openapi_extra={**REQUEST, "parameters": [*REQUEST["parameters"], _FORMATS]},
)
async def classify_slide(request: Request) -> Response:
    """Classify images as `POST /classify` does; they are taken for the cells of one slide.

    `summary` holds the differential per 100 white cells, the hairy-cell flags with their exact interval and their test
    against the rate of false flags, and one of four pieces of advice with its reason. A slide with more images than
    one request may carry is classified in several requests to `/classify` and summarised by `/slides/summary`.
    """
    wants_fhir = _wants_fhir(request)
    done = await classify_body(request)
    hal: Service = request.app.state.hal
    cells = [
        SlideCell(BY_NAME[result.predicted_class], result.hairy_cell.flag, bool(result.review), result.image_sha256)
        for result in done.results
        if isinstance(result, ClassifiedImage)
    ]
    summary = await _summarise(cells, len(done.results) - len(cells), done.description, hal.settings)
    if wants_fhir:
        return _fhir(summary, done.model, status_of(done))
    answer = done.writer.write(request.state.request_id, done.results)
    body = answer.removesuffix(b"}") + b',"summary":' + summary.model_dump_json().encode() + b"}"
    return Response(body, status_of(done), media_type=_JSON)


@router.post(
    "/summary",
    summary="Summarise results of one slide that a client already has",
    responses={
        200: _answered(SummaryAnswer, "The differential and the advice."),
        400: _error(
            "The body is not JSON of the expected form, and the first breaches are listed; or a header is wrong."
        ),
        406: _error(_NO_FHIR),
        408: _error("The body did not arrive in time."),
        409: _error(_MODEL_CHANGED),
        413: _error("The body has too many bytes."),
        415: _error(f"The Content-Type is not {_JSON}."),
        503: _error("The model is not ready yet, or the service is stopping."),
        504: _error("There was no answer within the milliseconds of the request's header."),
    },
    openapi_extra={
        "parameters": [_FORMATS, _TIMEOUT],
        "requestBody": {
            "required": True,
            "content": {
                _JSON: {
                    "schema": given_slide_schema(),
                    "example": {
                        "model": {"sha256": "9f86d081884c7d65…", "decision_policy": "1"},
                        "results": [
                            {
                                "image_sha256": "60303ae22b998861bce3b28f33eec1be758a213c86c93c076dbe9f558c11c752",
                                "predicted_class": "Lymphocyte",
                                "hairy_cell": {"flag": False, "threshold": 0.2},
                                "review": [],
                            }
                        ],
                    },
                }
            },
        },
    },
)
async def summarise_slide(request: Request) -> Response:
    """Summarise answers of `POST /classify`: send one as it is, or the `results` of several in one list.

    Unknown fields, such as the probabilities, may be left in or out. With `model`, results of another model are
    refused; equal `image_sha256` count once.
    """
    terms = Terms.of_request(request)
    due = None if terms.timeout_s is None else asyncio.get_running_loop().time() + terms.timeout_s
    wants_fhir = _wants_fhir(request)
    hal: Service = request.app.state.hal
    counts = hal.batcher.counts
    try:
        async with asyncio.timeout_at(due) as limit:
            given = await _given(request, hal)
            request.state.images = len(given.results)
            # Not before the body is there: a reload may have come in between.
            model = hal.model
            if given.model is not None:
                _require_same_model(given.model, model.stamp)
            summary = await while_connected(request, _summary_of(given, model.bundle.description, hal.settings))
    except TimeoutError:
        if not limit.expired():
            raise
        raise DeadlineExceededError(None) from None
    except ClientDisconnect:
        counts.disconnected += 1
        raise
    if wants_fhir:
        return _fhir(summary, model.stamp, HTTPStatus.OK)
    answer = SummaryAnswer(request_id=request.state.request_id, model=model.stamp, summary=summary)
    return Response(answer.model_dump_json(), media_type=_JSON)


async def _given(request: Request, hal: Service) -> GivenSlide:
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != _JSON:
        raise UploadError(
            415, "unsupported_media_type", f"Content-Type is {media_type[:100] or 'missing'!r}, expected {_JSON}."
        )
    declared = request.headers.get("content-length", "0")
    body = await read_body(request, hal.settings, declared, most_bytes=MOST_BYTES, advice="leave the probabilities out")
    try:
        return await while_connected(request, asyncio.to_thread(read_slide, body))
    except ResultsError as error:
        raise UploadError(400, "invalid_results", f"The results cannot be summarised: {error}") from error


async def _summary_of(given: GivenSlide, description: BundleDescription, settings: Settings) -> SlideSummary:
    try:
        cells = await asyncio.to_thread(given.cells, description.policy.hairy_threshold)
        return await _summarise(cells, given.refused, description, settings)
    except OtherBundleError as error:
        raise _other_model(f"{error}.") from error


async def _summarise(
    cells: list[SlideCell], refused: int, description: BundleDescription, settings: Settings
) -> SlideSummary:
    # Milliseconds for a slide, a second for the largest that is accepted: not on the event loop.
    work = functools.partial(summarise, cells, description, settings.slide_rule, refused=refused)
    return await asyncio.to_thread(work, site_rate=settings.site_fpr)


def _require_same_model(given: GivenModel, served: ModelStamp) -> None:
    if given.sha256 != served.sha256 or given.decision_policy not in (None, served.decision_policy):
        raise _other_model(
            f"The results were made with the model {given.sha256[:12]} (policy {given.decision_policy}), this service "
            f"runs {served.sha256[:12]} (policy {served.decision_policy}); classify the images again."
        )


def _other_model(message: str) -> UploadError:
    return UploadError(409, "other_model", message)


def _wants_fhir(request: Request) -> bool:
    wanted = request.query_params.get(_FORMAT)
    if wanted not in (None, "json", "fhir"):
        raise UploadError(406, "unknown_format", f"The format is {wanted[:40]!r}, expected 'json' or 'fhir'.")
    return wanted == "fhir" or (wanted is None and MEDIA_TYPE in request.headers.get("accept", ""))


def _fhir(summary: SlideSummary, model: ModelStamp, status: HTTPStatus) -> Response:
    try:
        document = fhir_bundle(summary, model)
    except FhirNotInstalledError as error:
        raise UploadError(406, "fhir_not_installed", str(error)) from error
    return Response(document, status, media_type=MEDIA_TYPE)
