"""docs/deploy.md names what there is."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = ["deploy.md", "integrate.md", "load-test.md"]


def text(page: str) -> str:
    return (ROOT / "docs" / page).read_text(encoding="utf-8")


def commands(page: str) -> list[str]:
    """The lines of the shell blocks, without their comments."""
    blocks = re.findall(r"^```sh[^\n]*\n(.*?)^```$", text(page), re.MULTILINE | re.DOTALL)
    return [line.split("  #")[0].strip() for block in blocks for line in block.splitlines()]


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", text(page)):
        assert target.startswith("https://") or (ROOT / "docs" / target).exists(), target


@pytest.mark.parametrize("page", PAGES)
def test_files_in_commands_are_there(page: str) -> None:
    for line in commands(page):
        for word in shlex.split(line):
            if re.match(r"(docker|loadtest|tests)/", word):
                assert (ROOT / word).exists(), line


@pytest.mark.parametrize("line", sorted({line for page in PAGES for line in commands(page) if line.startswith("hal ")}))
def test_options_of_our_commands_exist(line: str) -> None:
    words = shlex.split(line)[1:]
    group = words[:2] if words[0] == "keys" else words[:1]
    found = subprocess.run(
        [sys.executable, "-m", "hal", *group, "--help"],
        cwd=ROOT,
        env={"COLUMNS": "200", "TERM": "dumb", "PATH": "/usr/bin"},
        capture_output=True,
        text=True,
        check=True,
    )
    for option in (word for word in words if word.startswith("--")):
        assert re.search(rf"{re.escape(option)}\b", found.stdout), option


def test_the_profiles_named_are_those_of_the_compose_file() -> None:
    named = set(re.findall(r"--profile (\w+)", text("deploy.md")))
    written = set(re.findall(r"profiles: \[(\w+)\]", (ROOT / "docker-compose.yml").read_text(encoding="utf-8")))
    assert named == written
