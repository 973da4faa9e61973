"""``GET /metrics``: for Prometheus."""

import functools

from fastapi import APIRouter, Request
from fastapi.responses import Response

from service.http.requests import service_of

router = APIRouter()


@router.get("/metrics", include_in_schema=False)
async def metrics(request: Request) -> Response:
    """Counters, histograms and gauges; docs/reference.md lists them. Labels have few values, all known beforehand."""
    service = service_of(request)
    render = functools.partial(service.observer.metrics.render, request.headers.get("accept", ""))
    # The audit journal is a file: a slow disk must hold up no other request.
    reads_disk = service.observer.audit is not None and service.aside.started
    body, content_type = await service.aside.call(render) if reads_disk else render()
    return Response(body, headers={"Content-Type": content_type})
