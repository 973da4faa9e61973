"""``/health``: for the platform that runs the service."""

from typing import Any, Final

from fastapi import APIRouter, Request

from service.http.schemas import ErrorAnswer, LiveAnswer, ReadyAnswer, StartupAnswer
from service.serving.service import Service
from service.serving.states import NotReadyError, State

router = APIRouter(prefix="/health", tags=["health"])


def _not(description: str, code: State) -> dict[int | str, dict[str, Any]]:
    example = {"request_id": "5f2b8c", "error": {"code": code, "message": str(NotReadyError(code))}}
    content = {"application/json": {"example": example}}
    return {503: {"model": ErrorAnswer, "description": f"{description}; `error.code` says which.", "content": content}}


_NOT_STARTED: Final = _not("Starting or failed", State.STARTING)
_NOT_LIVE: Final = _not("Stalled or failed", State.STALLED)
_NOT_READY: Final = _not("Starting, draining, stalled or failed", State.DRAINING)


@router.get("/startup", summary="Whether the start is over", responses=_NOT_STARTED)
async def startup(request: Request) -> StartupAnswer:
    """200 once the model is loaded, verified and warm, and ever after. Give it time: TensorRT takes minutes."""
    state = _hal(request).state
    if state in (State.STARTING, State.FAILED):
        raise NotReadyError(state)
    return StartupAnswer()


@router.get("/live", summary="Whether a restart would help", responses=_NOT_LIVE)
async def live(request: Request) -> LiveAnswer:
    """200 as long as the process answers and makes progress; restart it if it does not.

    503 when a batch has been on the device for more than HAL_STALL_S, or nothing feeds the device any more.
    """
    hal = _hal(request)
    if hal.stalled or hal.state is State.FAILED:
        raise NotReadyError(State.STALLED if hal.stalled else State.FAILED)
    return LiveAnswer()


@router.get(
    "/ready", summary="Whether images should be sent", responses=_NOT_READY, response_model_exclude_none=True
)  # fmt: skip
async def ready(request: Request) -> ReadyAnswer:
    """200 once the model is loaded, verified and warm, until the service is told to stop; also during a reload.

    A full queue is not a reason to send elsewhere: that is what 429 and Retry-After are for. An audit trail whose
    database is away is told in `audit`; one that takes no more rows is 503, `audit_full`.
    """
    hal = _hal(request)
    hal.require_ready()
    return ReadyAnswer(audit=hal.observer.audit_goes_to)


def _hal(request: Request) -> Service:
    hal: Service = request.app.state.hal
    return hal
