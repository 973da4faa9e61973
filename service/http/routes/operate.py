"""For the platform and the people who run the service: ``/health``, ``/model``, ``/metrics`` and ``/admin``."""

import functools
from typing import Final

from fastapi import APIRouter, Request, Response
from msgspec import UNSET

from service.http.documentation import Responses, answered, failed
from service.http.requests import respond, service_of
from service.serving.answers import LiveAnswer, ModelAnswer, ReadyAnswer, ReloadAnswer, StartupAnswer
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
_RELOAD: Final[Responses] = {
    200: answered(ReloadAnswer, "The bundle serves."),
    409: failed(
        "The bundle was refused and the old one stays, or another reload is under way.",
        "bundle_refused",
        "The bundle is refused and the old one stays: ...",
    ),
    503: failed("The service is starting or stopping.", "draining", "The service is stopping ..."),
}


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
    audit = service.observer.audit
    return respond(ReadyAnswer(audit=UNSET if audit is None else audit.goes_to))


@router.get("/model", tags=["model"], summary="What is served and what is known about it", responses=_MODEL)
async def model(request: Request) -> Response:
    """Name, version, files, evidence of each class, calibration, policy, metrics, limits and attributions."""
    service = service_of(request)
    scale = service.settings.pixels_per_micrometre
    return respond(ModelAnswer.of(service.bundle, service.file, service.device, service.max_batch, scale))


@router.get("/metrics", include_in_schema=False)
async def metrics(request: Request) -> Response:
    """Counters, histograms and gauges; docs/reference.md lists them. Labels have few values, all known beforehand."""
    service = service_of(request)
    render = functools.partial(service.observer.metrics.render, request.headers.get("accept", ""))
    # The audit journal is a file: a slow disk must hold up no other request.
    reads_disk = service.observer.audit is not None and service.aside.started
    body, content_type = await service.aside.call(render) if reads_disk else render()
    return Response(body, headers={"Content-Type": content_type})


@router.post(
    "/admin/reload", tags=["admin"], summary="Let the bundle that is in HAL_BUNDLE now take over", responses=_RELOAD
)
async def reload(request: Request) -> Response:
    """Read HAL_BUNDLE again, following links; verify, open and warm up what is there while the old bundle serves.

    The answer comes after the switch. Requests that were accepted before it are finished by the old bundle, and each
    answer names the one bundle that made it. A bundle that cannot be served is refused with everything that is wrong
    with it. No path can be given: what is served is for the machine's owner to say. SIGHUP does the same.
    """
    return respond(await service_of(request).reload())
