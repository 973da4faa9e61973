"""``/model``: what is served."""

from fastapi import APIRouter, Request

from service.http.schemas import ModelAnswer
from service.serving.service import Service

router = APIRouter(tags=["model"])


@router.get("/model", summary="What is served and what is known about it")
async def model(request: Request) -> ModelAnswer:
    """Name, version, files, evidence of each class, calibration, policy, metrics, limits and attributions."""
    hal: Service = request.app.state.hal
    return ModelAnswer.of(hal.bundle, hal.file, hal.device, hal.tuning)
