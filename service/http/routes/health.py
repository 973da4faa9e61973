"""``/health``, for the platform that runs the service, and ``/model``, which says what is served."""

from typing import Final

from fastapi import APIRouter, Request, Response
from msgspec import UNSET

from service.http.documentation import Responses, answered, failed
from service.http.requests import respond, service_of
from service.serving.answers import LiveAnswer, ModelAnswer, ReadyAnswer, StartupAnswer
from service.serving.states import NotReadyError, State

router = APIRouter()


def _not(description: str, code: State) -> Responses:
    return {503: failed(f"{description}; `error.code` says which.", code, str(NotReadyError(code)))}


_STARTUP: Final[Responses] = {
    200: answered(StartupAnswer, "The start is over."),
    **_not("Starting or failed", State.STARTING),
}
_LIVE: Final[Responses] = {200: answered(LiveAnswer, "It makes progress."), **_not("Stalled or failed", State.STALLED)}
_READY: Final[Responses] = {
    200: answered(ReadyAnswer, "The model is verified and warm."),
    **_not("Starting, draining, stalled or failed", State.DRAINING),
}
_MODEL: Final[Responses] = {200: answered(ModelAnswer, "The public part of the bundle's description.")}


@router.get("/health/startup", tags=["health"], summary="Whether the start is over", responses=_STARTUP)
async def startup(request: Request) -> Response:
    """200 once the model is loaded, verified and warm, and ever after. Give it time: TensorRT takes minutes."""
    state = service_of(request).state
    if state in (State.STARTING, State.FAILED):
        raise NotReadyError(state)
    return respond(StartupAnswer())


@router.get("/health/live", tags=["health"], summary="Whether a restart would help", responses=_LIVE)
async def live(request: Request) -> Response:
    """200 as long as the process answers and makes progress; restart it if it does not.

    503 when a batch has been on the device for more than HAL_STALL_S, or nothing feeds the device any more.
    """
    service = service_of(request)
    if service.stalled or service.state is State.FAILED:
        raise NotReadyError(State.STALLED if service.stalled else State.FAILED)
    return respond(LiveAnswer())


@router.get("/health/ready", tags=["health"], summary="Whether images should be sent", responses=_READY)
async def ready(request: Request) -> Response:
    """200 once the model is loaded, verified and warm, until the service is told to stop; also during a reload.

    A full queue is not a reason to send elsewhere: that is what 429 and Retry-After are for. An audit trail whose
    database is away is told in `audit`; one that takes no more rows is 503, `audit_full`.
    """
    service = service_of(request)
    service.require_ready()
    return respond(ReadyAnswer(audit=service.observer.audit_goes_to or UNSET))


@router.get("/model", tags=["model"], summary="What is served and what is known about it", responses=_MODEL)
async def model(request: Request) -> Response:
    """Name, version, files, evidence of each class, calibration, policy, metrics, limits and attributions."""
    service = service_of(request)
    scale = service.settings.pixels_per_micrometre
    return respond(ModelAnswer.of(service.bundle, service.file, service.device, service.max_batch, scale))
