"""docs/deploy.md names the profiles that there are; test_pages.py holds every page's commands and links."""

import re

from tests.docs.pages import text


def test_the_profiles_named_are_those_of_the_compose_file() -> None:
    named = set(re.findall(r"--profile (\w+)", text("docs/deploy.md")))
    written = set(re.findall(r"profiles: \[(\w+)\]", text("docker-compose.yml")))
    assert named == written
