"""What is sent, where to and how often."""

from dataclasses import dataclass
from typing import Final

MOST_IN_FLIGHT: Final = 4096
"""Requests at once beyond which an open loop's are not sent any more but counted as such."""


@dataclass(frozen=True, slots=True)
class Target:
    """A service; ``timeout_s`` is the patience with one request."""

    url: str
    api_key: str | None = None
    timeout_s: float = 30.0

    @property
    def headers(self) -> dict[str, str]:
        """Headers of every request."""
        return {"Authorization": f"Bearer {self.api_key}"} if self.api_key else {}


@dataclass(frozen=True, slots=True)
class Load:
    """One load.

    Exactly one of the first two is set.

    Attributes:
        rate: open loop: requests a second, due at times that are drawn beforehand whatever the service does.
        concurrency: closed loop: clients that each send their next request when they have their answer.
        duration_s: seconds that count.
        warmup_s: seconds of the same load before them, that do not.
        even: due at equal gaps instead of exponential ones (Poisson arrivals).
        seed: of the gaps.
    """

    rate: float | None = None
    concurrency: int | None = None
    duration_s: float = 10.0
    warmup_s: float = 2.0
    even: bool = False
    seed: int = 1

    def describe(self) -> str:
        """In words."""
        if self.rate is not None:
            return f"open loop, {self.rate:.4g} requests/s, {'equal gaps' if self.even else 'Poisson arrivals'}"
        return f"closed loop, {self.concurrency} clients"
