"""What holds for every page: links lead somewhere, commands and settings exist, nothing of one machine is in it."""

import re
import shlex
from functools import cache

import pytest

from tests.docs.pages import PAGES, ROOT, complaint, hal_calls, links, mentions, shell_lines, text, unknown_part


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_to_files_that_are_there(page: str) -> None:
    assert [target for target in links(page) if not ((ROOT / page).parent / target).exists()] == []


LINES = sorted({(page, line) for page in PAGES for line in shell_lines(page) if hal_calls(line)})


def test_there_are_commands_to_check() -> None:
    assert len(LINES) > 30
    assert complaint(["train", "--dataset", "x"]) != ""
    assert complaint(["data", "prepare", "--out", "x.csv"]) != ""
    assert unknown_part(["slide-rule"]) == "slide-rule"
    assert unknown_part(["data", "split", "--patient"]) == "--patient"


@pytest.mark.parametrize(("page", "line"), LINES)
def test_commands_are_ones_that_hal_understands(page: str, line: str) -> None:
    for call in hal_calls(line):
        assert complaint(call.words) == "", f"{page}: {line}"


@pytest.mark.parametrize("page", PAGES)
def test_files_in_commands_are_there(page: str) -> None:
    words = [word for line in shell_lines(page) for word in shlex.split(line)]
    assert [w for w in words if re.match(r"(docker|loadtest|tests)/", w) and not (ROOT / w).exists()] == []


@pytest.mark.parametrize("page", PAGES)
def test_commands_in_running_text_exist(page: str) -> None:
    assert [words for words in mentions(page) if unknown_part(words)] == []


@pytest.mark.parametrize("page", PAGES)
def test_settings_exist(page: str) -> None:
    assert set(re.findall(r"\bHAL_[A-Z][A-Z_]*[A-Z]\b", text(page))) - known_variables() == set()


@pytest.mark.parametrize("page", PAGES)
def test_recipes_exist(page: str) -> None:
    from training import recipe

    named = re.findall(r"\bhal train (hal-[a-z0-9-]+)|`(hal-[crt][a-z0-9-]*[0-9a-z])`", text(page))
    assert {a or b for a, b in named} - {*recipe.names(), "hal-c"} == set()


@pytest.mark.parametrize("page", PAGES)
def test_tests_exist(page: str) -> None:
    """Named as ``FILE`` or ``FILE::TEST``, below tests/ or, on the pages of the service, below tests/service/."""
    missing = []
    for file, name in set(re.findall(r"`([\w/]*test_\w+\.py)(?:::(test_\w+))?`", text(page))):
        found = [path for base in ("", "tests", "tests/service") if (path := ROOT / base / file).is_file()]
        if not any(f"def {name}(" in path.read_text(encoding="utf-8") or not name for path in found):
            missing.append(f"{file}::{name}")
    assert missing == []


@pytest.mark.parametrize("page", PAGES)
def test_nothing_of_one_machine_is_in_it(page: str) -> None:
    assert re.findall(r"(?<![\w.$])/(?:root|home|work|Users|tmp)/\w+|\b[\w.+-]+@[\w-]+\.[a-z]{2,}\b", text(page)) == []


@cache
def known_variables() -> frozenset[str]:
    """The variables that code, containers or scripts read."""
    from service.reference import variable
    from service.settings import Settings

    settings = {variable(name, field) for name, field in Settings.model_fields.items()}
    folders = ("contract", "training", "service", "bench", "tests", "docker", ".ci")
    files = [path for folder in folders for path in (ROOT / folder).rglob("*") if path.suffix in (".py", ".yml", ".sh")]
    named = {
        name
        for path in [*files, ROOT / ".ci/run", ROOT / "docker-compose.yml"]
        if path.is_file() and path.parent != ROOT / "tests/docs"
        for name in re.findall(r"HAL_[A-Z][A-Z_]*[A-Z]", path.read_text(encoding="utf-8"))
    }
    return frozenset({*settings, *named, "HAL_PORT"})
