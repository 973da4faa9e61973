"""Keys asked for over real sockets, and what happens without them."""

# ruff: noqa: S104 - that nothing is bound to all interfaces is the subject

import http.client
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from contract.bundle import Bundle
from service.auth.authorise import Authorisation, ExposedError, check_exposure, is_loopback
from service.auth.keys import KeysError, KeyStore, Role, add, revoke
from service.errors import RequestError
from service.settings import Settings
from tests.service.live_server import LiveServer, serving, until
from tests.service.process import failing, running


@dataclass(frozen=True)
class Guarded:
    live: LiveServer
    file: Path
    classify: str
    admin: str


@pytest.fixture
def guarded(bundle: Bundle, tmp_path: Path) -> Iterator[Guarded]:
    file = tmp_path / "keys.json"
    classify, admin = add(file, "analyser-1", Role.CLASSIFY), add(file, "it", Role.ADMIN)
    with serving(bundle, keys_file=file) as live:
        yield Guarded(live, file, classify, admin)


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def ask(live: LiveServer, image: bytes, headers: dict[str, str]) -> httpx.Response:
    return live.http.post("/classify", content=image, headers={"Content-Type": "image/png"} | headers)


def test_either_header_carries_a_key(guarded: Guarded, cell: bytes) -> None:
    for headers in (
        bearer(guarded.classify),
        {"Authorization": f"bearer {guarded.classify}"},
        {"X-API-Key": guarded.classify},
        bearer(guarded.admin),
    ):
        assert ask(guarded.live, cell, headers).status_code == 200


def test_without_a_key_or_with_a_wrong_one_nothing_is_answered(guarded: Guarded, cell: bytes) -> None:
    for headers, code in (
        ({}, "key_missing"),
        ({"Authorization": "Basic dTpw"}, "key_missing"),
        (bearer("hal_wrong"), "key_unknown"),
        ({"X-API-Key": guarded.classify[:-1]}, "key_unknown"),
    ):
        response = ask(guarded.live, cell, headers)
        assert response.status_code == 401
        assert response.json()["error"]["code"] == code
        assert response.headers["www-authenticate"].startswith("Bearer")
        assert response.json()["request_id"] == response.headers["x-request-id"]
        assert guarded.classify not in response.text
    for path in ("/model", "/nowhere", "/healthy", "/v2/models/tiny"):
        assert guarded.live.http.get(path).status_code == 401, path


def test_a_refusal_comes_before_the_body_is_read(guarded: Guarded) -> None:
    with socket.create_connection(("127.0.0.1", guarded.live.port), timeout=20) as client:
        client.sendall(
            b"POST /classify HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\nContent-Length: 1000000000\r\n\r\n"
        )
        answer = http.client.HTTPResponse(client)
        answer.begin()
        assert answer.status == 401


def test_health_is_open_and_admin_is_not_for_everyone(guarded: Guarded) -> None:
    assert guarded.live.http.get("/health/ready").status_code == 200
    assert guarded.live.http.get("/health/live").status_code == 200
    response = guarded.live.http.post("/admin/reload", headers=bearer(guarded.classify))
    assert response.status_code == 403
    assert response.json()["error"]["code"] == "key_not_for_this"
    assert guarded.live.http.post("/admin/none", headers=bearer(guarded.admin)).status_code == 404


def test_a_revoked_key_is_refused_and_a_new_one_taken_while_the_service_runs(guarded: Guarded, cell: bytes) -> None:
    assert ask(guarded.live, cell, bearer(guarded.classify)).status_code == 200
    revoke(guarded.file, "analyser-1")
    until(lambda: ask(guarded.live, cell, bearer(guarded.classify)).status_code == 401)
    new = add(guarded.file, "analyser-2", Role.CLASSIFY)
    until(lambda: ask(guarded.live, cell, bearer(new)).status_code == 200)


def test_a_broken_file_leaves_the_keys_in_force_and_a_lost_one_lets_nobody_in(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "keys.json"
    secret = add(file, "a", Role.CLASSIFY)
    store = KeyStore(file)
    whole = file.read_bytes()
    file.write_bytes(whole[:-9])
    store.reload()
    assert store.find(secret) is not None
    assert "the former keys stay in force" in caplog.text
    file.unlink()
    store.reload()
    assert store.find(secret) is None
    file.write_bytes(whole)
    store.reload()
    assert store.find(secret) is not None


def test_the_log_names_the_key_and_never_holds_it(bundle: Bundle, cell: bytes, tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    secret = add(file, "analyser-1", Role.CLASSIFY)
    with running(bundle.root, HAL_KEYS_FILE=str(file)) as served:
        headers = {"Content-Type": "image/png"} | bearer(secret)
        assert httpx.post(f"{served.url}/classify", content=cell, headers=headers).status_code == 200
        assert served.stop() == 0
        assert [line["key"] for line in served.lines() if line["message"] == "request"] == ["analyser-1"]
        assert secret not in served.log.read_text()


@pytest.mark.parametrize(
    ("host", "own"),
    [
        ("127.0.0.1", True),
        ("127.8.8.8", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        ("0.0.0.0", False),
        ("::", False),
        ("192.168.1.7", False),
        ("fe80::1%eth0", False),
        ("localhost.evil", False),
    ],
)
def test_which_addresses_are_this_machine_s_own(host: str, own: bool) -> None:
    assert is_loopback(host) is own


def test_a_public_address_without_keys_is_refused_unless_it_is_asked_for(bundle: Bundle, tmp_path: Path) -> None:
    with socket.create_server(("0.0.0.0", 0)) as public:
        with pytest.raises(ExposedError, match="HAL_ALLOW_ANONYMOUS=true"):
            check_exposure(Settings(bundle=bundle.root), public)
        check_exposure(Settings(bundle=bundle.root, allow_anonymous=True), public)
        check_exposure(Settings(bundle=bundle.root, keys_file=tmp_path / "keys.json"), public)
    said = failing("--port", "0", "--host", "0.0.0.0", HAL_BUNDLE=str(bundle.root))
    assert "hal keys add" in said


def test_a_lost_or_empty_file_of_keys_is_one_clear_message_at_the_start(bundle: Bundle, tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    said = failing("--port", "0", HAL_BUNDLE=str(bundle.root), HAL_KEYS_FILE=str(file))
    assert "there is no file of keys" in said
    add(file, "a", Role.CLASSIFY)
    revoke(file, "a")
    with pytest.raises(KeysError, match="holds no key"):
        KeyStore(file)


def test_every_answer_tells_a_browser_to_take_nothing_from_elsewhere(bundle: Bundle) -> None:
    with serving(bundle) as live:
        for response in (live.http.get("/"), live.http.get("/nowhere"), live.http.post("/classify")):
            assert response.headers["x-content-type-options"] == "nosniff"
            assert "default-src 'none'" in response.headers["content-security-policy"]
            assert "'unsafe-inline'" not in response.headers["content-security-policy"]
            assert response.headers["referrer-policy"] == "no-referrer"
            assert response.headers["cache-control"] == "no-store"


def test_without_keys_another_site_s_page_cannot_change_the_service(bundle: Bundle) -> None:
    with serving(bundle) as live:
        assert live.http.post("/admin/none").status_code == 404
        response = live.http.post("/admin/none", headers={"Sec-Fetch-Site": "cross-site"})
        assert response.status_code == 403
        assert response.json()["error"]["code"] == "admin_key_needed"


OWN = {"Sec-Fetch-Site": "same-origin"}


@pytest.mark.parametrize(
    ("headers", "passes"),
    [
        ({}, True),
        ({"Host": "localhost:8000"}, True),
        ({"Host": "hal.localhost"}, True),
        ({"Host": "[::1]:8000"}, True),
        ({"Host": "127.0.0.1:8000", "Origin": "http://127.0.0.1:8000", **OWN}, True),
        ({"Host": "rebound.example:8000", **OWN}, False),
        ({"Host": "rebound.example:8000", "Origin": "http://rebound.example:8000", **OWN}, False),
        ({"Host": "127.0.0.1.rebound.example", **OWN}, False),
        ({"Host": "localhost.rebound.example", **OWN}, False),
        ({"Host": "127.0.0.1:8000", "Origin": "http://elsewhere.example"}, False),
        ({"Host": "127.0.0.1:8000", "Origin": "http://127.0.0.1:9000"}, False),
        ({"Host": "127.0.0.1:8000", "Origin": "null"}, False),
        ({"Sec-Fetch-Site": "same-site"}, False),
    ],
)
def test_without_keys_no_page_of_another_site_changes_the_service(headers: dict[str, str], passes: bool) -> None:
    scope = {
        "type": "http",
        "path": "/admin/reload",
        "client": ("127.0.0.1", 5),
        "headers": [(n.lower().encode(), v.encode()) for n, v in ({"Host": "127.0.0.1"} | headers).items()],
    }
    authorisation = Authorisation(None)
    if passes:
        assert authorisation.check(scope) is None
        return
    with pytest.raises(RequestError, match="localhost") as refused:
        authorisation.check(scope)
    assert (refused.value.status, refused.value.code) == (403, "admin_key_needed")


def test_a_slash_too_many_leads_to_no_address_that_a_client_chose(bundle: Bundle) -> None:
    with serving(bundle) as live:
        for path in ("/classify/", "/model/", "/admin/reload/", "/v2/models/tiny/infer/"):
            response = live.http.post(path, headers={"Host": "127.0.0.1:1"}, follow_redirects=False)
            assert response.status_code == 404
            assert "location" not in response.headers
            assert "leave out the slash at its end" in response.text
