"""When a request is sent again, and after how long."""

import random
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

import httpx

from .errors import UnavailableError

Failure = httpx.Response | httpx.TransportError
BUSY: Final = frozenset({429, 502, 503, 504})
"""Statuses after which the same request may well be answered: full, restarting, or too slow just now."""


@dataclass(frozen=True, slots=True)
class Retries:
    """How stubborn a client is. Classifying changes nothing in the service, so that any request may be repeated.

    Attributes:
        attempts: how often a request is sent at most; 1: never again.
        total_s: no attempt starts later than this after the first.
        first_delay_s: mean delay before the second attempt, doubled for each further one.
        longest_delay_s: of a single delay, unless ``Retry-After`` asks for more.
    """

    attempts: int = 8
    total_s: float = 120.0
    first_delay_s: float = 0.25
    longest_delay_s: float = 15.0


@dataclass(slots=True)
class Attempts:
    """One request's attempts so far."""

    retries: Retries
    request_id: str
    made: int = 0
    started: float = field(default_factory=time.monotonic)

    def delay_after(self, failure: Failure) -> float:
        """Seconds to wait before the next attempt.

        The delay grows twofold and is jittered by half, so that clients that were refused together do not return
        together; ``Retry-After`` is a lower bound.

        Raises:
            UnavailableError: there is no next attempt.
        """
        self.made += 1
        backoff = min(self.retries.first_delay_s * float(2 ** (self.made - 1)), self.retries.longest_delay_s)
        wanted = _retry_after_s(failure)
        delay = (wanted or 0) + backoff * random.uniform(0.5, 1.5)  # noqa: S311
        elapsed = time.monotonic() - self.started
        if self.made >= self.retries.attempts or elapsed + delay > self.retries.total_s:
            raise self.unavailable(failure)
        return delay

    def unavailable(self, failure: Failure) -> UnavailableError:
        """The error that ends the attempts."""
        elapsed = time.monotonic() - self.started
        wanted = _retry_after_s(failure)
        tried = f"{self.made} attempt{'s' if self.made > 1 else ''} in {elapsed:.1f} s"
        if isinstance(failure, httpx.Response):
            last = f"answered {failure.status_code}" + (f", to retry after {wanted:g} s" if wanted else "")
            status: int | None = failure.status_code
        else:
            last, status = f"failed: {type(failure).__name__}: {failure}".rstrip(": "), None
        error = UnavailableError(
            f"The service did not take the request: {tried}, the last {last}",
            self.request_id,
            attempts=self.made,
            status=status,
            retry_after_s=wanted,
        )
        if isinstance(failure, Exception):
            error.__cause__ = failure
        return error


def _retry_after_s(failure: Failure) -> float | None:
    """``Retry-After`` in either of its forms (RFC 9110, 10.2.3)."""
    if not isinstance(failure, httpx.Response):
        return None
    value = failure.headers.get("retry-after", "").strip()
    if not value:
        return None
    if value.isdigit():
        return float(value)
    try:
        moment = parsedate_to_datetime(value)
    except ValueError:
        return None
    return max(0.0, (moment.replace(tzinfo=moment.tzinfo or UTC) - datetime.now(UTC)).total_seconds())
