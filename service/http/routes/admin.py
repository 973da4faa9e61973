"""``/admin``: for the people who run the service."""

from typing import Any, Final

from fastapi import APIRouter, Request

from service.http.schemas import ErrorAnswer, ReloadAnswer
from service.serving.service import Service

router = APIRouter(prefix="/admin", tags=["admin"])

_RESPONSES: Final[dict[int | str, dict[str, Any]]] = {
    409: {
        "model": ErrorAnswer,
        "description": "The bundle was refused and the old one stays, or another reload is under way.",
        "content": {
            "application/json": {
                "example": {
                    "request_id": "5f2b8c",
                    "error": {"code": "bundle_refused", "message": "The bundle is refused and the old one stays: ..."},
                }
            }
        },
    },
    503: {
        "model": ErrorAnswer,
        "description": "The service is starting or stopping.",
        "content": {
            "application/json": {
                "example": {
                    "request_id": "5f2b8c",
                    "error": {"code": "draining", "message": "The service is stopping ..."},
                }
            }
        },
    },
}


@router.post("/reload", summary="Let the bundle that is in HAL_BUNDLE now take over", responses=_RESPONSES)
async def reload(request: Request) -> ReloadAnswer:
    """Read HAL_BUNDLE again, following links; verify, open and warm up what is there while the old bundle serves.

    The answer comes after the switch. Requests that were accepted before it are finished by the old bundle, and each
    answer names the one bundle that made it. A bundle that cannot be served is refused with everything that is wrong
    with it. No path can be given: what is served is for the machine's owner to say. SIGHUP does the same.
    """
    hal: Service = request.app.state.hal
    done = await hal.reload()
    return ReloadAnswer(before=done.before, now=done.now)
