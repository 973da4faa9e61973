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
        away_s: a service that cannot be connected to for this long is reported; one that restarts sooner is waited for.
        first_delay_s: mean delay before the second attempt, doubled for each further one.
        longest_delay_s: of a single delay, unless ``Retry-After`` asks for more.
    """

    attempts: int = 10
    total_s: float = 120.0
    away_s: float = 30.0
    first_delay_s: float = 0.25
    longest_delay_s: float = 15.0


@dataclass(slots=True)
class Attempts:
    """One request's attempts so far."""

    retries: Retries
    request_id: str
    made: int = 0
    started: float = field(default_factory=time.monotonic)
    away_since: float | None = None

    def delay_after(self, failure: Failure) -> float:
        """Seconds to wait before the next attempt.

        The delay grows twofold and is jittered by half, so that clients that were refused together do not return
        together; ``Retry-After`` is a lower bound.

        Raises:
            UnavailableError: there is no next attempt.
        """
        self.made += 1
        now = time.monotonic()
        if not isinstance(failure, httpx.ConnectError | httpx.ConnectTimeout):
            self.away_since = None
        elif self.away_since is None:
            self.away_since = now
        backoff = min(self.retries.first_delay_s * float(2 ** (self.made - 1)), self.retries.longest_delay_s)
        wanted = _retry_after_s(failure)
        delay = (wanted or 0) + backoff * random.uniform(0.5, 1.5)  # noqa: S311
        if self.away_since is not None:
            # Asked a last time when the time is over, so that it is reported neither earlier nor much later.
            left = self.away_since + self.retries.away_s - now
            delay = min(delay, left)
            if left <= 0:
                raise self.unavailable(failure)
        if self.made >= self.retries.attempts or now - self.started + delay > self.retries.total_s:
            raise self.unavailable(failure)
        return delay

    def unavailable(self, failure: Failure) -> UnavailableError:
        """The error that ends the attempts."""
        wanted = _retry_after_s(failure)
        if isinstance(failure, httpx.Response):
            last = f"answered {failure.status_code}" + (f", to retry after {wanted:g} s" if wanted else "")
        else:
            last = f"failed: {type(failure).__name__}: {failure}".rstrip(": ")
        tried = f"{self.made} attempt{'s' if self.made > 1 else ''} in {time.monotonic() - self.started:.1f} s"
        error = UnavailableError(
            f"The service did not take the request: {tried}, the last {last}",
            self.request_id,
            attempts=self.made,
            status=failure.status_code if isinstance(failure, httpx.Response) else None,
            retry_after_s=wanted,
        )
        error.__cause__ = failure if isinstance(failure, Exception) else None
        return error


def _retry_after_s(failure: Failure) -> float | None:
    """``Retry-After`` in either of its forms (RFC 9110, 10.2.3)."""
    value = failure.headers.get("retry-after", "").strip() if isinstance(failure, httpx.Response) else ""
    if not value or value.isdigit():
        return float(value) if value else None
    try:
        moment = parsedate_to_datetime(value)
    except ValueError:
        return None
    return max(0.0, (moment.replace(tzinfo=moment.tzinfo or UTC) - datetime.now(UTC)).total_seconds())
