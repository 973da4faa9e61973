"""The lock files install anywhere, agree with each other and with ``pyproject.toml``."""

import ast
import re
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.paths import ROOT

LOCKS = sorted((ROOT / "locks").glob("*.txt"))
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
EXPLAINERS = sorted(
    path
    for folder in ("bench", "client", "contract", "docs", "service", "training")
    for path in (ROOT / folder).rglob("*")
    if path.suffix in {".py", ".md"} and re.search(r"pip install|hal-cells\[", path.read_text(encoding="utf-8"))
)
RUNTIMES = {"onnxruntime", "onnxruntime-gpu"}
PLATFORMS = [
    {
        "sys_platform": system,
        "platform_machine": machine,
        "python_version": python,
        "python_full_version": f"{python}.1",
    }
    for system, machine in (("linux", "x86_64"), ("linux", "aarch64"), ("darwin", "arm64"), ("win32", "AMD64"))
    for python in ("3.11", "3.12", "3.13", "3.14")
]


def entries(lock: Path) -> dict[str, str]:
    """Each requirement as written, to its hashes."""
    text = re.sub(r"^ *#.*\n", "", lock.read_text(encoding="utf-8"), flags=re.MULTILINE).replace("\\\n", "")
    lines = (line.partition("--hash") for line in text.splitlines())
    return {requirement.strip(): mark + hashes for requirement, mark, hashes in lines}


def releases(lock: Path, platform: dict[str, str]) -> dict[str, str]:
    """Each release that a platform installs, to its hashes."""
    found = {}
    for text, hashes in entries(lock).items():
        requirement = Requirement(text)
        if requirement.marker is None or requirement.marker.evaluate(platform):
            found[f"{requirement.name}{requirement.specifier}"] = hashes
    return found


def names(lock: Path) -> set[str]:
    return {canonicalize_name(Requirement(entry).name) for entry in entries(lock)}


def required(extra: str) -> set[str]:
    """Names that an extra asks for, through the extras of this project that it asks for."""
    found = set()
    for text in EXTRAS[extra]:
        requirement = Requirement(text)
        if requirement.name == "hal-cells":
            found |= set().union(*(required(inner) for inner in requirement.extras))
        else:
            found.add(canonicalize_name(requirement.name))
    return found


def imported(folder: str) -> set[str]:
    """The modules that the code of a folder imports, wherever in a file."""
    found: set[str] = set()
    for path in (ROOT / folder).rglob("*.py"):
        if "score" in path.parts:  # has an extra of its own
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found |= {name.name.split(".")[0] for name in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                found.add(node.module.split(".")[0])
    return found


def test_the_service_s_lock_holds_all_that_its_code_imports() -> None:
    """``make run`` installs no more, and the service's commands ask for no second installation."""
    ours = {"contract", "service", "client"}
    modules = set().union(*map(imported, ours)) - ours - sys.stdlib_module_names
    distributions = metadata.packages_distributions()
    locked = names(ROOT / "locks/service.txt")
    missing = {
        module for module in modules if not {canonicalize_name(name) for name in distributions.get(module, ())} & locked
    }
    assert missing == set()
    assert {"httpx", "fhir", "pyarrow", "opentelemetry", "psycopg"} <= modules


@pytest.mark.parametrize("path", EXPLAINERS, ids=lambda path: path.name)
def test_what_is_said_to_install_works_in_a_checkout(path: Path) -> None:
    """HAL is on no package index."""
    text = re.sub(r'"\n\s*f?"', "", path.read_text(encoding="utf-8"))
    assert "hal-cells[" not in text
    for extra in re.findall(r"-e '\.\[([a-z,-]+)\]'", text):
        assert {*extra.split(",")} <= {*EXTRAS}


def test_there_is_a_lock_for_each_way_to_install() -> None:
    assert {lock.stem for lock in LOCKS} == {"service", "service-gpu", "training", "dev"}


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.stem)
def test_every_release_is_exact_and_hashed(lock: Path) -> None:
    for requirement, hashes in entries(lock).items():
        assert re.fullmatch(r"==[^*,]+", str(Requirement(requirement).specifier)), requirement
        assert re.fullmatch(r"(--hash=sha256:[0-9a-f]{64}\s*)+", hashes), requirement


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.stem)
def test_no_address_or_folder_of_the_machine_that_made_it_is_inside(lock: Path) -> None:
    text = lock.read_text(encoding="utf-8")
    assert re.findall(r"--(?:extra-)?index-url|--find-links|--trusted-host|://|(?<=[\s=])[/~.]\S*", text) == []


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.stem)
def test_everything_that_pyproject_asks_for_is_locked(lock: Path) -> None:
    assert required(lock.stem) - names(lock) == set()


def test_the_development_lock_holds_every_release_of_the_service_and_training_locks() -> None:
    """``make test`` counts as having installed the service."""
    for platform in PLATFORMS:
        dev = releases(ROOT / "locks/dev.txt", platform)
        for lock in ("service", "training"):
            assert releases(ROOT / f"locks/{lock}.txt", platform).items() - dev.items() == set()


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.stem)
def test_no_lock_holds_both_runtimes(lock: Path) -> None:
    """They overwrite each other's files (onnxruntime #26996)."""
    assert len(names(lock) & RUNTIMES) == 1


def test_the_service_installs_without_tensorflow_or_a_compiler() -> None:
    assert names(ROOT / "locks/service.txt") & {"tensorflow", "keras", "tf2onnx", "setuptools", "wheel"} == set()
