"""Requests to ``/classify``, and the form that every refusal has."""

import httpx


def form(*images: bytes, field: str = "file") -> list[tuple[str, tuple[str, bytes]]]:
    return [(field, (f"{place}.png", image)) for place, image in enumerate(images)]


def error_of(response: httpx.Response, status: int) -> dict[str, str]:
    assert response.status_code == status, response.text
    body = response.json()
    assert set(body) == {"request_id", "error"}
    assert body["request_id"] == response.headers["x-request-id"]
    assert set(body["error"]) == {"code", "message"}
    return dict(body["error"])
