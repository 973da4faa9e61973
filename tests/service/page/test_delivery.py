"""How the page is served: from its own files and nothing else, without another machine."""

import hashlib
import re
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, expect

from contract.classes import CELL_CLASSES
from tests.conftest import WriteBundle
from tests.paths import CELLS, ROOT
from tests.service.live_server import LiveServer, serving
from tests.service.page.browser import visiting


def test_the_policy_allows_only_the_service_s_own_files(server: LiveServer) -> None:
    response = server.http.get("/")
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    policy = response.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self';" in policy
    assert "unsafe" not in policy
    assert "<script>" not in response.text
    assert re.findall(r"\son\w+=|style=", response.text) == []


def test_a_browser_revalidates_a_file_and_gets_304(server: LiveServer) -> None:
    first = server.http.get("/static/main.js")
    assert first.headers["content-type"] == "text/javascript; charset=utf-8"
    again = server.http.get("/static/main.js", headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


def test_vendored_libraries_are_what_their_packages_have() -> None:
    """Each hash is the one that the table of versions and licences states."""
    vendor = ROOT / "service" / "static" / "vendor"
    stated = dict(
        re.findall(r"^\| (\S+\.js) .* \| ([0-9a-f]{64}) \|$", (vendor / "README.md").read_text(), re.MULTILINE)
    )
    assert {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in vendor.glob("*.js")} == stated


def test_the_page_has_the_classes_of_the_contract() -> None:
    table = (ROOT / "service" / "static" / "classes.js").read_text()
    rows = re.findall(r'\["([\w-]+)", "([^"]+)", (true|false), "(\w)"\]', table)
    assert {(class_id, name, white == "true") for class_id, name, white, _ in rows} == {
        (one.id, one.name, one.is_wbc) for one in CELL_CLASSES
    }
    assert len({key for *_, key in rows} | {"u"}) == len(CELL_CLASSES) + 1


def test_reference_cells_are_the_samples_or_the_bundle_s_own(
    server: LiveServer, tmp_path: Path, write_bundle: WriteBundle
) -> None:
    assert server.http.get("/static/cells/labels.csv").text == (CELLS / "labels.csv").read_text()
    bundle = write_bundle(tmp_path)
    (tmp_path / "cells").mkdir()
    (tmp_path / "cells" / "labels.csv").write_text("file,label\n")
    with serving(bundle) as live:
        assert live.http.get("/static/cells/labels.csv").text == "file,label\n"
        assert live.http.get("/static/cells/monocyte-1.jpg").status_code == 404


@pytest.mark.parametrize("name", ["nothing.js", "..%2Fapp.py", "%2e%2e%2fsettings.py", "__init__.py"])
def test_no_path_leads_out_of_the_page_s_files(server: LiveServer, name: str) -> None:
    response = httpx.get(f"{server.url}/static/{name}")
    assert response.status_code == 404


def test_the_api_reference_works_without_another_host(browser: Browser, server: LiveServer) -> None:
    with visiting(browser, server.url, path="/docs") as visit:
        expect(visit.page.get_by_text("/slides/classify", exact=True).first).to_be_visible()
        visit.page.get_by_text("/slides/summary", exact=True).first.click()
        expect(visit.page.get_by_text("Try it out").first).to_be_visible()
