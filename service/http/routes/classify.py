"""``POST /classify``: images in, one answer for each out."""

from http import HTTPStatus
from typing import Final

from fastapi import APIRouter, Request
from fastapi.responses import Response

from service.batching.errors import ModelFailedError
from service.http.documentation import CLASSIFY_RESPONSES, IMAGES, REQUEST_HEADERS
from service.http.requests import read_images, read_options, while_connected
from service.http.routes import PlainRoute, respond, service_of
from service.serving.answers import ClassifiedImage, ClassifyAnswer, RefusedImage
from service.serving.service import Classified

router = APIRouter(tags=["classify"], route_class=PlainRoute)

_REQUEST: Final = {"parameters": [*REQUEST_HEADERS], "requestBody": IMAGES}


@router.post(
    "/classify", summary="Classify images of single cells", responses=CLASSIFY_RESPONSES, openapi_extra=_REQUEST
)  # fmt: skip
async def classify(request: Request) -> Response:
    """Classify JPEG, PNG, BMP or TIFF images of 256x256 pixels, 8 bits, RGB.

    One refused image does not affect the others: its place in `results` has an `error`. The status is 200 if at least
    one image was classified and 422, with the same body, if none was. The type of an image is told from its bytes.
    """
    done, status = await classify_request(request)
    return respond(ClassifyAnswer(request_id=request.state.request_id, model=done.model, results=done.results), status)


async def classify_request(request: Request) -> tuple[Classified, HTTPStatus]:
    """Read the images of a request and classify them; 200 if at least one was classified, else 422.

    Raises:
        ModelFailedError: the network failed on every image that could be decoded.
        ServiceError: the request cannot be answered, see :mod:`service.http.requests` and
            :meth:`service.serving.service.Service.classify`.
        ClientDisconnect: the client went away.
    """
    service, options = service_of(request), read_options(request)
    service.check_admission(options)
    images = await read_images(request, service.settings, options)
    request.state.images = len(images)
    done = await while_connected(request, service.classify(images, options))
    if any(isinstance(result, ClassifiedImage) for result in done.results):
        return done, HTTPStatus.OK
    if any(isinstance(result, RefusedImage) and result.error.code == ModelFailedError.code for result in done.results):
        raise ModelFailedError
    return done, HTTPStatus.UNPROCESSABLE_ENTITY
