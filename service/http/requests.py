"""What every route does with a request beside reading its body: read its options, watch its client, answer."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Coroutine, Mapping
from typing import Any, Final, TypeVar

from msgspec import Struct
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Scope

from service.batching.admission import RequestOptions
from service.batching.errors import DeadlineExceededError
from service.batching.queue import Priority
from service.errors import RequestError
from service.serving.answers import encode
from service.serving.service import Service

PRIORITY: Final = "X-Priority"
TIMEOUT: Final = "X-Request-Timeout-Ms"
LONGEST_TIMEOUT_MS: Final = 3_600_000
LINES: Final = "application/x-ndjson"
_UNWATCHED_S: Final = 0.05

Result = TypeVar("Result")


def headers_of(scope: Scope) -> dict[str, str]:
    """The headers of a request by name in small letters; the first of a name is the one that counts."""
    # Once a request: Starlette's own Headers search the list again for each name, 3 microseconds each.
    state = scope.setdefault("state", {})
    if "headers" not in state:
        pairs = reversed(scope["headers"])
        state["headers"] = {name.decode("latin-1"): value.decode("latin-1") for name, value in pairs}
    headers: dict[str, str] = state["headers"]
    return headers


def read_options(request: Request) -> RequestOptions:
    """What ``X-Priority`` and ``X-Request-Timeout-Ms`` ask for; the time begins now."""
    priority, timeout_ms = parse_options(headers_of(request.scope))
    due = None if timeout_ms is None else asyncio.get_running_loop().time() + timeout_ms / 1000
    return RequestOptions(priority, due)


def parse_options(headers: Mapping[str, str]) -> tuple[Priority | None, int | None]:
    """Priority and milliseconds that headers (see :func:`headers_of`) ask for, ``None`` for each that is not there."""
    problems = []
    priority, timeout_ms = None, None
    if (given := headers.get(PRIORITY.lower())) is not None:
        try:
            priority = Priority(given.strip().lower())
        except ValueError:
            problems.append(f"{PRIORITY} is {given[:50]!r}, expected 'routine' or 'bulk'")
    if (given := headers.get(TIMEOUT.lower())) is not None:
        # Not int() of anything, which takes "1_000" and digits of other scripts.
        digits = given.strip()
        if digits.isascii() and digits.isdigit() and len(digits) < 9 and 1 <= int(digits) <= LONGEST_TIMEOUT_MS:
            timeout_ms = int(digits)
        else:
            problems.append(f"{TIMEOUT} is {given[:50]!r}, expected whole milliseconds from 1 to {LONGEST_TIMEOUT_MS}")
    if problems:
        raise RequestError(400, "invalid_header", "; ".join(problems) + ". Correct or leave out the header.")
    return priority, timeout_ms


@contextlib.asynccontextmanager
async def due(options: RequestOptions) -> AsyncIterator[None]:
    """Bound what is done by the time that the request has; :class:`DeadlineExceededError` when it is over."""
    try:
        async with asyncio.timeout_at(options.due) as limit:
            yield
    except TimeoutError:
        if not limit.expired():
            raise
        raise DeadlineExceededError from None


def service_of(request: Request) -> Service:
    service: Service = request.app.state.service
    return service


def respond(answer: Struct, status: int = 200) -> Response:
    return Response(encode(answer) + b"\n", status, media_type="application/json")


async def while_connected(request: Request, work: Coroutine[Any, Any, Result]) -> Result:
    """The result of ``work``, or :class:`ClientDisconnect`: it is cancelled if the client goes away.

    The client is not watched in the first :data:`_UNWATCHED_S`, in which a fast device has answered.

    Raises:
        ClientDisconnect: it did.
    """
    caller = asyncio.current_task()
    assert caller is not None  # noqa: S101 - a route runs in a task
    gone = False
    watching: asyncio.Task[None] | None = None

    async def watch() -> None:
        nonlocal gone
        while (await request.receive())["type"] != "http.disconnect":
            pass
        gone = True
        caller.cancel()

    def begin() -> None:
        nonlocal watching
        watching = asyncio.create_task(watch())

    timer = asyncio.get_running_loop().call_later(_UNWATCHED_S, begin)
    try:
        return await work
    except asyncio.CancelledError:
        if not gone or caller.uncancel():
            raise
        raise ClientDisconnect from None
    finally:
        timer.cancel()
        if watching is not None:
            watching.cancel()
