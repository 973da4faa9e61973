"""``/health``: for the platform that runs the service."""

from typing import Any, Final

from fastapi import APIRouter, Request

from service.lifecycle import Hal
from service.schemas import ErrorAnswer, LiveAnswer, ReadyAnswer

router = APIRouter(prefix="/health", tags=["health"])

_NOT_READY: Final[dict[int | str, dict[str, Any]]] = {
    503: {
        "model": ErrorAnswer,
        "description": "Starting, draining or failed; `error.code` says which.",
        "content": {
            "application/json": {
                "example": {
                    "request_id": "5f2b8c",
                    "error": {"code": "starting", "message": "The model is being loaded, verified and warmed up ..."},
                }
            }
        },
    }
}


@router.get("/live", summary="Whether the process answers")
async def live() -> LiveAnswer:
    """200 as long as the process answers; restart it if it does not."""
    return LiveAnswer()


@router.get("/ready", summary="Whether images can be sent", responses=_NOT_READY)
async def ready(request: Request) -> ReadyAnswer:
    """200 once the model is loaded, verified and warm, until the service is told to stop."""
    hal: Hal = request.app.state.hal
    _ = hal.batcher
    return ReadyAnswer()
