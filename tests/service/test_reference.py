"""docs/reference.md says what the code does, and so does ``hal serve --help``."""

import re
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families as parse
from typer.testing import CliRunner

import hal
from contract.bundle import Bundle
from service.reference import page, variable
from service.settings import Settings
from tests.paths import ROOT
from tests.service.live_server import serving


def test_the_page_is_the_one_that_the_code_writes() -> None:
    written = (ROOT / "docs" / "reference.md").read_text(encoding="utf-8")
    assert written == page(), "write it again: hal reference --out docs/reference.md"


def test_every_setting_and_every_metric_of_a_running_service_is_on_the_page(bundle: Bundle, tmp_path: Path) -> None:
    with serving(bundle, audit=f"sqlite:///{tmp_path}/a.db") as live:
        families = {family.name for family in parse(live.http.get("/metrics").text) if family.name.startswith("hal_")}
    assert len(families) > 20
    listed = {re.sub("_(total|info)$", "", name) for name in re.findall(r"^\| `(hal_\w+)`", page(), re.MULTILINE)}
    assert {re.sub("_(total|info)$", "", name) for name in families} - listed == set()
    for name, field in Settings.model_fields.items():
        assert f"| `{variable(name, field)}` |" in page()


def test_the_help_of_serve_documents_every_setting() -> None:
    shown = CliRunner().invoke(hal.app, ["serve", "--help"], env={"COLUMNS": "400", "TERM": "dumb"}).stdout
    words = " ".join(shown.split())
    for name, field in Settings.model_fields.items():
        assert variable(name, field) in words
        assert str(field.description) in words
