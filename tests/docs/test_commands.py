"""Commands of the pages that take moments are run here; tests/docs/test_train.py walks docs/train.md."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from typer.testing import CliRunner

import hal
from contract.bundle import Bundle
from tests.docs.pages import ROOT, hal_calls, shell_lines
from tests.paths import CELLS
from tests.service.live_server import LiveServer

COMMANDS = (
    ("docs/operate.md", "hal keys"),
    ("docs/deploy.md", "hal keys"),
    ("docs/risk.md", "hal classify"),
    ("docs/slides.md", "hal classify"),
)
CURL = [
    (page, line)
    for page in ("README.md", "docs/integrate.md", "docs/operate.md", "docs/slides.md")
    for line in shell_lines(page)
    if line.startswith("curl")
]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the pages' names are a reader's own files."""
    for name in ("site-images", "slide-4711"):
        (tmp_path / name).mkdir()
        shutil.copy(CELLS / "basophil-1.jpg", tmp_path / name)
    for name in ("cell.jpg", "cell-1.jpg", "cell-2.jpg"):
        shutil.copy(CELLS / "monocyte-1.jpg", tmp_path / name)
    (tmp_path / "service").symlink_to(ROOT / "service")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(("page", "start"), COMMANDS)
def test_commands_work_one_after_the_other(page: str, start: str, folder: Path, bundle: Bundle) -> None:
    lines = [line for line in shell_lines(page) if line.startswith(start)]
    assert lines
    for place, line in enumerate(lines):
        if line in lines[:place]:  # the same file of keys, made again further down the page
            (folder / "keys.json").unlink(missing_ok=True)
        for call in hal_calls(line):
            found = CliRunner().invoke(hal.app, call.words, env={"HAL_BUNDLE": str(bundle.root), **call.variables})
            assert found.exit_code == 0, f"{line}: {found.output}{found.exception!r}"


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
@pytest.mark.parametrize(("page", "line"), CURL)
def test_lines_of_curl_are_answered(page: str, line: str, folder: Path, live: LiveServer) -> None:
    answer = live.http.post("/classify", files={"file": (folder / "cell.jpg").read_bytes()}).content
    (folder / "answer.json").write_bytes(answer)
    line = re.sub(r"http://(127\.0\.0\.1|host):8000", live.url, line)
    found = subprocess.run(
        ["sh", "-c", f"{line} --silent --fail-with-body"], cwd=folder, capture_output=True, text=True, check=False
    )
    assert found.returncode == 0, f"{page}: {found}"
    assert ('"advice"' if "/slides/" in line else '"class_id"') in found.stdout


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_make_run_ends_in_hal_serve() -> None:
    found = subprocess.run(
        ["make", "--dry-run", "run"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": os.environ["PATH"]},
    )
    assert found.returncode == 0, found.stderr
    assert found.stdout.splitlines()[-1] == "exec .venv/bin/hal serve"
