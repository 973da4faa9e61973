"""``/admin``: for the people who run the service."""

from typing import Final

from fastapi import APIRouter, Request, Response

from service.http.documentation import Responses, answered, failed
from service.http.requests import respond, service_of
from service.serving.answers import ReloadAnswer

router = APIRouter(prefix="/admin", tags=["admin"])

_RESPONSES: Final[Responses] = {
    200: answered(ReloadAnswer, "The bundle serves."),
    409: failed(
        "The bundle was refused and the old one stays, or another reload is under way.",
        "bundle_refused",
        "The bundle is refused and the old one stays: ...",
    ),
    503: failed("The service is starting or stopping.", "draining", "The service is stopping ..."),
}


@router.post("/reload", summary="Let the bundle that is in HAL_BUNDLE now take over", responses=_RESPONSES)
async def reload(request: Request) -> Response:
    """Read HAL_BUNDLE again, following links; verify, open and warm up what is there while the old bundle serves.

    The answer comes after the switch. Requests that were accepted before it are finished by the old bundle, and each
    answer names the one bundle that made it. A bundle that cannot be served is refused with everything that is wrong
    with it. No path can be given: what is served is for the machine's owner to say. SIGHUP does the same.
    """
    done = await service_of(request).reload()
    return respond(ReloadAnswer(done.before, done.now))
