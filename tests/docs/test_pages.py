"""What holds for every page: links resolve, and the commands, settings, recipes and tests that it names exist."""

import re
import shlex
import subprocess
from functools import cache
from pathlib import Path

import pytest

from tests.docs.pages import (
    PAGES,
    ROOT,
    anchors,
    complaint,
    hal_calls,
    links,
    mentions,
    shell_lines,
    text,
    unknown_part,
)


@pytest.mark.parametrize("page", PAGES)
def test_links_resolve(page: str) -> None:
    broken = []
    for file, anchor in links(page):
        path = (ROOT / page).parent / file if file else ROOT / page
        if not path.exists() or (anchor and anchor not in anchors(str(path.resolve().relative_to(ROOT)))):
            broken.append(f"{file}#{anchor}")
    assert broken == []


def test_wrong_commands_are_recognised() -> None:
    assert complaint(["train", "--dataset", "x"]) != ""
    assert complaint(["data", "prepare", "--out", "x.csv"]) != ""
    assert unknown_part(["slide-rule"]) == "slide-rule"
    assert unknown_part(["data", "split", "--patient"]) == "--patient"


@pytest.mark.parametrize("page", PAGES)
def test_commands_are_ones_that_hal_understands(page: str) -> None:
    calls = [(line, call.words) for line in shell_lines(page) for call in hal_calls(line)]
    assert {line: said for line, words in calls if (said := complaint(words))} == {}
    assert [words for words in mentions(page) if unknown_part(words)] == []


@pytest.mark.parametrize("script", sorted(str(path) for path in ROOT.glob("docs/**/*.sh")))
def test_commands_of_scripts_are_ones_that_hal_understands(script: str, tmp_path: Path) -> None:
    """The script is run with a ``hal`` that only prints its words."""
    (tmp_path / "datasets").mkdir()
    stand_ins = "hal() { printf '%q ' \"$@\"; echo; }; awk() { :; }; set -e;"
    found = subprocess.run(
        ["bash", "-c", f"{stand_ins} source {shlex.quote(script)}"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    calls = [shlex.split(line) for line in found.stdout.splitlines()]
    assert calls
    assert {" ".join(words): said for words in calls if (said := complaint(words))} == {}


@pytest.mark.parametrize("page", PAGES)
def test_files_in_commands_exist(page: str) -> None:
    words = [word for line in shell_lines(page) for word in shlex.split(line)]
    assert [w for w in words if re.match(r"(docker|bench|tests)/", w) and not (ROOT / w).exists()] == []


@pytest.mark.parametrize("page", [page for page in PAGES if page != "CHANGELOG.md"])
def test_settings_exist(page: str) -> None:
    assert set(re.findall(r"\bHAL_[A-Z][A-Z_]*[A-Z]\b", text(page))) - known_variables() == set()


def test_recipes_exist_and_each_is_on_the_page_of_the_method() -> None:
    from training import recipe

    named = {name for page in PAGES for name in re.findall(r"`(hal-[crt][a-z0-9-]*[0-9a-z])`", text(page))}
    assert named - {*recipe.names(), "hal-c"} == set()
    assert {name for name in recipe.names() if f"`{name}`" not in text("docs/method.md")} == set()


@pytest.mark.parametrize("page", PAGES)
def test_tests_exist(page: str) -> None:
    """Named as ``FILE`` or ``FILE::TEST``, below tests/ or, on the pages of the service, below tests/service/."""
    missing = {}
    for file, name in set(re.findall(r"`([\w/]*test_\w+\.py)(?:::(test_\w+))?`", text(page))):
        found = [path for base in ("", "tests", "tests/service") if (path := ROOT / base / file).is_file()]
        if not any(f"def {name}(" in path.read_text(encoding="utf-8") or not name for path in found):
            missing[f"{file}::{name}"] = defined_in().get(name, "nowhere")
    assert missing == {}, "named: defined in"


@pytest.mark.parametrize("file", sorted(str(path) for path in ROOT.glob("tests/service/faults/test_*.py")))
def test_every_fault_is_on_the_page_of_reliability(file: str) -> None:
    tested = re.findall(r"^def (test_\w+)\(", Path(file).read_text(encoding="utf-8"), re.MULTILINE)
    assert tested
    assert [name for name in tested if f"::{name}`" not in text("docs/reliability.md")] == []


@pytest.mark.parametrize("page", PAGES)
def test_nothing_of_one_machine_is_in_it(page: str) -> None:
    assert re.findall(r"(?<![\w.$])/(?:root|home|work|Users|tmp)/\w+|\b[\w.+-]+@[\w-]+\.[a-z]{2,}\b", text(page)) == []


@cache
def defined_in() -> dict[str, str]:
    """The file of each test."""
    return {
        name: str(path.relative_to(ROOT / "tests"))
        for path in ROOT.glob("tests/**/test_*.py")
        for name in re.findall(r"^def (test_\w+)\(", path.read_text(encoding="utf-8"), re.MULTILINE)
    }


@cache
def known_variables() -> frozenset[str]:
    """The variables that the settings declare, or that code, containers or scripts read."""
    from service.reference import variable
    from service.settings import Settings

    settings = {variable(name, field) for name, field in Settings.model_fields.items()}
    folders = ("contract", "training", "service", "bench", "docs/examples", "tests/conftest.py", "docker")
    files = [path for folder in folders for path in [ROOT / folder, *(ROOT / folder).rglob("*")]]
    files += [ROOT / "docker-compose.yml", ROOT / "tests/service/faults/test_overload.py"]
    read = {
        name
        for path in files
        if path.suffix in (".py", ".yml", ".sh")
        for name in re.findall(r"HAL_[A-Z][A-Z_]*[A-Z]", path.read_text(encoding="utf-8"))
    }
    return frozenset({*settings, *read})
