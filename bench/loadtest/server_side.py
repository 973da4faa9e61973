"""What the service says about itself: its model, and the batches that it formed, from its metrics."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

from bench.loadtest.errors import LoadTestError
from bench.loadtest.generator import code_of, session_for
from bench.loadtest.plan import Target
from bench.loadtest.requests import Images, form

BATCHES: Final = "hal_batch_images"
_PROBED_AT_ONCE: Final = 16


@dataclass(frozen=True, slots=True)
class Batches:
    """Batches that the device has run.

    Attributes:
        count: how many.
        images: in all of them.
        up_to: batches of at most so many images, cumulative, the last one for any size.
    """

    count: float
    images: float
    up_to: Mapping[float, float]

    def since(self, before: "Batches") -> "Batches":
        """Those of the time between two readings."""
        return Batches(
            self.count - before.count,
            self.images - before.images,
            {size: number - before.up_to.get(size, 0) for size, number in self.up_to.items()},
        )

    @property
    def mean(self) -> float | None:
        """Images in a batch."""
        return self.images / self.count if self.count else None

    def shares(self) -> dict[str, float]:
        """Share of the batches by size."""
        found, below, last = {}, 0.0, 0.0
        for size, number in sorted(self.up_to.items()):
            if number > below:
                found[_sizes(last, size)] = (number - below) / self.count
            below, last = number, size
        return found


def _sizes(above: float, up_to: float) -> str:
    if math.isinf(up_to):
        return f"> {above:g}"
    return f"{up_to:g}" if up_to == above + 1 else f"{above + 1:g} to {up_to:g}"


@dataclass(frozen=True, slots=True)
class Service:
    """What is known of the service before the test."""

    name: str
    version: str
    precision: str
    device: str
    images: Images
    refused: Mapping[str, int]
    """Images that it refuses, which are not sent, by code."""


async def inspect(target: Target, images: Images) -> Service:
    """Ask what is served, and send each image once: a test of refusals would be quick and worthless.

    Raises:
        LoadTestError: no service answers there, it refuses the key, or it refuses every image.
    """
    try:
        async with session_for(target) as session:
            async with session.get("/model") as answer:
                if answer.status != 200:
                    raise _not_usable(target, "GET /model", answer.status, await answer.read())
                model: dict[str, Any] = await answer.json()
            accepted, refused = await _probe(session, target, images)
    except (aiohttp.ClientError, TimeoutError, ValueError) as error:
        raise LoadTestError(
            f"no HAL service answers at {target.url} ({type(error).__name__}: {error}); start one with 'hal serve' or "
            "correct --url"
        ) from error
    if not accepted:
        codes = ", ".join(f"{code} ({count})" for code, count in refused.items())
        raise LoadTestError(f"the service refuses all of the {images.origin}: {codes}; give others with --images")
    return Service(
        name=str(model.get("name")),
        version=str(model.get("version")),
        precision=str(model.get("precision")),
        device=str(model.get("device")),
        images=Images(tuple(accepted), images.origin),
        refused=refused,
    )


async def _probe(session: aiohttp.ClientSession, target: Target, images: Images) -> tuple[list[bytes], dict[str, int]]:
    accepted: list[bytes] = []
    refused: dict[str, int] = {}
    for start in range(0, len(images.data), _PROBED_AT_ONCE):
        part = images.data[start : start + _PROBED_AT_ONCE]
        request = form(part)
        async with session.post(
            "/classify", data=request.body, headers={"Content-Type": request.content_type}
        ) as answer:
            if answer.status not in (200, 422):
                raise _not_usable(target, "POST /classify", answer.status, await answer.read())
            document = await answer.json()
        for data, result in zip(part, document["results"], strict=True):
            if "error" in result:
                refused[result["error"]["code"]] = refused.get(result["error"]["code"], 0) + 1
            else:
                accepted.append(data)
    return accepted, refused


def _not_usable(target: Target, request: str, status: int, body: bytes) -> LoadTestError:
    key = "; give a key with --api-key-file" if status in (401, 403) else ""
    return LoadTestError(f"{request} at {target.url} was answered {code_of(status, body)}{key}")


async def batches(target: Target) -> Batches | str:
    """The batches so far, or why they cannot be known."""
    try:
        async with session_for(target) as session, session.get("/metrics") as answer:
            if answer.status != 200:
                return f"GET /metrics was answered {answer.status}"
            return parse_batches(await answer.text())
    except (aiohttp.ClientError, TimeoutError) as error:
        return f"GET /metrics failed: {type(error).__name__}"


def parse_batches(text: str) -> Batches | str:
    """The batch histogram in Prometheus's text format, or why it is not there."""
    for family in text_string_to_metric_families(text):
        if family.name == BATCHES:
            values = {sample.name.removeprefix(BATCHES): sample.value for sample in family.samples}
            up_to = {float(s.labels["le"]): s.value for s in family.samples if s.name == f"{BATCHES}_bucket"}
            return Batches(values["_count"], values["_sum"], up_to)
    return f"the service's metrics have no {BATCHES}"
