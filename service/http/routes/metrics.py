"""``GET /metrics``: for Prometheus."""

from fastapi import APIRouter, Request
from fastapi.responses import Response

router = APIRouter()


@router.get("/metrics", include_in_schema=False)
async def metrics(request: Request) -> Response:
    """Counters, histograms and gauges; docs/reference.md lists them. Labels have few values, all known beforehand."""
    body, content_type = request.app.state.hal.observer.metrics.render(request.headers.get("accept", ""))
    return Response(body, headers={"Content-Type": content_type})
