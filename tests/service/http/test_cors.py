"""Pages of other sites: none may use the service, unless HAL_CORS_ORIGINS names them."""

from pathlib import Path

import pytest

from contract.bundle import Bundle
from service.auth.keys import Role, add
from service.environment import SettingsError, load_settings
from tests.service.live_server import serving

SITE = "https://lis.example"
ASKS = {
    "Origin": SITE,
    "Access-Control-Request-Method": "POST",
    "Access-Control-Request-Headers": "authorization,x-priority",
}


def test_no_page_of_another_site_is_answered_unless_it_is_named(bundle: Bundle, cell: bytes) -> None:
    with serving(bundle) as live:
        assert live.http.options("/classify", headers=ASKS).status_code == 405
        answer = live.http.post("/classify", files={"file": cell}, headers={"Origin": SITE})
    assert not [name for name in answer.headers if name.startswith("access-control")]


def test_a_named_page_may_send_its_key_and_read_answers_and_refusals(
    bundle: Bundle, cell: bytes, tmp_path: Path
) -> None:
    keys = tmp_path / "keys.json"
    key = add(keys, "lis", Role.CLASSIFY)
    with serving(bundle, keys_file=keys, cors_origins=f"{SITE},http://127.0.0.1:9000") as live:
        asked = live.http.options("/classify", headers=ASKS)
        assert (asked.status_code, asked.headers["access-control-allow-origin"]) == (200, SITE)
        assert live.http.options("/classify", headers=ASKS | {"Origin": "https://other.example"}).status_code == 400
        for headers, status in (({}, 401), ({"Authorization": f"Bearer {key}"}, 200)):
            answer = live.http.post("/classify", files={"file": cell}, headers={"Origin": SITE} | headers)
            assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (status, SITE)
            assert answer.headers["vary"] == "Origin"
        other = live.http.get("/health/ready", headers={"Origin": "https://other.example"})
        assert "access-control-allow-origin" not in other.headers


@pytest.mark.parametrize(
    "wrong", ["*", "lis.example", "https://lis.example/path", "https://a.example, https://b.example"]
)
def test_what_is_no_origin_is_refused(wrong: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HAL_CORS_ORIGINS", wrong)
    with pytest.raises(SettingsError, match="HAL_CORS_ORIGINS"):
        load_settings()
