import pytest

from service.batching.queue import Priority
from service.http.request_options import Terms, TermsError


def test_without_headers_nothing_is_asked_for() -> None:
    assert Terms.of({}) == Terms(None, None)


@pytest.mark.parametrize(("given", "priority"), [("bulk", Priority.BULK), (" Routine ", Priority.ROUTINE)])
def test_a_priority_is_read(given: str, priority: Priority) -> None:
    assert Terms.of({"X-Priority": given}).priority is priority


@pytest.mark.parametrize(("given", "timeout_s"), [("1", 0.001), (" 250 ", 0.25), ("3600000", 3600)])
def test_a_timeout_is_read(given: str, timeout_s: float) -> None:
    assert Terms.of({"X-Request-Timeout-Ms": given}).timeout_s == timeout_s


@pytest.mark.parametrize("given", ["", "0", "-5", "1.5", "1e3", "1_000", "٣", "3600001", "9" * 500, "soon"])
def test_a_malformed_timeout_is_refused_with_what_is_expected(given: str) -> None:
    with pytest.raises(TermsError, match=r"X-Request-Timeout-Ms is .* expected whole milliseconds from 1 to 3600000"):
        Terms.of({"X-Request-Timeout-Ms": given})


def test_everything_that_is_wrong_is_said_at_once() -> None:
    with pytest.raises(TermsError, match="X-Priority is 'urgent', expected 'routine' or 'bulk'; X-Request-Timeout-Ms"):
        Terms.of({"X-Priority": "urgent", "X-Request-Timeout-Ms": "x"})
