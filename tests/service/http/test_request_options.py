import pytest

from service.batching.queue import Priority
from service.http.requests import InvalidHeaderError, parse_options


def test_without_headers_nothing_is_asked_for() -> None:
    assert parse_options({}) == (None, None)


@pytest.mark.parametrize(("given", "priority"), [("bulk", Priority.BULK), (" Routine ", Priority.ROUTINE)])
def test_a_priority_is_read(given: str, priority: Priority) -> None:
    assert parse_options({"x-priority": given})[0] is priority


@pytest.mark.parametrize(("given", "timeout_ms"), [("1", 1), (" 250 ", 250), ("3600000", 3_600_000)])
def test_a_timeout_is_read(given: str, timeout_ms: int) -> None:
    assert parse_options({"x-request-timeout-ms": given})[1] == timeout_ms


@pytest.mark.parametrize("given", ["", "0", "-5", "1.5", "1e3", "1_000", "٣", "3600001", "9" * 500, "soon"])
def test_a_malformed_timeout_is_refused_with_what_is_expected(given: str) -> None:
    with pytest.raises(
        InvalidHeaderError, match=r"X-Request-Timeout-Ms is .* expected whole milliseconds from 1 to 3600000"
    ):
        parse_options({"x-request-timeout-ms": given})


def test_everything_that_is_wrong_is_said_at_once() -> None:
    with pytest.raises(
        InvalidHeaderError, match="X-Priority is 'urgent', expected 'routine' or 'bulk'; X-Request-Timeout-Ms"
    ):
        parse_options({"x-priority": "urgent", "x-request-timeout-ms": "x"})
