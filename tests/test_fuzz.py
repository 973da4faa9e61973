"""A short version of ``python -m tests.fuzz``, and the service's own OpenAPI document as a source of requests."""

import re

import httpx
import pytest

from tests.fuzz.images import corpus, fuzz_images
from tests.fuzz.requests import fuzz_requests, requests
from tests.fuzz.service import fuzz_target


def test_mutated_images_get_a_class_or_a_known_reason() -> None:
    findings = fuzz_images(1500, seed=7)
    assert findings.problems == []
    assert findings.sent == 1500
    assert findings.outcomes["classified"] > 50, "some mutations leave an image whole"
    assert len(findings.outcomes) > 6, "many kinds of damage are met"
    assert re.fullmatch(r"after 1024 images \d+ MiB resident", findings.memory[0])


def test_mutated_requests_are_answered_or_closed() -> None:
    findings = fuzz_requests(1000, seed=7)
    assert findings.problems == []
    assert findings.outcomes["200"] > 100, "some mutations leave a request whole"
    assert findings.outcomes["400"] > 100


def test_what_is_mutated_is_answered_when_it_is_not() -> None:
    assert len(corpus()) > 40
    with fuzz_target() as served, httpx.Client(base_url=served.url) as http:
        statuses = {}
        for request in requests():
            response = http.request(
                request.method, request.path.decode(), content=request.body, headers=[*request.headers]
            )
            statuses[request.method, request.path] = response.status_code
        assert served.stop() == 0
    assert {status for status in statuses.values() if status >= 500} == set()
    assert statuses["POST", b"/classify"] == 200
    assert statuses["GET", b"/metrics"] == 200


def test_schemathesis_finds_no_request_of_our_document_that_is_a_500() -> None:
    schemathesis = pytest.importorskip("schemathesis", reason="schemathesis is not installed")
    from hypothesis import HealthCheck, Phase, given, settings

    with fuzz_target(HAL_LOG_LEVEL="error", HAL_UPLOAD_TIMEOUT_S="2") as served:
        schema = schemathesis.openapi.from_url(f"{served.url}/openapi.json")
        cases = [
            result.ok()
            for result in schema.get_all_operations()
            if result.ok().path.startswith(("/classify", "/slides", "/model", "/health"))
        ]
        assert {operation.path for operation in cases} >= {"/classify", "/model", "/health/ready"}
        for operation in cases:

            @given(case=operation.as_strategy())
            @settings(
                max_examples=8,
                database=None,
                deadline=None,
                derandomize=True,
                phases=[Phase.generate],
                suppress_health_check=list(HealthCheck),
            )
            def attempt(case: object) -> None:
                response = case.call(base_url=served.url)  # type: ignore[attr-defined]
                assert response.status_code != 500, response.text

            attempt()
        assert served.answers("/health/ready") == 200
