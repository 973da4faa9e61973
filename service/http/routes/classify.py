"""``POST /classify``: images in, one answer for each out."""

from http import HTTPStatus

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from service.batching.errors import ModelFailedError
from service.http.requests import read_images, read_options, respond, service_of, while_connected
from service.serving.answers import ClassifiedImage, ClassifyAnswer, RefusedImage
from service.serving.service import Classified


class ClassifyEndpoint:
    """The endpoint, one answer for each image; :mod:`service.http.documentation` describes it.

    An instance is an ASGI application, which Starlette's router calls as it is.
    """

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] != "POST":
            raise HTTPException(HTTPStatus.METHOD_NOT_ALLOWED, headers={"Allow": "POST"})
        request = Request(scope, receive)
        done, status = await classify_request(request)
        answer = ClassifyAnswer(
            request_id=request.state.request_id, model=done.model, hairy_cell=done.hairy_rule, results=done.results
        )
        await respond(answer, status)(scope, receive, send)


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
    data, client_refs = zip(*images, strict=True)
    done = await while_connected(request, service.classify(data, options, client_refs=client_refs))
    if any(isinstance(result, ClassifiedImage) for result in done.results):
        return done, HTTPStatus.OK
    if any(isinstance(result, RefusedImage) and result.error.code == ModelFailedError.code for result in done.results):
        raise ModelFailedError
    return done, HTTPStatus.UNPROCESSABLE_ENTITY
