"""The project's pages as tests read them: headings, links, shell lines, and what a ``hal`` line asks for."""

import re
import shlex
from dataclasses import dataclass
from functools import cache
from typing import Any

import typer

import hal
from tests.paths import ROOT

PAGES = sorted(str(path.relative_to(ROOT)) for path in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])


@cache
def text(page: str) -> str:
    """A page by its path from the root."""
    return (ROOT / page).read_text(encoding="utf-8")


def prose(page: str) -> str:
    """A page without its fenced blocks."""
    return re.sub(r"^```.*?^```$", "", text(page), flags=re.MULTILINE | re.DOTALL)


def blocks(page: str, language: str) -> list[str]:
    """The fenced blocks of a language; what follows the language's name does not matter."""
    return re.findall(rf"^ *```{language}\b[^\n]*\n(.*?)^ *```$", text(page), re.MULTILINE | re.DOTALL)


def shell_lines(page: str) -> list[str]:
    """The commands of the shell blocks, one a line however they were wrapped, without comments."""
    lines = "\n".join(blocks(page, "sh")).replace("\\\n", " ").splitlines()
    return [line for raw in lines if (line := re.sub(r"(^|\s)#.*$", "", raw).strip())]


def links(page: str) -> list[tuple[str, str]]:
    """The links and pictures of a page that stay in the project: file (empty: this page) and anchor."""
    targets = re.findall(r"\]\(([^)\s]+)\)", prose(page))
    parts = [target.partition("#") for target in targets if not re.match(r"[a-z]+:", target)]
    return [(file, anchor) for file, _, anchor in parts]


def anchors(page: str) -> set[str]:
    """The anchors that GitHub gives the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@dataclass(frozen=True, slots=True)
class Call:
    """One ``hal`` command of a shell line: the variables before it and its words after ``hal``."""

    variables: dict[str, str]
    words: list[str]


def hal_calls(line: str) -> list[Call]:
    """The ``hal`` commands of a shell line, which may be chained or follow other commands."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    calls: list[Call] = []
    words: list[str] = []
    for word in [*lexer, ";"]:
        if not set(word) <= set(";&|()<>"):
            words.append(word)
            continue
        variables = {}
        while words and (assignment := re.fullmatch(r"([A-Z_]+)=(.*)", words[0])):
            variables[assignment[1]] = assignment[2]
            words.pop(0)
        if words[:1] == ["hal"]:
            calls.append(Call(variables, words[1:]))
        words = []
    return calls


def complaint(words: list[str]) -> str:
    """What ``hal`` would say against these words before it does anything; empty if nothing."""
    command, context, rest = _descend(words)
    if rest and hasattr(command, "resolve_command"):
        return f"no such command: {rest[0]}"
    try:
        command.make_context(command.name, rest, parent=context.parent)
    except typer.Exit:  # --help
        return ""
    except Exception as error:
        return str(error) or repr(error)
    return ""


@cache
def _hal() -> Any:
    return typer.main.get_command(hal.app)


def _descend(words: list[str]) -> tuple[Any, typer.Context, list[str]]:
    """The command that the first words name, and the others."""
    command = _hal()
    context = typer.Context(command, info_name="hal")
    rest = list(words)
    while rest and hasattr(command, "resolve_command") and (found := command.get_command(context, rest[0])):
        command, context = found, typer.Context(found, parent=context, info_name=rest.pop(0))
    return command, context, rest


def mentions(page: str) -> list[list[str]]:
    """The ``hal`` commands in a page's running text, as far as the first word that stands for something."""
    inline = re.findall(r"(?<!`)`hal ([^`]+)`(?!`)", re.sub(r"\s*\n\s*", " ", text(page)))
    return [shlex.split(re.split(r"…|\.\.\.", each)[0]) for each in inline]


def unknown_part(words: list[str]) -> str:
    """The first command or option of a mention that ``hal`` does not have; empty if it has all."""
    command, context, rest = _descend(words)
    if rest and hasattr(command, "resolve_command") and not rest[0].startswith("-"):
        return rest[0]
    options = {option for each in command.get_params(context) for option in (*each.opts, *each.secondary_opts)}
    return next((word for word in rest if word.startswith("--") and word not in options), "")
