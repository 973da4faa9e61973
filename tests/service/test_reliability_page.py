import re
from pathlib import Path

import pytest

from tests.paths import ROOT

PAGE = (ROOT / "docs/reliability.md").read_text(encoding="utf-8")
FILES = [
    *sorted(path.name for path in Path(__file__).parent.glob("test_*faults*.py")),
    "test_overload.py",
    "observe/audit/test_audited_service.py",
]
REFERENCES = sorted(set(re.findall(r"`((?:\w+/)*test_\w+\.py::test_\w+)`", PAGE)))


def test_no_test_that_the_page_names_is_overlooked() -> None:
    assert len(REFERENCES) == len(set(re.findall(r"`([^`\s]*::[^`]*)`", PAGE)))


@pytest.mark.parametrize("reference", REFERENCES)
def test_every_test_that_the_page_names_exists(reference: str) -> None:
    file, name = reference.split("::")
    assert f"def {name}(" in (ROOT / "tests/service" / file).read_text(encoding="utf-8")


@pytest.mark.parametrize("file", FILES)
def test_every_fault_that_is_tested_is_in_the_table(file: str) -> None:
    tested = re.findall(r"^def (test_\w+)\(", (ROOT / "tests/service" / file).read_text("utf-8"), re.MULTILINE)
    assert tested
    assert [name for name in tested if f"{file}::{name}`" not in PAGE] == []


def test_every_complaint_is_on_the_page() -> None:
    text = (ROOT / "tests/service/http/test_complaints.py").read_text(encoding="utf-8")
    issues = re.findall(r"^def test_(ray|tei|triton|ort|litserve)_(\d+)_", text, re.MULTILINE)
    assert len(issues) > 7
    assert [number for _, number in issues if f"#{number}" not in PAGE] == []


@pytest.mark.parametrize("name", sorted(set(re.findall(r"HAL_[A-Z_]+", PAGE))))
def test_every_setting_that_the_page_names_exists(name: str) -> None:
    from service.settings import Settings

    assert name.removeprefix("HAL_").lower() in Settings.model_fields
