"""When a request is sent again."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import httpx
import pytest

from client import Retries, UnavailableError
from client.retry import Attempts


def busy(status: int = 429, **headers: str) -> httpx.Response:
    return httpx.Response(status, headers={name.replace("_", "-"): value for name, value in headers.items()})


def test_delays_double_and_are_jittered_by_half() -> None:
    for made in range(5):
        delays = {
            Attempts(Retries(first_delay_s=1, longest_delay_s=99, total_s=1e9), "r", made=made).delay_after(busy())
            for _ in range(200)
        }
        assert 0.5 * 2**made <= min(delays) < 0.7 * 2**made
        assert 1.3 * 2**made < max(delays) <= 1.5 * 2**made


def test_a_delay_has_a_bound() -> None:
    attempts = Attempts(Retries(attempts=99, longest_delay_s=3, total_s=1e9), "r", made=40)
    assert attempts.delay_after(busy()) <= 4.5


def test_retry_after_in_seconds_is_a_lower_bound() -> None:
    assert 7 < Attempts(Retries(), "r").delay_after(busy(retry_after="7")) < 8


def test_retry_after_as_a_date_is_a_lower_bound() -> None:
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=30), usegmt=True)
    assert 28 < Attempts(Retries(), "r").delay_after(busy(503, retry_after=date)) < 31


@pytest.mark.parametrize("value", ["soon", "-3", ""])
def test_a_retry_after_that_makes_no_sense_is_ignored(value: str) -> None:
    assert Attempts(Retries(), "r").delay_after(busy(retry_after=value)) < 1


def test_a_retry_after_beyond_the_patience_ends_at_once_and_is_told() -> None:
    with pytest.raises(UnavailableError, match="429, to retry after 60 s") as caught:
        Attempts(Retries(total_s=10), "abc").delay_after(busy(retry_after="60"))
    error = caught.value
    assert (error.attempts, error.status, error.retry_after_s, error.request_id) == (1, 429, 60, "abc")


def test_a_service_that_is_away_is_asked_until_the_stated_time_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("client.retry.time.monotonic", lambda: now)
    attempts = Attempts(Retries(total_s=1e9), "r", started=now)
    delays = []
    with pytest.raises(UnavailableError, match=r"in 30\.0 s"):
        for _ in range(99):
            delays.append(attempts.delay_after(httpx.ConnectError("nobody listens")))
            now += delays[-1]
    assert sum(delays) == pytest.approx(Retries().away_s)
    attempts = Attempts(Retries(total_s=1e9), "r")
    attempts.delay_after(httpx.ConnectError("nobody listens"))
    now += 29
    attempts.delay_after(busy(503))
    now += 29
    assert attempts.delay_after(httpx.ConnectError("nobody listens")) > 0, "it was there meanwhile"


def test_attempts_have_a_bound_and_the_last_failure_is_the_cause() -> None:
    attempts = Attempts(Retries(attempts=2), "r")
    failure = httpx.ConnectError("nobody listens")
    attempts.delay_after(failure)
    with pytest.raises(UnavailableError, match=r"2 attempts in .* ConnectError: nobody listens") as caught:
        attempts.delay_after(failure)
    assert caught.value.__cause__ is failure
    assert caught.value.status is None
