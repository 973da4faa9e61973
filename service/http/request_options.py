"""On what terms a request wants to be served: ``X-Priority`` and ``X-Request-Timeout-Ms``."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, Self

from starlette.requests import HTTPConnection

from service.batching.queue import Priority
from service.errors import ServiceError

PRIORITY: Final = "X-Priority"
TIMEOUT: Final = "X-Request-Timeout-Ms"
LONGEST_TIMEOUT_MS: Final = 3_600_000
_NAMES: Final = frozenset(name.lower().encode() for name in (PRIORITY, TIMEOUT))


class TermsError(ServiceError):
    """A header says something that cannot be meant; every such header is listed."""

    status, code = 400, "invalid_header"


@dataclass(frozen=True, slots=True)
class Terms:
    """What a client asked for.

    Attributes:
        priority: ``None`` if the client did not say.
        timeout_s: seconds from the arrival of the request's head after which its answer is of no use; ``None`` if the
            client did not say. It bounds the request as a whole, HAL_DEADLINE_MS still bounds each image: a header can
            only make the service give up earlier.
    """

    priority: Priority | None = None
    timeout_s: float | None = None

    @classmethod
    def of_request(cls, request: HTTPConnection) -> Self:
        """Read the headers of a request, most of which have none of these.

        Raises:
            TermsError: one or both of them are not understood.
        """
        named: Iterable[tuple[bytes, bytes]] = request.scope["headers"]
        return cls.of(request.headers) if any(name in _NAMES for name, _ in named) else cls()

    @classmethod
    def of(cls, headers: Mapping[str, str]) -> Self:
        """Read the headers of a request.

        Raises:
            TermsError: one or both of them are not understood.
        """
        problems = []
        priority, timeout_s = None, None
        if (given := headers.get(PRIORITY)) is not None:
            try:
                priority = Priority(given.strip().lower())
            except ValueError:
                problems.append(f"{PRIORITY} is {given[:50]!r}, expected 'routine' or 'bulk'")
        if (given := headers.get(TIMEOUT)) is not None:
            # Not int(), which takes "1_000" and digits of other scripts.
            digits = given.strip()
            if digits.isascii() and digits.isdigit() and 1 <= int(digits[:9]) <= LONGEST_TIMEOUT_MS and len(digits) < 9:
                timeout_s = int(digits) / 1000
            else:
                problems.append(
                    f"{TIMEOUT} is {given[:50]!r}, expected whole milliseconds from 1 to {LONGEST_TIMEOUT_MS}"
                )
        if problems:
            raise TermsError("; ".join(problems) + ". Correct or leave out the header.")
        return cls(priority, timeout_s)
